//! Keeps the terms of records equal to their texts: in the transaction of each change, for long texts by a job, and for all
//! records of a tenant at once.
use crate::api::Record;
use crate::base::error::{Error, Result};
use crate::base::terms::{Terms, terms};
use crate::db::audit::Subject;
use crate::db::jobs::{Job, JobContext};
use crate::db::search_terms::Indexed;
use crate::db::types::TenantId;
use crate::db::{Action, Db, WriteTx};
use crate::resources::RECORDS;
use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use uuid::Uuid;

/// The greatest number of terms that are written in the transaction of the change. If a record has more, a job writes the
/// rest.
const MAX_AT_ONCE: usize = 200;

fn terms_of<R: Record>(record: &R) -> Terms {
    terms(record.text(), MAX_AT_ONCE)
}

/// Follows a change of a record: removes the terms that it lost, and adds those that it gained.
pub async fn follow<R: Record>(
    tx: &mut WriteTx,
    id: Uuid,
    action: Action,
    before: Option<&R>,
    after: Option<&R>,
) -> Result<()> {
    if R::TEXT.is_empty() {
        return Ok(());
    }
    match (action, before, after) {
        (Action::Delete, ..) => {
            tx.remove_all_terms(id);
            Ok(())
        }
        (Action::Create, _, Some(after)) => add(tx, after, terms_of(after)).await,
        (Action::Update, Some(before), Some(after)) => replace(tx, before, after).await,
        (Action::Create | Action::Update, ..) => {
            Err(Error::Internal(anyhow!("a change of a {} does not show its texts", R::Id::KIND)))
        }
        _ => Ok(()), // its texts are as they were
    }
}

async fn replace<R: Record>(tx: &mut WriteTx, before: &R, after: &R) -> Result<()> {
    if before.text() == after.text() && before.audiences() == after.audiences() {
        return Ok(());
    }
    let (mut old, mut new) = (terms_of(before), terms_of(after));
    if old.is_cut || new.is_cut || before.audiences() != after.audiences() {
        tx.remove_all_terms(after.id());
    } else {
        let known: HashMap<_, _> = old.terms.drain(..).map(|term| (term.text, term.weight)).collect();
        let kept: HashMap<_, _> = new.terms.iter().map(|term| (term.text.clone(), term.weight)).collect();
        let lost = known.iter().filter(|(text, weight)| kept.get(*text) != Some(*weight)).map(|(text, _)| text.clone());
        let lost: Vec<_> = lost.collect();
        if !lost.is_empty() {
            tx.remove_terms(after.id(), lost);
        }
        new.terms.retain(|term| known.get(&term.text) != Some(&term.weight));
    }
    add(tx, after, new).await
}

async fn add<R: Record>(tx: &mut WriteTx, record: &R, Terms { terms, is_cut }: Terms) -> Result<()> {
    let (kind, id) = (R::Id::KIND, record.id());
    if !terms.is_empty() {
        tx.add_terms(&Indexed { kind, id, audiences: record.audiences(), terms });
    }
    if is_cut {
        tx.enqueue(&IndexTexts { kind: kind.to_owned(), id }).await?;
    }
    Ok(())
}

/// Removes the terms of the records that are deleted together with another one.
pub async fn remove_below(tx: &mut WriteTx, kind: &str, id: Uuid) -> Result<()> {
    for below in RECORDS.kinds().filter(|below| !below.text.is_empty()) {
        for column in below.below(kind) {
            tx.remove_terms_below(below.table, column, id).await?;
        }
    }
    Ok(())
}

/// Writes all terms of one record, which has long texts.
#[derive(Serialize, Deserialize)]
pub struct IndexTexts {
    pub kind: String,
    pub id: Uuid,
}

impl Job for IndexTexts {
    const KIND: &'static str = "index_texts";
    type Needs = Db;

    async fn run(self, context: JobContext, db: Db) -> Result<()> {
        match RECORDS.kind(&self.kind).and_then(|kind| kind.texts()) {
            Some(source) => db.index_record(context.tenant()?, source, self.id).await,
            None => Ok(()), // of a kind that is not searched any more
        }
    }
}

/// After how many records PostgreSQL collects statistics.
const ANALYZED: usize = 1000;

/// Indexes all texts of a tenant anew. Calls a function with the number of records that are done.
pub async fn rebuild(db: &Db, tenant: TenantId, mut done: impl FnMut(usize)) -> Result<()> {
    let mut seen = 0;
    for source in RECORDS.kinds().filter_map(|kind| kind.texts()) {
        let mut after = Uuid::nil();
        while let Some((count, last)) = db.rebuild_terms(tenant, source, after).await? {
            done(count);
            // Without statistics of the first terms, PostgreSQL would look for a record's terms in all of the tenant.
            if (0..ANALYZED).contains(&seen) && seen + count >= ANALYZED {
                db.refresh_statistics().await?;
            }
            seen += count;
            after = last;
        }
    }
    let sources: Vec<_> = RECORDS.kinds().filter_map(|kind| kind.texts()).collect();
    let mut after = Uuid::nil();
    while let Some(last) = db.remove_stale_terms(tenant, &sources, after).await? {
        after = last;
    }
    Ok(())
}
