//! Removes objects that belong to no file: those of deleted files, and what uploads have left that broke off.
use crate::base::error::Result;
use crate::db::Db;
use crate::db::failures::Failures;
use crate::db::jobs::{Job, JobContext};
use crate::db::stored_objects::Leftover;
use crate::db::types::{FileId, TenantId};
use crate::services::storage::{ObjectName, Storage};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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

/// Removes the objects of a tenant, some at a time. One that can't be removed does not keep the others from being removed.
async fn remove_of(db: &Db, storage: &Storage, tenant: TenantId) -> Result<()> {
    let (mut after, mut result) = (FileId::from(Uuid::nil()), Ok(()));
    loop {
        let leftovers = db.leftovers(tenant, after).await?;
        let Some(last) = leftovers.last() else { return result };
        after = last.id;
        let mut gone = vec![];
        for Leftover { id, multipart_id } in leftovers {
            match storage.remove(ObjectName { tenant, file: id }, multipart_id.as_deref()).await {
                Ok(()) => gone.push(id),
                failed => result = failed,
            }
        }
        if gone.is_empty() {
            return result; // the storage is away
        }
        db.delete_leftovers(tenant, gone).await?;
    }
}
