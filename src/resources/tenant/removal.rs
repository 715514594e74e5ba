//! The jobs that follow the deletion of a tenant.
use crate::auth::sessions::Sessions;
use crate::base::error::Result;
use crate::db::Db;
use crate::db::failures::Failures;
use crate::db::jobs::{Job, JobContext};
use crate::db::stored_objects::Leftover;
use crate::db::types::TenantId;
use crate::services::storage::{ObjectName, Storage};
use chrono::Duration;
use serde::{Deserialize, Serialize};

/// What the removal of a tenant needs.
pub type Needs = (Db, Sessions, Storage);

/// Removes the rest of a deleted tenant: first its sessions in Redis, then the content of its files, then its rows.
#[derive(Serialize, Deserialize)]
pub struct RemoveTenant {}

impl Job for RemoveTenant {
    const KIND: &'static str = "remove_tenant";
    type Needs = Needs;

    async fn run(self, context: JobContext, needs: Needs) -> Result<()> {
        remove(context.tenant()?, &needs).await
    }
}

/// Removes what is still there of deleted tenants. A job that is done once is given up when the storage or Redis is away
/// for hours.
#[derive(Default, Serialize, Deserialize)]
pub struct RemoveTenants {}

impl Job for RemoveTenants {
    const KIND: &'static str = "remove_tenants";
    type Needs = Needs;

    async fn run(self, _: JobContext, needs: Needs) -> Result<()> {
        let mut failures = Failures::of("Removing a deleted tenant");
        for tenant in needs.0.deleted_tenants().await? {
            failures.note(tenant, remove(tenant, &needs).await);
        }
        failures.end()
    }
}

async fn remove(tenant: TenantId, (db, sessions, storage): &Needs) -> Result<()> {
    if !db.is_deleted_since(tenant, Duration::zero()).await? {
        return Ok(());
    }
    sessions.revoke_tenant(tenant).await?;
    for Leftover { id, multipart_id } in db.multiparts(tenant).await? {
        storage.remove(ObjectName { tenant, file: id }, multipart_id.as_deref()).await?;
    }
    storage.remove_all(tenant).await?;
    db.remove_rows_of(tenant).await?;
    // Clients may still have addresses of the storage, which are good for an hour. What they send is removed the next time.
    match storage.has_links() && !db.is_deleted_since(tenant, Duration::hours(2)).await? {
        true => Ok(()),
        false => db.remove_tenant(tenant).await,
    }
}
