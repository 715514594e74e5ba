//! The caller's own tenant over HTTP.
use super::Tag;
use super::types::{Confirmation, Tenant, TenantInput};
use super::{OpenRegistration, Own, Read, queries};
use crate::api::{Also, Caller, Deleted, Found, IfMatch, IfNoneMatch, Json, Patch, Query, Saved, Verification};
use crate::auth::sessions::Sessions;
use crate::base::error::{Error, Result};
use crate::db::{Db, Scope, WriteTx};
use poem_openapi::OpenApi;

pub struct TenantApi {
    pub db: Db,
    pub sessions: Sessions,
    pub verification: Verification,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tenant")]
impl TenantApi {
    /// Get the caller's tenant
    #[oai(path = "/tenant", method = "get", operation_id = "tenant_get")]
    async fn get(&self, caller: Caller<Read>, if_none_match: IfNoneMatch) -> Result<Found<Tenant>> {
        Ok(Found(self.db.find(&caller, async |tx| queries::find(tx).await).await?, if_none_match))
    }

    /// Change the caller's tenant
    #[oai(path = "/tenant", method = "patch", operation_id = "tenant_change")]
    async fn change(
        &self,
        caller: Caller<Own>,
        if_match: IfMatch,
        Json(patch): Json<Patch<TenantInput>>,
    ) -> Result<Saved<Tenant>> {
        let change = async |tx: &mut WriteTx| {
            let tenant = caller.authorize(queries::find_to_change(tx).await?, &if_match)?;
            let input = patch.apply(&tenant.input)?;
            let opened_by = match input.opens(&tenant.input) {
                true => {
                    caller.require::<OpenRegistration>()?; // users who register outlive the caller's API key
                    Some(self.verification.check(tx, &caller).await?)
                }
                false => None,
            };
            queries::update(tx, tenant, input, opened_by).await
        };
        let changed = self.db.write(&caller, change).await;
        Ok(Saved(self.verification.remind(&caller, changed).await?))
    }

    /// Delete the caller's tenant
    #[oai(path = "/tenant", method = "delete", operation_id = "tenant_delete")]
    async fn delete(
        &self,
        caller: Caller<Own>,
        Query(confirmation): Query<Confirmation>,
    ) -> Result<Deleted, Also<409>> {
        let delete = async |tx: &mut WriteTx| {
            let tenant = queries::find(tx).await?;
            if tenant.slug != confirmation.confirm {
                return Err(Error::unprocessable("confirm", "is not the tenant's slug"));
            }
            queries::delete(tx).await
        };
        self.sessions.fenced(caller.tenant(), self.db.write(&caller, delete)).await?;
        Ok(Deleted)
    }
}
