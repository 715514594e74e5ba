//! The users and visitors for whom leases are taken, and the proof that a credential of a user was checked.
use crate::base::env::Env;
use crate::base::queue::{Claimant, Party};
use crate::db::types::{TenantId, UserId};
use crate::db::{Origin, Scope, WriteScope};

/// Proof that a credential of this user was checked: the hash of a password, the MAC of a refresh token, the hash of an
/// API key, of a one-time token or of a feed's secret, or the signature of an access token. Only functions of `auth`
/// that check such a credential can create it.
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

/// A user who acts in their tenant and is the author of changes. The server and its operator act as
/// [`crate::db::System`] instead.
#[derive(Debug, Clone)]
pub struct Actor {
    tenant: TenantId,
    user: UserId,
    origin: Origin,
    /// The user or visitor for whom the actor's leases wait in the queue.
    claimant: Claimant,
}

impl Actor {
    /// The user whose credential was checked.
    pub fn authenticated(proof: Proven, origin: Origin) -> Self {
        let Proven { tenant, user } = proof;
        let claimant = Claimant { party: Party::Tenant(tenant.0), user: Some(user.0) };
        Self { tenant, user, origin, claimant }
    }

    /// A user who is created by the change itself, with a new id. The leases wait in the queue as the visitor's
    /// address.
    pub fn newcomer(tenant: TenantId, env: &Env, origin: Origin) -> Self {
        Self::named(tenant, env.uuid().into(), origin)
    }

    /// The user whom a visitor has named, before a credential was checked. `auth` uses it to read something about that
    /// user or to write to the audit log. The leases wait in the queue as the visitor's address. Otherwise, a visitor
    /// who names users of many tenants would get the turns of all these tenants.
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

/// A visitor with a token that names a tenant, during the look-up of the token's user. This scope can only read.
#[derive(Debug, Clone)]
pub struct Unproven {
    tenant: TenantId,
    claimant: Claimant,
}

impl Unproven {
    /// The leases wait in the queue as the visitor's address, as with [`Actor::named`].
    pub(in crate::auth) fn of(tenant: TenantId, origin: &Origin) -> Self {
        Self { tenant, claimant: Claimant::visitor(origin.ip) }
    }

    /// For a token that was right in this process before. The leases wait in the queue as the token's tenant.
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
