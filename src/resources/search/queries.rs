//! Finds records and shows them.
use super::types::{SearchFilter, SearchResult};
use crate::api::list::{List, Page};
use crate::api::record::{Kind, as_title, href};
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::terms::{Part, Wish};
use crate::db::ReadTx;
use crate::db::search_terms::{Hit, Search, Texts, audience_with};
use crate::db::types::{AnyId, UserId};
use crate::resources::RECORDS;
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

/// A user who searches.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    pub user: UserId,
    pub role: Role,
}

impl Reader {
    /// The audiences that the reader belongs to. With a kind to find, only those that may find records of this kind.
    pub fn audiences(self, only: Option<&Kind>) -> Vec<String> {
        let may_read = |kind: &Kind| self.role >= kind.role;
        let (mut audiences, mut has_private) = (vec![], false);
        for kind in RECORDS.kinds().filter(|kind| !kind.text.is_empty()) {
            if only.is_some_and(|only| only.name != kind.name) {
                continue;
            }
            if may_read(kind) {
                audiences.push(kind.name.to_owned());
            } else {
                has_private |= kind.private_to.is_some();
            }
            let others = kind.visible_with.iter().filter_map(|with| RECORDS.kind(with.kind));
            audiences.extend(others.filter(|other| may_read(other)).map(|other| audience_with(kind.name, other.name)));
        }
        audiences.extend(has_private.then(|| self.user.0.to_string()));
        audiences
    }
}

/// What a search has found: one page of hits and one more, how many there are in all, and their texts.
pub struct Found {
    hits: Vec<Hit>,
    total: Option<i64>,
    texts: HashMap<Uuid, Texts>,
}

/// Finds one page of the records that a search may find, and reads their texts.
pub async fn find(tx: &mut ReadTx, list: &List<SearchFilter>, search: &Search) -> Result<Found> {
    let hits = tx.hits(search).await?;
    let (hits, total) = list.pick(hits, |hit| (hit.score, hit.id))?;
    let mut of_kind: HashMap<&str, Vec<Uuid>> = HashMap::new();
    for Hit { kind, id, .. } in &hits {
        of_kind.entry(kind).or_default().push(*id);
    }
    let mut texts = HashMap::new();
    for (kind, ids) in of_kind {
        if let Some(source) = RECORDS.kind(kind).and_then(|kind| kind.texts()) {
            texts.extend(tx.texts(source, &ids).await?.into_iter().map(|found| (found.id, found)));
        }
    }
    Ok(Found { hits, total, texts })
}

impl Found {
    /// The page as it is shown. It takes a while for long texts, so it is made without a lease.
    pub fn page(self, list: &List<SearchFilter>, wish: &Wish) -> Page<SearchResult> {
        let Self { hits, total, mut texts } = self;
        let mut page = list.page(vec![], total);
        let per_page = usize::try_from(list.per_page).unwrap_or_default();
        // The cursor follows from the hits, because a record without texts is not shown.
        let last = hits.get(per_page.saturating_sub(1)).filter(|_| hits.len() > per_page);
        page.meta.next_cursor = last.map(|Hit { score, id, .. }| list.cursor_after(&json!({"score": score, "id": id})));
        let shown = hits.iter().take(per_page);
        page.items = shown.filter_map(|hit| result(hit, texts.remove(&hit.id)?, wish)).collect();
        page
    }
}

fn result(hit: &Hit, Texts { id, parent, texts, .. }: Texts, wish: &Wish) -> Option<SearchResult> {
    let kind = RECORDS.kind(&hit.kind)?;
    let title = texts.first()?;
    // A hit in the title is seen there, so one in another text tells more.
    let snippet = texts.iter().skip(1).chain([title]).find_map(|text| wish.snippet(text));
    let parts = snippet.unwrap_or_else(|| vec![Part { text: as_title(title), is_hit: false }]);
    Some(SearchResult {
        kind: hit.kind.clone(),
        id: AnyId(id),
        title: as_title(title),
        href: href(kind.href, id, parent),
        snippet: parts.into_iter().map(Into::into).collect(),
        score: hit.score,
    })
}
