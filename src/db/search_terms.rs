//! The terms under which a search finds records. A term of a record stands here once for each *audience* that may find the
//! record. An audience is the readers of a kind of records, by its name (`task`); the readers of another kind with which
//! records of a kind are seen (`file/task`); or one user, by their id. So a search looks only at what its caller may see,
//! however much there is of the rest.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::schema::search_terms as terms;
use super::scope::System;
use super::sql::{for_update, uncached};
use super::table_statement::TableStatement;
use super::types::{AnyId, TenantId, Uid};
use super::{Any, Audited, Db, Execute, ReadTx, RunQueryDsl, Statement, WriteTx, schema};
use crate::base::error::Result;
use crate::base::terms::{Term, Wanted, Weight, Wish};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;

/// The greatest number of terms of one record.
pub const MAX_TERMS: usize = 2000;

/// How many records a search looks at: the first of those that have its rarest term.
pub const MAX_CANDIDATES: usize = 1000;

/// How many rows of terms that begin with a text a search looks at.
const MAX_BEGINNINGS: usize = 1500;

/// How far a search counts the records that have a term, at first and if all terms are frequent.
const COUNTED: [usize; 2] = [1_001, 5_001];

/// How many records are indexed in one transaction, and after how many rows a statement is sent.
const BATCH: usize = 250;
/// With how many terms a transaction that indexes records ends.
const MAX_INDEXED: usize = 20_000;
const MAX_ROWS: usize = 5000;

/// Separates the texts of a record in one column of an answer (U+001F).
const SEPARATOR: char = '\u{1f}';

/// A column with the id of another record, and the kind of that. If it is set, the readers of that kind may find the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleWith {
    pub column: &'static str,
    pub kind: &'static str,
}

/// Where the texts of one kind of records are.
#[derive(Debug, Clone, Copy)]
pub struct TextSource {
    pub kind: &'static str,
    pub table: &'static str,
    /// The columns with text, and the weight of a term in each. The first one has the title.
    pub texts: &'static [(&'static str, Weight)],
    /// The column with the id of the parent record.
    pub parent: Option<&'static str>,
    pub visible_with: &'static [VisibleWith],
    /// The column with the user who may find the record if none of the columns above is set.
    pub private_to: Option<&'static str>,
}

/// The texts of a record, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    pub id: Uuid,
    pub parent: Option<Uuid>,
    /// One for each column of the [`TextSource`]. A missing text is empty.
    pub texts: Vec<String>,
    /// The audiences that may find the record.
    pub audiences: Vec<String>,
}

/// The terms of a record, and the audiences that may find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    pub kind: &'static str,
    pub id: Uuid,
    pub audiences: Vec<String>,
    pub terms: Vec<Term>,
}

/// A record that a search has found. The score is the sum of the weights of the terms in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub kind: String,
    pub id: Uuid,
    pub score: i16,
}

/// The audience of users who may find records of a kind because they may read a record of another kind.
pub fn audience_with(kind: &str, other: &str) -> String {
    format!("{kind}/{other}")
}

/// The audiences of a record that is seen together with another one, or else by one user.
pub fn audiences(kind: &'static str, visible_with: Option<&str>, private_to: Option<Uuid>) -> Vec<String> {
    match (visible_with, private_to) {
        (Some(other), _) => vec![audience_with(kind, other)],
        (None, Some(user)) => vec![kind.to_owned(), user.to_string()],
        (None, None) => vec![kind.to_owned()],
    }
}

type Selected = (AnyId, AnyId, String, String, AnyId);

impl TextSource {
    /// The rows of the tenant's records, up to their `WHERE`.
    fn rows<ST>(&self, start: TableStatement<ST>, tenant: TenantId) -> TableStatement<ST> {
        let rows = start.sql(" FROM ").name(self.table).sql(" WHERE tenant_id = ").id(tenant.0);
        let is_marked = schema::table(self.table).is_some_and(|table| table.column("deleted_at").is_some());
        if is_marked { rows.sql(" AND deleted_at IS NULL") } else { rows }
    }

