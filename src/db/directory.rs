//! What is looked up before a tenant is known: who signs in under a name, and which tenant has a slug. Nothing else is
//! in reach here: on PostgreSQL no tenant is set, and row-level security hides all the rest.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::types::{TenantId, UserId};
use super::{Db, ReadTx, Scope};
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

impl Db {
    /// Whose name this is; `name` is normalised.
    pub async fn find_login(&self, name: &str) -> Result<Option<(TenantId, UserId)>> {
        let row = logins::table.filter(logins::name.eq(name.to_owned())).select((logins::tenant_id, logins::user_id));
        self.read(&NoTenant, async |tx: &mut ReadTx| Ok(row.first(tx.conn()).await.optional()?)).await
    }

    /// The tenant with this slug, and whether anybody may join it.
    pub async fn find_tenant(&self, slug: &str) -> Result<Option<(TenantId, bool)>> {
        let row = tenants::table.filter(tenants::slug.eq(slug.to_owned()));
        let row = row.select((tenants::id, tenants::open_registration));
        self.read(&NoTenant, async |tx: &mut ReadTx| Ok(row.first(tx.conn()).await.optional()?)).await
    }
}
