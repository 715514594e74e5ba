//! Cache versions make sure that a cached list is never out of date. Each change to a record of a cached kind gives the
//! tenant's lists of that kind a new version, in the change's own transaction. The version is part of the cache key of
//! a list.
//!
//! To store a list, a server reads the version and the list in one snapshot, so that the list gets the right key. To
//! read a list, a server reads the version and looks for its key: a list that it finds was correct at that moment.
//!
//! A version is a unique id and not a counter. If a version is lost by a rollback, or comes back with a restored
//! backup, it is never used for other rows.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::audit::Subject;
use super::change::Statement;
use super::types::CacheVersion;
use super::{Any, ReadTx, RunQueryDsl, WriteTx};
use crate::base::error::Result;
use crate::db::schema::cache_generations as generations;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use uuid::Uuid;

/// The cached lists of one kind of records.
#[derive(Debug, Clone, Copy)]
pub struct CacheScope(&'static str);

impl CacheScope {
    /// The lists of records with ids of this type. In a constant, this does not compile if the record's `record!` does
    /// not say `lists: cached`.
    pub const fn of<Id: Subject>() -> Self {
        assert!(Id::IS_CACHED, "changes would not be noticed: its record is to say `lists: cached`");
        Self(Id::KIND)
    }

    /// As [`Self::of`], but `None` if lists of this kind are not cached.
    pub(super) fn if_cached<Id: Subject>() -> Option<Self> {
        Id::IS_CACHED.then_some(Self(Id::KIND))
    }

    pub fn kind(self) -> &'static str {
        self.0
    }
}

impl ReadTx {
    /// The version of the tenant's lists in this snapshot.
    pub async fn cache_version(&mut self, scope: CacheScope) -> Result<CacheVersion> {
        let of_tenant = generations::table.filter(generations::tenant_id.eq(self.tenant()));
        let row = of_tenant.filter(generations::kind.eq(scope.kind())).select(generations::generation);
        let version = row.first(self).await.optional()?;
        Ok(version.unwrap_or(CacheVersion(Uuid::nil()))) // no record of this kind was ever changed
    }
}

impl WriteTx {
    /// Invalidates the tenant's cached lists of a kind, if this transaction is committed. [`WriteTx::changed`] calls
    /// it. Other transactions of the tenant that write this kind wait for the row of the version until this one ends.
    /// Readers never wait. To keep that wait short, the row is written at the end of the transaction.
    pub(super) fn invalidate(&mut self, scope: CacheScope) {
        if !self.is_first_change(scope.kind()) {
            return;
        }
        let row = (
            generations::tenant_id.eq(self.tenant()),
            generations::kind.eq(scope.kind()),
            generations::generation.eq(self.new_id::<CacheVersion>()),
        );
        let insert = diesel::insert_into(generations::table).values(row);
        self.at_end(Statement::of(Replacing(insert)));
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