    fn select(&self, tenant: TenantId) -> TableStatement<(Uid, Uid, Text, Text, Uid)> {
        let mut rows = TableStatement::new().sql("SELECT id, ").name(self.parent.unwrap_or("id"));
        rows = rows.sql(format!(", concat_ws('{SEPARATOR}'"));
        for (column, _) in self.texts {
            rows = rows.sql(", replace(coalesce(").name(column).sql(format!(", ''), '{SEPARATOR}', ' ')"));
        }
        rows = rows.sql("), CASE");
        for VisibleWith { column, kind } in self.visible_with {
            rows = rows.sql(" WHEN ").name(column).sql(format!(" IS NOT NULL THEN '{kind}'"));
        }
        // SQL has no `CASE` without a `WHEN`, and most kinds have none of the columns above.
        rows = rows.sql(" WHEN id IS NULL THEN '' ELSE '' END, ").name(self.private_to.unwrap_or("id"));
        self.rows(rows, tenant)
    }

    fn texts(&self, (AnyId(id), AnyId(parent), texts, visible_with, AnyId(user)): Selected) -> Texts {
        let mut texts: Vec<_> = texts.splitn(self.texts.len(), SEPARATOR).map(str::to_owned).collect();
        texts.resize(self.texts.len(), String::new());
        let visible_with = Some(&*visible_with).filter(|kind| !kind.is_empty());
        let audiences = audiences(self.kind, visible_with, self.private_to.map(|_| user));
        Texts { id, parent: self.parent.map(|_| parent), texts, audiences }
    }

    fn indexed(&self, Texts { id, texts, audiences, .. }: &Texts) -> Indexed {
        let weighed = self.texts.iter().zip(texts).map(|((_, weight), text)| (*weight, &**text));
        let terms = crate::base::terms::terms(weighed, MAX_TERMS).terms;
        Indexed { kind: self.kind, id: *id, audiences: audiences.clone(), terms }
    }
}

/// Inserts rows that are given as JSON, so that its text does not depend on their number.
#[derive(QueryId)]
struct InsertTerms {
    tenant: TenantId,
    rows: String,
}

impl QueryFragment<Any> for InsertTerms {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        let (columns, from) = match out.backend() {
            Any::Pg(_) => (
                ", CAST(r->>0 AS uuid), r->>1, r->>2, r->>3, CAST(r->>4 AS smallint)",
                " FROM json_array_elements(CAST(",
            ),
            Any::Mysql(_) => (", unhex(r.id), r.audience, r.term, r.kind, r.weight", " FROM json_table("),
            Any::Sqlite(_) => (", unhex(value->>0), value->>1, value->>2, value->>3, value->>4", " FROM json_each("),
        };
        out.push_sql("INSERT INTO ");
        out.push_identifier("search_terms")?;
        out.push_sql(" (tenant_id, id, audience, term, kind, weight) SELECT ");
        out.push_bind_param::<Uid, TenantId>(&self.tenant)?;
        if matches!(out.backend(), Any::Pg(_)) {
            out.push_sql("::uuid");
        }
        out.push_sql(columns);
        out.push_sql(from);
        out.push_bind_param::<Text, String>(&self.rows)?;
        out.push_sql(match out.backend() {
            Any::Pg(_) => " AS json)) AS r",
            Any::Mysql(_) => {
                ", '$[*]' COLUMNS (id CHAR(32) PATH '$[0]', audience VARCHAR(41) PATH '$[1]', term VARCHAR(64) PATH '$[2]', \
                 kind VARCHAR(20) PATH '$[3]', weight SMALLINT PATH '$[4]')) AS r"
            }
            Any::Sqlite(_) => ")",
        });
        Ok(())
    }
}

/// The rows of a record, as JSON.
fn rows(Indexed { kind, id, audiences, terms }: &Indexed) -> impl Iterator<Item = String> {
    let id = id.simple().to_string();
    audiences.iter().flat_map(move |audience| {
        let id = id.clone();
        terms.iter().map(move |Term { text, weight }| json!([id, audience, text, kind, weight.score()]).to_string())
    })
}

