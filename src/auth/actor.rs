//! The user in whose name a lease is taken.
use crate::base::formats::subscriber;
use crate::base::queue::{Claimant, Party};
use crate::db::types::{TenantId, UserId};
use crate::db::{Origin, Scope, WriteScope};
use uuid::Uuid;

/// A user at work in their tenant, who answers for a change. [`Caller`] holds one that has proven it; sign-in and the
/// operator's commands make one for the user whom they are about.
#[derive(Debug, Clone)]
pub struct Actor {
    tenant: TenantId,
    user: UserId,
    origin: Origin,
    /// The party that its leases take turns with.
    party: Party,
}

impl Actor {
    /// Only for code that has checked a password or a refresh token, and for the operator's console.
    pub fn authenticated(tenant: TenantId, user: UserId, origin: Origin) -> Self {
        Self { tenant, user, origin, party: Party::Tenant(tenant.0) }
    }

    /// For a visitor who names a tenant or a user, and has proven nothing yet: their leases take the turns of their address,
    /// or one who names many tenants would get the turns of all.
    pub fn unproven(tenant: TenantId, user: UserId, origin: Origin) -> Self {
        let party = Party::Address(origin.ip.map(subscriber));
        Self { tenant, user, origin, party }
    }
}

impl Actor {
    /// The operator at the console, who is nobody's user.
    pub fn operator(tenant: TenantId) -> Self {
        Self::authenticated(tenant, Uuid::nil().into(), Origin::default())
    }
}

impl Scope for Actor {
    fn tenant(&self) -> TenantId {
        self.tenant
    }
    fn claimant(&self) -> Claimant {
        Claimant { party: self.party, user: self.user.0 }
    }
}
impl WriteScope for Actor {
    fn actor(&self) -> UserId {
        self.user
    }
    fn origin(&self) -> &Origin {
        &self.origin
    }
}
