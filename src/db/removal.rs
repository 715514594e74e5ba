//! Rows that have had their time: those of a deleted tenant, expired keys and tokens, sessions that are over.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::failures::Failures;
use super::jobs::{Job, JobContext};
use super::scope::System;
use super::types::{Instant, TenantId, UserId};
use super::{Audited, Db, Execute, RunQueryDsl, WriteTx};
use crate::base::error::Result;
use crate::db::schema::{
    api_keys, audit_heads, audit_logs, cache_generations, calendar_feeds, contract_history, contracts, data_key_heads,
    data_keys, ended_sessions, idempotency_keys, invitations, items, logins, meeting_action_items, meeting_attendees,
    meetings, one_time_tokens, sessions, task_comments, tasks, tenants, users,
};
use chrono::Duration;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

/// How many rows are removed in one transaction, so that none holds its locks for long.
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

/// Removes a tenant's rows of a table with ids, batch by batch: neither `DELETE … LIMIT` nor a limit within `IN` is known
/// to all three databases.
macro_rules! remove_by_id {
    ($db:expr, $tenant:expr, $($table:ident),+ $(,)?) => {$(
        while $db.removing($tenant, async |tx: &mut WriteTx| {
            let own = $table::table.filter($table::tenant_id.eq(tx.tenant()));
            let ids = own.order($table::id.asc()).limit(BATCH).select($table::id);
            let ids: Vec<super::types::AnyId> = ids.load(tx).await?;
            let Some(last) = ids.last() else { return Ok(Audited::without_row(0)) };
            let batch = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::id.le(last.clone()));
            Ok(Audited::without_row(diesel::delete(batch).execute(tx).await?)) // the deletion has its row
        }).await? > 0 {}
    )+};
}

/// Removes a tenant's rows of a table, or those among them that a condition finds.
macro_rules! remove {
    ($db:expr, $tenant:expr, $table:ident $(, $condition:expr)?) => {
        $db.removing($tenant, async |tx: &mut WriteTx| {
            let rows = $table::table.filter($table::tenant_id.eq(tx.tenant()))$(.filter($condition))?;
            Ok(Audited::without_row(diesel::delete(rows).execute(tx).await?)) // nobody would look for it
        }).await?
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

    /// Removes what a deleted tenant left; those that refer to others first. A tenant that was not deleted stays.
    pub async fn remove_tenant(&self, tenant: TenantId) -> Result<()> {
        let is_deleted = async |tx: &mut super::ReadTx| {
            let row = tenants::table.filter(tenants::id.eq(tx.tenant())).filter(tenants::deleted_at.is_not_null());
            Ok(row.count().get_result::<i64>(tx).await? > 0)
        };
        if !self.read(&System::of(tenant), is_deleted).await? {
            return Ok(());
        }
        // First the key, without which what is encrypted is lost.
        remove!(self, tenant, data_keys);
        remove!(self, tenant, data_key_heads);
        remove_by_id!(self, tenant, contract_history, contracts);
        remove_by_id!(self, tenant, task_comments); // and with them whom they mention
        remove_by_id!(self, tenant, meeting_action_items, meeting_attendees, meetings, calendar_feeds);
        remove_by_id!(self, tenant, tasks, items, audit_logs, one_time_tokens, api_keys, invitations, sessions);
        remove!(self, tenant, cache_generations);
        remove_by_id!(self, tenant, ended_sessions);
        remove!(self, tenant, idempotency_keys);
        remove!(self, tenant, audit_heads);
        remove!(self, tenant, logins);
        remove_by_id!(self, tenant, users);
        self.removing(tenant, async |tx: &mut WriteTx| {
            let row = tenants::table.filter(tenants::id.eq(tx.tenant())).filter(tenants::deleted_at.is_not_null());
            Ok(Audited::without_row(diesel::delete(row).execute(tx).await?)) // the deletion has its row
        })
        .await?;
        tracing::info!(tenant.id = %tenant, "The rows of a deleted tenant are gone");
        Ok(())
    }

    /// The next users of a tenant that was deleted, in the order of their ids; of another one none.
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

    /// All tenants that there are.
    pub async fn tenants(&self) -> Result<Vec<TenantId>> {
        let ids = async |tx: &mut super::ReadTx| Ok(tenants::table.select(tenants::id).load(tx).await?);
        self.read(&System::without_tenant(), ids).await
    }
}