fn insert(tenant: TenantId, rows: &[String]) -> Statement<'static> {
    Statement::of(InsertTerms { tenant, rows: format!("[{}]", rows.join(",")) })
}

impl WriteTx {
    /// Adds terms of a record, at the end of the transaction.
    pub fn add_terms(&mut self, new: &Indexed) {
        let rows: Vec<_> = rows(new).collect();
        self.at_end(insert(self.tenant(), &rows));
    }

    /// Removes some terms of a record, at the end of the transaction.
    pub fn remove_terms(&mut self, id: Uuid, texts: Vec<String>) {
        let of_record = terms::table.filter(terms::tenant_id.eq(self.tenant())).filter(terms::id.eq(AnyId(id)));
        self.at_end(Statement::of(diesel::delete(of_record.filter(terms::term.eq_any(texts)))));
    }

    /// Removes all terms of a record, at the end of the transaction.
    pub fn remove_all_terms(&mut self, id: Uuid) {
        let of_record = terms::table.filter(terms::tenant_id.eq(self.tenant())).filter(terms::id.eq(AnyId(id)));
        self.at_end(Statement::of(diesel::delete(of_record)));
    }

    /// Removes all terms of the records of a table that refer to another record by this column, before they are deleted
    /// together with it.
    pub async fn remove_terms_below(&mut self, table: &'static str, column: &'static str, id: Uuid) -> Result<()> {
        let rows = TableStatement::<Uid>::new().sql("SELECT id FROM ").name(table).sql(" WHERE tenant_id = ");
        let rows = rows.id(self.tenant().0).sql(" AND ").name(column).sql(" = ").id(id);
        let rows: Vec<AnyId> = rows.load(self).await?;
        for some in rows.chunks(BATCH) {
            let of_records =
                terms::table.filter(terms::tenant_id.eq(self.tenant())).filter(terms::id.eq_any(some.to_vec()));
            self.at_end(Statement::of(diesel::delete(of_records)));
        }
        Ok(())
    }

    async fn replace_terms(&mut self, records: &[Indexed]) -> Result<()> {
        let ids: Vec<_> = records.iter().map(|record| AnyId(record.id)).collect();
        let (Some(first), Some(last)) = (ids.iter().min().copied(), ids.iter().max().copied()) else { return Ok(()) };
        // With the range, PostgreSQL uses the key also before it has statistics.
        let known = terms::table.filter(terms::tenant_id.eq(self.tenant())).filter(terms::id.between(first, last));
        let known = known.filter(terms::id.eq_any(ids));
        diesel::delete(known).execute(self).await?;
        let mut waiting: Vec<String> = vec![];
        for record in records {
            waiting.extend(rows(record));
            if waiting.len() >= MAX_ROWS {
                insert(self.tenant(), &waiting).run(self).await?;
                waiting.clear();
            }
        }
        if !waiting.is_empty() {
            insert(self.tenant(), &waiting).run(self).await?;
        }
        Ok(())
    }
}

impl Db {
    /// Writes the terms of one record anew, with all that its texts have. For texts that are too long to be indexed in the
    /// transaction that changes them.
    pub async fn index_record(&self, tenant: TenantId, source: TextSource, id: Uuid) -> Result<()> {
        let index = async |tx: &mut WriteTx| {
            let rows = source.select(tx.tenant()).sql(" AND id = ").id(id);
            let rows: Vec<Selected> = for_update(uncached(rows)).get_results(tx).await?;
            let records: Vec<_> = rows.into_iter().map(|row| source.indexed(&source.texts(row))).collect();
            // A record that was deleted meanwhile has no terms any more.
            tx.replace_terms(&records).await?;
            Ok(Audited::without_row(())) // the change of the record has its row
        };
        self.write(&System::in_turns_of(tenant), index).await
    }

