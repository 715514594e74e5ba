//! The HTTP endpoints with which an operator lists, creates and changes the tenants of the server.
use super::Tag;
use super::types::{NewTenantAccount, TenantAccount, TenantAccountFilter, TenantAccountInput, TenantStandingInput};
use super::{Read, Write, queries};
use crate::api::list::List;
use crate::api::{
    Also, Caller, Created, Found, IdempotencyKey, IfMatch, IfNoneMatch, Json, Listed, Patch, Query, Saved,
    VerifiedCaller,
};
use crate::auth::mails::EmailTemplates;
use crate::auth::sessions::Sessions;
use crate::base::error::{Detail, Error, Result};
use crate::db::types::TenantId;
use crate::db::{Db, Scope, WriteTx};
use chrono::Duration;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct AdminApi {
    pub db: Db,
    pub sessions: Sessions,
    pub templates: EmailTemplates,
    /// How long the invitation of a tenant's first owner is valid.
    pub invitation_lifetime: Duration,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Admin")]
impl AdminApi {
    /// List tenants
    #[oai(path = "/admin/tenants", method = "get", operation_id = "admin_tenant_list")]
    async fn list(
        &self,
        caller: Caller<Read>,
        Query(list): Query<List<TenantAccountFilter>>,
    ) -> Result<Listed<TenantAccount>> {
        Ok(Listed(list.read(&self.db, &caller, async |tx| queries::list(tx, &list).await).await?))
    }

    /// Create a tenant
    #[oai(path = "/admin/tenants", method = "post", operation_id = "admin_tenant_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<TenantAccountInput>,
    ) -> Result<Created<NewTenantAccount>, Also<409>> {
        let key = idempotency_key.of(&input)?;
        let (home, tenant) = (caller.tenant(), TenantId::from(self.db.env().uuid()));
        let (templates, lifetime) = (self.templates.clone(), self.invitation_lifetime);
        let create = async |tx: &mut WriteTx| {
            tx.enter(&caller, tenant).await?;
            let operator = VerifiedCaller::operator(&caller);
            let made = queries::insert(tx, input, operator, &templates, lifetime).await?;
            tx.enter(&caller, home).await?; // the idempotency key belongs to the operator's own tenant
            Ok(made)
        };
        Ok(Created(self.db.write_once(&caller, key, create).await.map_err(taken)?))
    }

    /// Get a tenant
    #[oai(path = "/admin/tenants/:tenant_id", method = "get", operation_id = "admin_tenant_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(tenant_id): Path<TenantId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<TenantAccount>> {
        let tenant = self.db.read(&caller, async |tx| queries::find(tx, tenant_id).await).await?;
        Ok(Found(tenant, if_none_match))
    }

    /// Change a tenant
    #[oai(path = "/admin/tenants/:tenant_id", method = "patch", operation_id = "admin_tenant_change")]
    async fn change(
        &self,
        caller: Caller<Write>,
        Path(tenant_id): Path<TenantId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<TenantStandingInput>>,
    ) -> Result<Saved<TenantAccount>, Also<409>> {
        let change = async |tx: &mut WriteTx| {
            tx.enter(&caller, tenant_id).await?;
            let tenant = caller.authorize(queries::find_to_change(tx).await?, &if_match)?;
            let input = patch.apply(&tenant.input)?;
            if input.is_suspended && tenant_id == caller.tenant() {
                let message = "can't be set for your own tenant, because you would lose access";
                return Err(Error::Conflict(Detail::of("is_suspended", message)));
            }
            queries::update(tx, tenant, input).await
        };
        Ok(Saved(self.sessions.fenced(tenant_id, self.db.write(&caller, change)).await?))
    }
}

/// Moves the conflict of a taken slug to the member `slug`. The query that inserts the tenant reports it on
/// `tenant_id`, which is the name of the slug in registration.
fn taken(error: Error) -> Error {
    match error {
        Error::Conflict(detail) if detail.0.contains_key("tenant_id") => {
            Error::Conflict(Detail::of("slug", "is taken"))
        }
        error => error,
    }
}
