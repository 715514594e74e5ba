//! Removes objects that belong to no file: those of deleted files, and what uploads of servers that died have left.
use crate::base::error::Result;
use crate::db::Db;
use crate::db::failures::Failures;
use crate::db::jobs::{Job, JobContext};
use crate::db::stored_objects::Leftover;
use crate::db::types::TenantId;
use crate::services::storage::{ObjectName, Storage};
use serde::{Deserialize, Serialize};

/// Removes the objects of all tenants that belong to no file. What can't be removed is tried again the next time.
#[derive(Default, Serialize, Deserialize)]
pub struct RemoveLeftovers {}

impl Job for RemoveLeftovers {
    const KIND: &'static str = "remove_leftovers";
    type Needs = (Db, Storage);

    async fn run(self, _: JobContext, (db, storage): (Db, Storage)) -> Result<()> {
        let mut failures = Failures::of("Removing what belongs to no file");
        for tenant in db.tenants().await? {
            failures.note(tenant, remove_of(&db, &storage, tenant).await);
        }
        failures.end()
    }
}

async fn remove_of(db: &Db, storage: &Storage, tenant: TenantId) -> Result<()> {
    loop {
        let leftovers = db.leftovers(tenant).await?;
        if leftovers.is_empty() {
            return Ok(());
        }
        let mut gone = vec![];
        for Leftover { id, multipart_id } in leftovers {
            let removed = storage.remove(ObjectName { tenant, file: id }, multipart_id.as_deref()).await;
            if let Err(error) = removed {
                db.delete_leftovers(tenant, gone).await?;
                return Err(error);
            }
            gone.push(id);
        }
        db.delete_leftovers(tenant, gone).await?;
    }
}