    /// Writes the terms of the next records of a kind anew. Returns how many records there were, and the id of the last one.
    /// Servers may run meanwhile.
    pub async fn rebuild_terms(
        &self,
        tenant: TenantId,
        source: TextSource,
        after: Uuid,
    ) -> Result<Option<(usize, Uuid)>> {
        let rebuild = async |tx: &mut WriteTx| {
            let rows =
                source.select(tx.tenant()).sql(" AND id > ").id(after).sql(format!(" ORDER BY id LIMIT {BATCH}"));
            let rows: Vec<Selected> = for_update(uncached(rows)).get_results(tx).await?;
            let mut count = 0;
            let records = rows.into_iter().map(|row| source.indexed(&source.texts(row)));
            // The rest follows in the next transaction, so that none has its locks for long.
            let few = records.take_while(|record| {
                let fits = count < MAX_INDEXED;
                count += record.terms.len();
                fits
            });
            let records: Vec<_> = few.collect();
            tx.replace_terms(&records).await?;
            let last = records.last().map(|record| (records.len(), record.id));
            Ok(Audited::without_row(last)) // no record is changed
        };
        self.write(&System::of(tenant), rebuild).await
    }

    /// Removes the next terms that belong to no record. Returns the last id that it looked at.
    pub async fn remove_stale_terms(
        &self,
        tenant: TenantId,
        sources: &[TextSource],
        after: Uuid,
    ) -> Result<Option<Uuid>> {
        let remove = async |tx: &mut WriteTx| {
            let of_tenant = terms::table.filter(terms::tenant_id.eq(tx.tenant()));
            let next =
                of_tenant.filter(terms::id.gt(AnyId(after))).order(terms::id.asc()).select((terms::id, terms::kind));
            let next: Vec<(AnyId, String)> = next.distinct().limit(BATCH as i64).load(tx).await?;
            let mut stale: HashSet<_> = next.iter().map(|(id, _)| *id).collect();
            for source in sources {
                let of_kind = next.iter().filter(|(_, kind)| kind == source.kind).map(|(AnyId(id), _)| *id);
                let ids: Vec<_> = of_kind.collect();
                if !ids.is_empty() {
                    let rows = source.rows(TableStatement::<Uid>::new().sql("SELECT id"), tx.tenant());
                    let there: Vec<AnyId> = uncached(rows.sql(" AND id IN (").ids(&ids).sql(")")).load(tx).await?;
                    there.iter().for_each(|id| {
                        stale.remove(id);
                    });
                }
            }
            if !stale.is_empty() {
                let stale: Vec<_> = stale.into_iter().collect();
                diesel::delete(of_tenant.filter(terms::id.eq_any(stale))).execute(tx).await?;
            }
            Ok(Audited::without_row(next.last().map(|(AnyId(id), _)| *id))) // no record is changed
        };
        self.write(&System::of(tenant), remove).await
    }
}

/// What a search looks for, and what it may find.
#[derive(Debug, Clone)]
pub struct Search {
    pub wish: Wish,
    /// The audiences that the caller belongs to.
    pub audiences: Vec<String>,
    /// The only kind of records to find.
    pub kind: Option<String>,
}

impl Search {
    /// The rows of a term that one or more audiences may find.
    fn rows<ST>(&self, start: TableStatement<ST>, tenant: TenantId, audiences: &[String]) -> TableStatement<ST> {
        let mut rows = start.sql(" FROM search_terms WHERE tenant_id = ").id(tenant.0).sql(" AND audience IN (");
        for (index, audience) in audiences.iter().enumerate() {
            rows = rows.sql(if index == 0 { "" } else { ", " }).text(audience.clone());
        }
        rows = rows.sql(") AND ").in_time();
        match &self.kind {
            Some(kind) => rows.sql(" AND kind = ").text(kind.clone()),
            None => rows,
        }
    }
}

/// The condition that a term is, or begins with, this one.
fn is<ST>(rows: TableStatement<ST>, wanted: &Wanted) -> TableStatement<ST> {
    match wanted.is_beginning {
        false => rows.sql(" AND term = ").text(wanted.text.clone()),
        true => rows.sql(" AND term >= ").text(wanted.text.clone()).sql(" AND term < ").text(after_all(&wanted.text)),
    }
}

/// A text that comes after all terms that begin with this one. No letter comes after U+10FFFF.
fn after_all(text: &str) -> String {
    format!("{text}\u{10ffff}")
}

