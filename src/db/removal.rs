//! Removes rows that are no longer needed: those of a deleted tenant, expired idempotency keys, tokens and invitations,
//! and sessions that are over.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::failures::Failures;
use super::jobs::{Job, JobContext};
use super::scope::System;
use super::table_statement::TableStatement;
use super::tables::Table;
use super::types::{AnyId, Instant, TenantId, Uid, UserId};
use super::{Audited, Db, Execute, RunQueryDsl, WriteTx};
use crate::base::error::Result;
use crate::db::schema::{
    TABLES, ended_sessions, idempotency_keys, invitations, one_time_tokens, sessions, tenants, users,
};
use chrono::Duration;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

/// How many rows are removed in one transaction. The number is limited, so that no transaction holds its locks for
/// long.
const BATCH: i64 = 1000;

/// Removes what has expired, in all tenants.
#[derive(Default, Serialize, Deserialize)]
pub struct RemoveExpired {}

impl Job for RemoveExpired {
    const KIND: &'static str = "remove_expired";
    type Needs = Db;

    async fn run(self, _: JobContext, db: Db) -> Result<()> {
        db.remove_expired().await
    }
}

/// The tables from which rows are removed first. Without its data keys, nothing that a tenant encrypted can be read any
/// more.
const FIRST: [&str; 2] = ["data_keys", "data_key_heads"];

/// All tables with rows that are removed with their tenant. Each table comes before those that it refers to.
fn in_order_of_removal() -> Vec<&'static Table> {
    let mut left: Vec<_> = TABLES.iter().filter(|table| table.goes_with_its_tenant()).collect();
    left.sort_by_key(|table| FIRST.iter().position(|first| *first == table.name).unwrap_or(FIRST.len()));
    let mut order = vec![];
    let is_free = |table: &Table, left: &[&Table]| {
        !left.iter().any(|other| other.name != table.name && other.references_to(table.name).next().is_some())
    };
    while let Some(next) = left.iter().position(|table| is_free(table, &left)) {
        order.push(left.remove(next));
    }
    order
}

/// Removes one batch of the tenant's rows from a table, in the order of their ids. The batch ends at an id that is
/// selected first, because not all three databases support `DELETE … LIMIT` or a limit within `IN`. Returns how many
/// rows were removed, and 0 if none is left. A table without an id column has few rows of a tenant: these are removed
/// at once, and the result is 0.
async fn remove_some(tx: &mut WriteTx, table: &'static Table) -> Result<Audited<usize>> {
    let tenant = tx.tenant().0;
    let of_tenant = |statement: TableStatement| {
        statement.sql("DELETE FROM ").name(table.name).sql(" WHERE tenant_id = ").id(tenant)
    };
    let Some(id) = table.id_column() else {
        of_tenant(TableStatement::new()).execute(tx).await?;
        return Ok(Audited::without_row(0)); // the deletion has its audit row
    };
    let next = TableStatement::<Uid>::new().sql("SELECT ").name(id).sql(" FROM ").name(table.name);
    let next = next.sql(" WHERE tenant_id = ").id(tenant).sql(" ORDER BY ").name(id).sql(format!(" LIMIT {BATCH}"));
    let next: Vec<AnyId> = next.load(tx).await?;
    let Some(AnyId(last)) = next.last() else { return Ok(Audited::without_row(0)) };
    let batch = of_tenant(TableStatement::new()).sql(" AND ").name(id).sql(" <= ").id(*last);
    Ok(Audited::without_row(batch.execute(tx).await?)) // the deletion has its audit row
}

/// Removes the tenant's rows of a table for which a condition holds.
macro_rules! remove {
    ($db:expr, $tenant:expr, $table:ident, $condition:expr) => {
        $db.removing($tenant, async |tx: &mut WriteTx| {
            let rows = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($condition);
            Ok(Audited::without_row(diesel::delete(rows).execute(tx).await?)) // expired rows need no audit row
        })
        .await?
    };
}

