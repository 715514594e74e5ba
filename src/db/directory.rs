//! What is looked up before a tenant is known: who signs in under a name, and which tenant has a slug. Nothing else is
//! in reach here: on PostgreSQL no tenant is set, and row-level security hides all the rest.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::types::{TenantId, UserId};
use super::{Db, Origin, ReadTx, Scope, WriteScope};
use crate::error::Result;
use crate::schema::{logins, tenants};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

/// The scope of those tables that belong to no tenant.
pub(super) struct NoTenant;

impl Scope for NoTenant {
    fn tenant(&self) -> TenantId {
        Uuid::nil().into()
    }
}

/// The server itself at work: on those tables, or on its housekeeping in a tenant.
#[derive(Default)]
pub(super) struct Server {
    tenant: Uuid,
    origin: Origin,
}

impl Server {
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant: tenant.0, origin: Origin::default() }
    }
}

impl Scope for Server {
    fn tenant(&self) -> TenantId {
        self.tenant.into()
    }
}
impl WriteScope for Server {
    fn actor(&self) -> UserId {
        Uuid::nil().into()
    }
    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl Db {
    /// Whose name this is; `name` is normalised.
    pub async fn find_login(&self, name: &str) -> Result<Option<(TenantId, UserId)>> {
        let row = logins::table.filter(logins::name.eq(name.to_owned())).select((logins::tenant_id, logins::user_id));
        self.read(&NoTenant, async |tx: &mut ReadTx| Ok(row.first(tx.conn()).await.optional()?)).await
    }

    /// The tenant with this slug, and whether anybody may join it.
    pub async fn find_tenant(&self, slug: &str) -> Result<Option<(TenantId, bool)>> {
        let row = tenants::table.filter(tenants::slug.eq(slug.to_owned()));
        let is_open =
            tenants::open_registration.and(tenants::is_suspended.eq(false)).and(tenants::deleted_at.is_null());
        let row = row.select((tenants::id, is_open));
        self.read(&NoTenant, async |tx: &mut ReadTx| Ok(row.first(tx.conn()).await.optional()?)).await
    }
}
