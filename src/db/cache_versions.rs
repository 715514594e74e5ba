//! Versions of a tenant's rows. Lists and totals that are cached under a version are never out of date.
//!
//! Each change to a tenant's rows of a table that is `versioned` in `schema.rs` gives them a new version, in the
//! change's own transaction. Which table a statement changes, and which tables a query reads, is read from their SQL, so
//! that nobody has to remember it.
//!
//! To store an answer, a server reads the version and the answer in one snapshot, so that the answer gets the right key.
//! To find one, a server reads the version and looks for its key: an answer that it finds was right at that moment.
//!
//! A version is a unique id and not a counter. If a version is lost by a rollback, or comes back with a restored
//! backup, it is never used for other rows.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::{bound, sql_of};
use super::change::Statement;
use super::schema::{TABLES, table};
use super::types::{CacheVersion, TenantId, Uid};
use super::{Any, ReadTx, RunQueryDsl, WriteTx};
use crate::base::error::Result;
use crate::db::schema::cache_generations as generations;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Text;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

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
        let of_tenant = generations::table.filter(generations::tenant_id.eq(self.tenant()));
        let row = of_tenant.filter(generations::kind.eq(scope.kind())).select(generations::generation);
        let version = row.first(self).await.optional()?;
        Ok(version.unwrap_or(CacheVersion(Uuid::nil()))) // no row was ever changed
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

    /// The statement that replaces a version.
    pub(super) fn new_version(&self, name: &'static str) -> Statement<'static> {
        let row = (
            generations::tenant_id.eq(self.tenant()),
            generations::kind.eq(name),
            generations::generation.eq(self.new_id::<CacheVersion>()),
        );
        Statement::of(Replacing(diesel::insert_into(generations::table).values(row)))
    }
}

/// The insert statement, which updates the version if the row already exists.
#[derive(QueryId)]
struct Replacing<I>(I);

impl<I: QueryFragment<Any>> QueryFragment<Any> for Replacing<I> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(match out.backend() {
            Any::Mysql(_) => " ON DUPLICATE KEY UPDATE generation = VALUES(generation)",
            Any::Pg(_) | Any::Sqlite(_) => {
                " ON CONFLICT (tenant_id, kind) DO UPDATE SET generation = excluded.generation"
            }
        });
        Ok(())
    }
}

/// How many totals a server keeps, each of some 100 bytes, and for how long.
const MAX_TOTALS: u64 = 100_000;
const LIFETIME: Duration = Duration::from_secs(60);

/// How many rows the lists of tenants have. A total is kept by what was counted and by the versions of the tables that
/// were read for it. A clone is cheap and shares the totals.
#[derive(Clone)]
pub(super) struct Totals(Cache<[u8; 32], i64>);

impl Default for Totals {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_TOTALS).time_to_live(LIFETIME).build())
    }
}

impl Totals {
    pub fn get(&self, key: &[u8; 32]) -> Option<i64> {
        self.0.get(key)
    }

    pub fn put(&self, key: [u8; 32], total: i64) {
        self.0.insert(key, total);
    }
}

/// A count that can be kept.
pub(super) struct Counted {
    versions: Vec<&'static str>,
    /// Of the SQL and its values.
    hash: Sha256,
}

pub(super) type Versions = generations::BoxedQuery<'static, Any, (Text, Uid)>;

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
        let of_tenant = generations::table.filter(generations::tenant_id.eq(tenant)).into_boxed();
        let wanted = match &self.versions[..] {
            [one] => of_tenant.filter(generations::kind.eq(*one)),
            several => of_tenant.filter(generations::kind.eq_any(several.to_vec())),
        };
        wanted.order(generations::kind).select((generations::kind, generations::generation))
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
