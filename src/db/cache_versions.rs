//! Versions of a tenant's rows. Lists and totals that are cached under a version are never out of date.
//!
//! Each change to a tenant's rows of a table that is `versioned` in `schema.rs` gives them a new version, in the
//! change's own transaction. Which table a statement changes, and which tables a query reads, is read from their SQL, so
//! that nobody has to remember it.
//!
//! To store an answer, a server reads the version and the answer in one snapshot, so that the answer gets the right key.
//! To find one, a server reads the version and looks for its key: an answer that it finds was right at that moment.
//!
//! A version is made of unique ids and not of counters. If a version is lost by a rollback, or comes back with a
//! restored backup, it is never used for other rows.
//!
//! A version is kept in several rows, its shards, and a change replaces the id in one of them. With a single row, all
//! changes in a tenant would wait for one another: on PostgreSQL, that took more time than to insert a task.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::{bound, sql_of};
use super::change::Statement;
use super::schema::{TABLES, table};
use super::types::{CacheVersion, TenantId, Uid};
use super::{Any, ReadTx, RunQueryDsl, WriteTx};
use crate::base::error::{Detail, Error, Result};
use crate::db::schema::cache_versions as versions;
use anyhow::anyhow;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Text;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// How many rows a version is kept in at most.
const SHARDS: u8 = 8;

/// The versions of the rows of one table, by their name in `schema.rs`.
#[derive(Debug, Clone, Copy)]
pub struct CacheScope(&'static str);

impl CacheScope {
    /// The versions of this name. In a constant, this does not compile if `schema.rs` has none.
    pub const fn of(name: &'static str) -> Self {
        let mut table = 0;
        while table < TABLES.len() {
            if let Some(versioned) = TABLES[table].versioned_as
                && is_same(versioned, name)
            {
                return Self(versioned);
            }
            table += 1;
        }
        panic!("no table is `versioned as` this in `schema.rs`, so changes would not be noticed")
    }

    pub fn kind(self) -> &'static str {
        self.0
    }
}

/// `==` is not constant.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

/// The names that are quoted in a statement, in their order. Texts are not part of a statement, but bound to it.
fn names(sql: &str) -> impl Iterator<Item = &str> {
    sql.split('"').skip(1).step_by(2)
}

impl ReadTx {
    /// The version of the tenant's rows in this snapshot.
    pub async fn cache_version(&mut self, scope: CacheScope) -> Result<CacheVersion> {
        let of_tenant = versions::table.filter(versions::tenant_id.eq(self.tenant()));
        let shards = of_tenant.filter(versions::kind.eq(scope.kind()));
        let ids: Vec<CacheVersion> = shards.select(versions::id).load(self).await?;
        let all = ids.iter().fold(0, |all, id| all ^ id.0.as_u128()); // 74 bits of each are random
        Ok(CacheVersion(Uuid::from_u128(all)))
    }
}

impl WriteTx {
    /// Notes which versions a statement invalidates.
    pub(super) fn note_change_of(&mut self, statement: &dyn QueryFragment<Any>) -> QueryResult<()> {
        self.note_change_in(&sql_of(statement)?);
        Ok(())
    }

    /// As [`Self::note_change_of`], for SQL in the dialect of PostgreSQL.
    pub(super) fn note_change_in(&mut self, sql: &str) {
        let table = names(sql).next().and_then(table);
        debug_assert!(table.is_some(), "which table does this change? {sql}");
        if let Some(version) = table.and_then(|table| table.versioned_as) {
            self.invalidate(version);
        }
    }

    /// The statement that replaces a version, by a new id in one of its shards.
    pub(super) fn new_version(&self, name: &'static str) -> Statement<'static> {
        let id = self.new_id::<CacheVersion>();
        let [.., random] = *id.0.as_bytes();
        let row = (
            versions::tenant_id.eq(self.tenant()),
            versions::kind.eq(name),
            versions::shard.eq(i16::from(random % SHARDS)),
            versions::id.eq(id),
        );
        Statement::of(Replacing(diesel::insert_into(versions::table).values(row)))
    }
}

/// The insert statement, which updates the version if the row already exists.
#[derive(QueryId)]
struct Replacing<I>(I);

impl<I: QueryFragment<Any>> QueryFragment<Any> for Replacing<I> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(match out.backend() {
            Any::Mysql(_) => " ON DUPLICATE KEY UPDATE id = VALUES(id)",
            Any::Pg(_) | Any::Sqlite(_) => " ON CONFLICT (tenant_id, kind, shard) DO UPDATE SET id = excluded.id",
        });
        Ok(())
    }
}

/// How many totals a server keeps, each of some 250 bytes, and for how long.
const MAX_TOTALS: u64 = 100_000;
const LIFETIME: Duration = Duration::from_secs(60);

/// How many rows the lists of tenants have. A total is kept by what was counted and by the versions of the tables that
/// were read for it. A clone is cheap and shares the totals.
#[derive(Clone)]
pub(super) struct Totals(Cache<[u8; 32], Arc<Total>>);

