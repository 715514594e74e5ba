//! Lets contracts expire on the day after their end date, in the tenant's time zone.
use super::queries;
use super::types::ContractId;
use crate::base::error::{Error, Result};
use crate::db::failures::Failures;
use crate::db::jobs::{Job, JobContext};
use crate::db::types::TenantId;
use crate::db::{Db, System};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Lets contracts of all tenants expire. The job runs every hour, because days begin at different hours in different
/// time zones.
#[derive(Default, Serialize, Deserialize)]
pub struct ExpireContracts {}

impl Job for ExpireContracts {
    const KIND: &'static str = "expire_contracts";
    type Needs = Db;

    async fn run(self, _: JobContext, db: Db) -> Result<()> {
        let mut failures = Failures::of("Letting contracts expire");
        for tenant in db.tenants().await? {
            failures.note(tenant, expire_of(&db, tenant).await);
        }
        failures.end()
    }
}

/// Changes each contract in a transaction of its own, so that no lock is held for long, and an error doesn't undo
/// earlier changes.
async fn expire_of(db: &Db, tenant: TenantId) -> Result<()> {
    let server = System::of(tenant);
    let mut last = ContractId::from(Uuid::nil());
    loop {
        let due = match db.read(&server, async |tx| queries::due_to_expire(tx, last).await).await {
            Err(Error::NotFound) => return Ok(()), // the tenant is being removed
            due => due?,
        };
        let Some(id) = due.last() else { return Ok(()) };
        last = *id;
        for id in due {
            match db.write(&server, async |tx| queries::expire(tx, id).await).await {
                Ok(_) => tracing::info!(contract.id = %id, "A contract has expired"),
                Err(Error::NotFound) => {} // another server or a user has changed it meanwhile
                Err(error) => return Err(error),
            }
        }
    }
}
