//! The users and visitors for whom leases are taken, and the proof that a credential of a user was checked.
use crate::base::env::Env;
use crate::base::queue::{Claimant, Party};
use crate::db::types::{TenantId, UserId};
use crate::db::{Origin, Scope, WriteScope};

/// Proof that a credential of this user was checked: the hash of a password, the MAC of a refresh token, the hash of an API key, of
/// a one-time token or of a feed's secret, the signature of an access token. Only the functions of `auth` that check one make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    tenant: TenantId,
    user: UserId,
}

impl Proven {
    pub(in crate::auth) fn new(tenant: TenantId, user: UserId) -> Self {
        Self { tenant, user }
    }

    pub fn tenant(self) -> TenantId {
        self.tenant
    }

    pub fn user(self) -> UserId {
        self.user
    }
}

/// A user at work in their tenant, who answers for a change. What the server and its operator do is not an actor's:
/// see [`crate::db::System`].
#[derive(Debug, Clone)]
pub struct Actor {
    tenant: TenantId,
    user: UserId,
    origin: Origin,
    /// The user or visitor whose turns its leases take.
    claimant: Claimant,
}

impl Actor {
    /// The user whose credential was checked.
    pub fn authenticated(proof: Proven, origin: Origin) -> Self {
        let Proven { tenant, user } = proof;
        let claimant = Claimant { party: Party::Tenant(tenant.0), user: Some(user.0) };
        Self { tenant, user, origin, claimant }
    }

    /// A user who is made by the change itself, under a new id. Their leases take the turns of their address.
    pub fn newcomer(tenant: TenantId, env: &Env, origin: Origin) -> Self {
        Self::named(tenant, env.uuid().into(), origin)
    }

    /// The user whom a visitor has named, before a credential was checked: `auth` reads or notes something about that user. The
    /// leases take the turns of the visitor's address. Otherwise, a visitor who names many tenants would get the turns of all.
    pub(in crate::auth) fn named(tenant: TenantId, user: UserId, origin: Origin) -> Self {
        Self { tenant, user, claimant: Claimant::visitor(origin.ip), origin }
    }
}

impl Scope for Actor {
    fn tenant(&self) -> TenantId {
        self.tenant
    }
    fn claimant(&self) -> Claimant {
        self.claimant
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

/// A visitor whose token names a tenant, while it is looked up whose token it is. It can read, and change nothing.
#[derive(Debug, Clone)]
pub struct Unproven {
    tenant: TenantId,
    claimant: Claimant,
}

impl Unproven {
    /// The leases take the turns of the visitor's address, as with [`Actor::named`].
    pub(in crate::auth) fn of(tenant: TenantId, origin: &Origin) -> Self {
        Self { tenant, claimant: Claimant::visitor(origin.ip) }
    }

    /// For a token that was right here before: the leases take the turns of its tenant.
    pub(in crate::auth) fn known(tenant: TenantId) -> Self {
        Self { tenant, claimant: Claimant { party: Party::Tenant(tenant.0), user: None } }
    }
}

impl Scope for Unproven {
    fn tenant(&self) -> TenantId {
        self.tenant
    }
    fn claimant(&self) -> Claimant {
        self.claimant
    }
}