/// A total that is counted, or will be.
#[derive(Default)]
struct Total {
    rows: OnceCell<i64>,
    too_slow: OnceLock<()>,
}

impl Default for Totals {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_TOTALS).time_to_live(LIFETIME).build())
    }
}

impl Totals {
    /// The kept total, or the one that `count` finds. Of several requests that need the same total, one counts and the
    /// others wait for it. If the count takes too long, it fails for all of them. After another failure, the next one
    /// counts. `count` is called only if it is needed, because on SQLite a future runs before it is polled.
    pub async fn or_counted<F>(&self, key: [u8; 32], count: impl FnOnce() -> F) -> Result<i64>
    where
        F: Future<Output = Result<i64>>,
    {
        let total = self.0.get_with(key, Arc::default);
        let counting = || async {
            if total.too_slow.get().is_some() {
                let cause = anyhow!("another request has counted for too long");
                return Err(Error::SlowStatement(Detail::default(), cause));
            }
            let counted = count().await;
            if matches!(counted, Err(Error::SlowStatement(..))) {
                total.too_slow.get_or_init(|| ());
                self.0.invalidate(&key); // later requests try again
            }
            counted
        };
        total.rows.get_or_try_init(counting).await.copied()
    }
}

/// A count that can be kept.
pub(super) struct Counted {
    versions: Vec<&'static str>,
    /// Of the SQL and its values.
    hash: Sha256,
}

pub(super) type Versions = versions::BoxedQuery<'static, Any, (Text, Uid)>;

impl Counted {
    /// `None` if the count reads a table that has no versions, so that its changes are not noticed.
    pub fn of<Q: QueryFragment<Any> + QueryId>(count: &Q) -> QueryResult<Option<Self>> {
        let bound = bound(count)?;
        let mut versions = vec![];
        for table in names(bound.sql()).filter_map(table) {
            match table.versioned_as {
                None => return Ok(None),
                Some(version) if versions.contains(&version) => {}
                Some(version) => versions.push(version),
            }
        }
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        };
        add(bound.sql().as_bytes());
        for value in bound.values() {
            add(&[u8::from(value.is_some())]);
            add(value.as_deref().unwrap_or_default());
        }
        Ok((!versions.is_empty()).then_some(Self { versions, hash }))
    }

    /// The query for the versions in a snapshot, whose rows [`Self::key`] takes.
    pub fn query(&self, tenant: TenantId) -> Versions {
        let of_tenant = versions::table.filter(versions::tenant_id.eq(tenant)).into_boxed();
        let wanted = match &self.versions[..] {
            [one] => of_tenant.filter(versions::kind.eq(*one)),
            several => of_tenant.filter(versions::kind.eq_any(several.to_vec())),
        };
        wanted.order((versions::kind, versions::shard)).select((versions::kind, versions::id))
    }

    /// What the total is kept by.
    pub fn key(self, tenant: TenantId, versions: &[(String, CacheVersion)]) -> [u8; 32] {
        let mut hash = self.hash;
        hash.update(tenant.0.as_bytes());
        for (name, version) in versions {
            hash.update(name.as_bytes());
            hash.update(version.0.as_bytes());
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicI64, Ordering};
    use tokio::task::yield_now;

    #[tokio::test]
    async fn one_counts_for_all_that_wait_and_the_next_one_if_it_fails() {
        let (totals, counted) = (Totals::default(), AtomicI64::new(0));
        let count = |failure: fn() -> Error| {
            let before = counted.fetch_add(1, Ordering::Relaxed); // when it is called, and not when it is polled
            async move {
                yield_now().await; // the others come meanwhile
                if before == 0 { Err(failure()) } else { Ok(40 + before) }
            }
        };
        let ask = |key: u8, failure| totals.or_counted([key; 32], move || count(failure));
        let away = || Error::Unavailable(anyhow!("away"));
        let found = join_all((0..5).map(|_| ask(1, away))).await;
        let found: Vec<_> = found.into_iter().map(Result::ok).collect();
        assert_eq!(found, [None, Some(41), Some(41), Some(41), Some(41)]);
        assert_eq!(ask(1, away).await.ok(), Some(41));
        assert_eq!(ask(2, away).await.ok(), Some(42), "another key is another total");
        assert_eq!(counted.swap(0, Ordering::Relaxed), 3);
        let slow = || Error::SlowStatement(Detail::default(), anyhow!("slow"));
        let found = join_all((0..5).map(|_| ask(3, slow))).await;
        assert!(found.iter().all(|found| matches!(found, Err(Error::SlowStatement(..)))), "{found:?}");
        assert_eq!(counted.fetch_add(0, Ordering::Relaxed), 1, "nobody waits for several counts that are too slow");
        assert_eq!(ask(3, slow).await.ok(), Some(41), "a later request tries again");
    }
}
