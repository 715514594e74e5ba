//! Cache versions keep cached lists from ever being out of date. Each change to a record of a cached kind gives the
//! tenant's lists of that kind another version, in its own transaction, and the version is part of the name under
//! which a list is kept. A server that reads it with a list, in one snapshot, keeps the list under the right name; a server
//! that reads it and finds such a name has a list that was true at that moment.
//!
//! A version is an id and no counter: one that was lost with its transaction, or came back with a backup, is never given
//! to other rows.
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

/// The lists of one kind of records.
#[derive(Debug, Clone, Copy)]
pub struct CacheScope(&'static str);

impl CacheScope {
    /// Those of the records with such ids. In a constant it does not compile where `record!` does not say `lists: cached`.
    pub const fn of<Id: Subject>() -> Self {
        assert!(Id::IS_CACHED, "changes would not be noticed: its record is to say `lists: cached`");
        Self(Id::KIND)
    }

    /// Those of the records with such ids, if they are cached.
    pub(super) fn if_cached<Id: Subject>() -> Option<Self> {
        Id::IS_CACHED.then_some(Self(Id::KIND))
    }

    pub fn kind(self) -> &'static str {
        self.0
    }
}

impl ReadTx {
    /// The version that the tenant's lists are of in this snapshot.
    pub async fn cache_version(&mut self, scope: CacheScope) -> Result<CacheVersion> {
        let of_tenant = generations::table.filter(generations::tenant_id.eq(self.tenant()));
        let row = of_tenant.filter(generations::kind.eq(scope.kind())).select(generations::generation);
        let version = row.first(self).await.optional()?;
        Ok(version.unwrap_or(CacheVersion(Uuid::nil()))) // nothing was ever written
    }
}

impl WriteTx {
    /// Puts an end to the tenant's lists of a kind, if this transaction is committed. [`WriteTx::changed`] sees to it. Other
    /// writers of the kind in this tenant wait for the row until then, as any two that change one row do; readers never wait. It
    /// is therefore written at the end of the transaction.
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

/// The insert, or where the row is there, an update of its version.
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