impl Db {
    async fn removing<F>(&self, tenant: TenantId, work: F) -> Result<usize>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut WriteTx) -> Result<Audited<usize>>
            + super::lease::SendAsyncFn<&'tx mut WriteTx, Result<Audited<usize>>, Fut: Send>,
    {
        self.write(&System::of(tenant), work).await
    }

    /// Whether a tenant was deleted so long ago or earlier, and is not removed yet.
    pub async fn is_deleted_since(&self, tenant: TenantId, age: Duration) -> Result<bool> {
        let then = Instant::from(self.env().now() - age);
        let is_deleted = async |tx: &mut super::ReadTx| {
            let row = tenants::table.filter(tenants::id.eq(tx.tenant())).filter(tenants::deleted_at.le(then));
            Ok(row.count().get_result::<i64>(tx).await? > 0)
        };
        self.read(&System::of(tenant), is_deleted).await
    }

    /// Removes the rows that belong to a deleted tenant. Does nothing if the tenant is not deleted.
    pub async fn remove_rows_of(&self, tenant: TenantId) -> Result<()> {
        if !self.is_deleted_since(tenant, Duration::zero()).await? {
            return Ok(());
        }
        for table in in_order_of_removal() {
            while self.removing(tenant, async |tx: &mut WriteTx| remove_some(tx, table).await).await? > 0 {}
        }
        Ok(())
    }

    /// As [`Self::remove_rows_of`], and then removes the tenant itself.
    pub async fn remove_tenant(&self, tenant: TenantId) -> Result<()> {
        self.remove_rows_of(tenant).await?;
        self.removing(tenant, async |tx: &mut WriteTx| {
            let row = tenants::table.filter(tenants::id.eq(tx.tenant())).filter(tenants::deleted_at.is_not_null());
            Ok(Audited::without_row(diesel::delete(row).execute(tx).await?)) // the deletion has its audit row
        })
        .await?;
        tracing::info!(tenant.id = %tenant, "The rows of a deleted tenant are gone");
        Ok(())
    }

    /// The next batch of users of a deleted tenant, in the order of their ids. It is empty if the tenant is not
    /// deleted.
    pub async fn users_of_deleted(&self, tenant: TenantId, after: UserId) -> Result<Vec<UserId>> {
        let next = async |tx: &mut super::ReadTx| {
            let of_deleted = users::table
                .inner_join(tenants::table.on(tenants::id.eq(users::tenant_id)))
                .filter(users::tenant_id.eq(tx.tenant()).and(tenants::deleted_at.is_not_null()));
            let next = of_deleted.filter(users::id.gt(after)).order(users::id.asc()).limit(BATCH);
            Ok(next.select(users::id).load(tx).await?)
        };
        self.read(&System::of(tenant), next).await
    }

    /// Removes idempotency keys, tokens, invitations and sessions that are over, in every tenant.
    pub async fn remove_expired(&self) -> Result<()> {
        let now = self.env().now();
        let (now, yesterday) = (Instant::from(now), Instant::from(now - Duration::hours(24)));
        let mut failures = Failures::of("Removing what has expired");
        for tenant in self.tenants().await? {
            let remove = async {
                remove!(self, tenant, idempotency_keys, idempotency_keys::created_at.lt(yesterday));
                remove!(self, tenant, one_time_tokens, one_time_tokens::expires_at.lt(now));
                remove!(self, tenant, invitations, invitations::expires_at.lt(now));
                remove!(self, tenant, sessions, sessions::expires_at.lt(now));
                remove!(self, tenant, ended_sessions, ended_sessions::expires_at.lt(now));
                Ok(())
            };
            failures.note(tenant, remove.await);
        }
        failures.end()
    }

    /// The ids of tenants that were deleted an hour ago or earlier, and are not removed yet.
    pub async fn deleted_tenants(&self) -> Result<Vec<TenantId>> {
        let earlier = Instant::from(self.env().now() - Duration::hours(1));
        let ids = async |tx: &mut super::ReadTx| {
            let deleted = tenants::table.filter(tenants::deleted_at.lt(earlier));
            Ok(deleted.select(tenants::id).load(tx).await?)
        };
        self.read(&System::without_tenant(), ids).await
    }

    /// The ids of all tenants, including deleted ones.
    pub async fn tenants(&self) -> Result<Vec<TenantId>> {
        let ids = async |tx: &mut super::ReadTx| Ok(tenants::table.select(tenants::id).load(tx).await?);
        self.read(&System::without_tenant(), ids).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_a_tenants_is_removed_and_what_refers_to_others_before_them() {
        let order: Vec<_> = in_order_of_removal().into_iter().map(|table| table.name).collect();
        let place = |name: &str| order.iter().position(|table| *table == name);
        assert_eq!(order[..2], FIRST);
        let stays = |name: &str| ["jobs", "key_checks", "tenants"].contains(&name); // the tenant itself is removed last
        for table in TABLES {
            assert_eq!(place(table.name).is_none(), stays(table.name), "{}: is it in a circle?", table.name);
            for other in TABLES.iter().filter(|other| !stays(table.name) && other.name != table.name) {
                let refers = table.references_to(other.name).next().is_some();
                assert!(!refers || stays(other.name) || place(table.name) < place(other.name), "{}", table.name);
            }
        }
        // If the head were removed first, an audit row that is sealed meanwhile would begin a new chain.
        assert!(place("audit_logs") < place("audit_heads"));
    }

    #[test]
    fn all_tables_that_can_have_many_rows_are_removed_in_batches() {
        let at_once: Vec<_> = in_order_of_removal().into_iter().filter(|table| table.id_column().is_none()).collect();
        let names: Vec<_> = at_once.into_iter().map(|table| table.name).collect();
        assert_eq!(names, ["data_keys", "data_key_heads", "logins", "audit_heads", "cache_versions", "stored_bytes"]);
        let id = |table: &str| crate::db::schema::table(table).and_then(Table::id_column);
        assert_eq!(
            [id("tasks"), id("task_comment_mentions"), id("idempotency_keys")],
            [Some("id"), Some("comment_id"), Some("user_id")]
        );
    }
}
