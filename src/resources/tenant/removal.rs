//! The job that follows the deletion of a tenant.
use crate::auth::sessions::Sessions;
use crate::base::error::Result;
use crate::db::Db;
use crate::db::jobs::{Job, JobContext};
use crate::services::storage::Storage;
use serde::{Deserialize, Serialize};

/// Removes the rest of a deleted tenant: first its sessions in Redis, then its rows, then the content of its files.
#[derive(Serialize, Deserialize)]
pub struct RemoveTenant {}

impl Job for RemoveTenant {
    const KIND: &'static str = "remove_tenant";
    type Needs = (Db, Sessions, Storage);

    async fn run(self, context: JobContext, (db, sessions, storage): (Db, Sessions, Storage)) -> Result<()> {
        let tenant = context.tenant()?;
        sessions.revoke_tenant(tenant).await?;
        db.remove_tenant(tenant).await?;
        storage.remove_all(tenant).await
    }
}