impl ReadTx {
    /// The records that have all terms of a search, the best first, and of equal ones the newest.
    pub async fn hits(&mut self, search: &Search) -> Result<Vec<Hit>> {
        let rarest = self.rarest(search).await?;
        let tenant = self.tenant();
        let mut hits = TableStatement::<(Text, Uid, Nullable<SmallInt>)>::new().sql("SELECT c.kind, c.id, c.weight");
        for (_, wanted) in search.wish.terms.iter().enumerate().filter(|(index, _)| *index != rarest) {
            let weight = if wanted.is_beginning { "max(weight)" } else { "weight" };
            hits = hits.sql(format!(" + (SELECT {weight} FROM search_terms t WHERE t.tenant_id = ")).id(tenant.0);
            hits = is(hits.sql(" AND t.id = c.id AND t.audience = c.audience AND ").in_time(), wanted).sql(")");
        }
        hits = hits.sql(" AS score FROM (SELECT u.kind, u.id, u.audience, max(u.weight) AS weight FROM (");
        // One range of the index for each audience is in order. Several in one condition would have to be sorted.
        let Wanted { text, is_beginning } = &search.wish.terms[rarest];
        for (part, audience) in search.audiences.chunks(1).enumerate() {
            hits = hits.sql(if part == 0 { "" } else { " UNION ALL " });
            hits = search.rows(hits.sql("SELECT * FROM (SELECT kind, id, audience, weight"), tenant, audience);
            hits = hits.sql(" AND term = ").text(text.clone());
            hits = hits.sql(format!(" ORDER BY weight DESC, id DESC LIMIT {MAX_CANDIDATES}) AS w{part}"));
            if *is_beginning {
                hits = search.rows(
                    hits.sql(" UNION ALL SELECT * FROM (SELECT kind, id, audience, weight"),
                    tenant,
                    audience,
                );
                hits = hits.sql(" AND term > ").text(text.clone()).sql(" AND term < ").text(after_all(text));
                hits = hits.sql(format!(" ORDER BY term, weight DESC, id DESC LIMIT {MAX_BEGINNINGS}) AS b{part}"));
            }
        }
        let hits = hits.sql(") AS u GROUP BY u.kind, u.id, u.audience ORDER BY weight DESC, u.id DESC");
        let hits = hits.sql(format!(" LIMIT {MAX_CANDIDATES}) AS c"));
        let rows: Vec<(String, AnyId, Option<i16>)> = uncached(hits).load(self).await?;
        let found = rows.into_iter().filter_map(|(kind, AnyId(id), score)| Some(Hit { kind, id, score: score? }));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|hit| std::cmp::Reverse((hit.score, hit.id)));
        found.dedup_by_key(|hit| hit.id);
        Ok(found)
    }

    /// The place of the term that the fewest records have.
    async fn rarest(&mut self, search: &Search) -> Result<usize> {
        if search.wish.terms.len() < 2 {
            return Ok(0);
        }
        let mut rarest = 0;
        for limit in COUNTED {
            let mut counts = TableStatement::<BigInt>::new();
            for (index, wanted) in search.wish.terms.iter().enumerate() {
                let union = if index == 0 { "" } else { " UNION ALL " };
                counts = counts.sql(format!("{union}SELECT count(*) * 100 + {index} FROM (SELECT 1 AS one"));
                counts = is(search.rows(counts, self.tenant(), &search.audiences), wanted);
                counts = counts.sql(format!(" LIMIT {limit}) AS t{index}"));
            }
            let counts: Vec<i64> = uncached(counts).load(self).await?;
            let least = counts.into_iter().min().unwrap_or_default();
            rarest = usize::try_from(least % 100).unwrap_or_default();
            if least / 100 < limit as i64 {
                break;
            }
        }
        Ok(rarest)
    }

    /// The texts of records, in no particular order.
    pub async fn texts(&mut self, source: TextSource, ids: &[Uuid]) -> Result<Vec<Texts>> {
        let rows = source.select(self.tenant()).sql(" AND id IN (").ids(ids).sql(")");
        let rows: Vec<Selected> = uncached(rows).load(self).await?;
        Ok(rows.into_iter().map(|row| source.texts(row)).collect())
    }
}
