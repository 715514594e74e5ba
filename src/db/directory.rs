//! What is looked up before a tenant is known: who signs in under a name, and which tenant has a slug. Nothing else is
//! in reach here: on PostgreSQL no tenant is set, and row-level security hides all the rest.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::queue::{Claimant, Party};
use super::types::{TenantId, UserId};
use super::{Db, Origin, ReadTx, Scope, WriteScope};
use crate::error::Result;
use crate::infra::formats::subscriber;
use crate::schema::{logins, tenants};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

/// The scope of those tables that belong to no tenant.
pub(super) struct NoTenant {
    party: Party,
}

impl NoTenant {
    /// For a visitor.
    pub fn asked_by(origin: &Origin) -> Self {
        Self { party: Party::Address(origin.ip.map(subscriber)) }
    }
    /// For the server's own probes, which take their turns among those of the requests.
    pub fn probe() -> Self {
        Self { party: Party::Address(None) }
    }
}

impl Scope for NoTenant {
    fn tenant(&self) -> TenantId {
        Uuid::nil().into()
    }
    fn claimant(&self) -> Claimant {
        Claimant { party: self.party, user: Uuid::nil().into() }
    }
}

/// The server itself at work: on those tables, or on its housekeeping in a tenant.
pub(super) struct Server {
    tenant: Uuid,
    origin: Origin,
    party: Party,
}

impl Default for Server {
    fn default() -> Self {
        Self::of(Uuid::nil().into())
    }
}

impl Server {
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant: tenant.0, origin: Origin::default(), party: Party::Server }
    }

    /// For a visitor: what they have the server do takes their turn.
    pub fn asked_by(origin: &Origin) -> Self {
        Self { party: NoTenant::asked_by(origin).party, ..Self::default() }
    }
}

impl Scope for Server {
    fn tenant(&self) -> TenantId {
        self.tenant.into()
    }
    fn claimant(&self) -> Claimant {
        Claimant { party: self.party, user: Uuid::nil().into() }
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
    pub async fn find_login(&self, name: &str, origin: &Origin) -> Result<Option<(TenantId, UserId)>> {
        let row = logins::table.filter(logins::name.eq(name.to_owned())).select((logins::tenant_id, logins::user_id));
        self.read(&NoTenant::asked_by(origin), async |tx: &mut ReadTx| Ok(row.first(tx.conn()).await.optional()?)).await
    }

    /// The tenant with this slug, and whether anybody may join it.
    pub async fn find_tenant(&self, slug: &str, origin: &Origin) -> Result<Option<(TenantId, bool)>> {
        let row = tenants::table.filter(tenants::slug.eq(slug.to_owned()));
        let is_open =
            tenants::open_registration.and(tenants::is_suspended.eq(false)).and(tenants::deleted_at.is_null());
        let row = row.select((tenants::id, is_open));
        self.read(&NoTenant::asked_by(origin), async |tx: &mut ReadTx| Ok(row.first(tx.conn()).await.optional()?)).await
    }
}
