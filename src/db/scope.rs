//! What a lease is taken for: a tenant and its user, or the system, which does what no user does: the server's own work, the operator's
//! commands, and look-ups before a tenant is known.
use super::types::{TenantId, UserId};
use crate::base::formats::subscriber;
use crate::base::queue::{Claimant, Party};
use std::net::IpAddr;
use uuid::Uuid;

/// The tenant whose rows a lease may see: a caller's, or that of a visitor's token.
pub trait Scope {
    fn tenant(&self) -> TenantId;
    /// The party whose turn a lease takes.
    fn claimant(&self) -> Claimant;
}

/// A scope that also may change them, in the name of its actor.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't open a write lease",
    label = "this scope only reads",
    note = "a caller can write only with a permission that is declared without `(read)` in `permissions!`: take `Caller<Write>`"
)]
pub trait WriteScope: Scope {
    fn actor(&self) -> UserId;
    fn origin(&self) -> &Origin;
}

/// The scope of an operator of the server, who may act in any tenant.
pub trait OperatorScope: WriteScope {}

/// Where a change comes from, for the audit log. Empty for the operator's commands.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub ip: Option<IpAddr>,
    pub request_id: Option<String>,
}

/// The author of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    User(UserId),
    /// The server itself, or its operator at the console.
    System,
}

impl Author {
    pub fn user(self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::System => None,
        }
    }

    /// As the audit log stores it. The nil UUID, which is no user's id, stands for the system there.
    pub(super) fn stored(self) -> UserId {
        self.user().unwrap_or(UserId(Uuid::nil()))
    }
}

/// The tenant of a lease as queries compare it. A lease without a tenant compares with the nil UUID, which no row has, so that a
/// query that asks for a tenant's rows finds none.
pub(super) fn compared(tenant: Option<TenantId>) -> TenantId {
    tenant.unwrap_or(TenantId(Uuid::nil()))
}

/// What a lease is taken for: a [`Scope`], or [`System`], which has no user and perhaps no tenant.
pub trait LeaseScope {
    /// The tenant whose rows the lease may see. `None`: only the tables that belong to no tenant.
    fn lease_tenant(&self) -> Option<TenantId>;
    /// The user or visitor whose turn the lease takes.
    fn lease_claimant(&self) -> Claimant;
}

/// What a lease to change something is taken for: a [`WriteScope`], or [`System`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't open a write lease",
    label = "this scope only reads",
    note = "a caller can write only with a permission that is declared without `(read)` in `permissions!`: take `Caller<Write>`"
)]
pub trait ChangeScope: LeaseScope {
    fn author(&self) -> Author;
    fn change_origin(&self) -> &Origin;
}

impl<S: Scope> LeaseScope for S {
    fn lease_tenant(&self) -> Option<TenantId> {
        Some(self.tenant())
    }
    fn lease_claimant(&self) -> Claimant {
        self.claimant()
    }
}
impl<S: WriteScope> ChangeScope for S {
    fn author(&self) -> Author {
        Author::User(self.actor())
    }
    fn change_origin(&self) -> &Origin {
        self.origin()
    }
}

/// The server at work. It is nobody's user, so that it can't be the author or the owner of a record.
#[derive(Debug, Clone)]
pub struct System {
    tenant: Option<TenantId>,
    party: Party,
    origin: Origin,
}

impl System {
    /// In a tenant: for jobs, and for the operator's commands.
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..Self::without_tenant() }
    }

    /// On the tables that belong to no tenant: the tenants themselves, the jobs, the sign-in directory, the check values of keys.
    pub(super) fn without_tenant() -> Self {
        Self { tenant: None, party: Party::Server, origin: Origin::default() }
    }

    /// As [`Self::without_tenant`], for a visitor: what they have the server do takes the turns of their address.
    pub(super) fn asked_by(origin: &Origin) -> Self {
        Self { party: Party::Address(origin.ip.map(subscriber)), ..Self::without_tenant() }
    }

    /// As [`Self::without_tenant`], for the server's own probes, which take their turns among those of the requests.
    pub(super) fn probe() -> Self {
        Self::asked_by(&Origin::default())
    }
}

impl LeaseScope for System {
    fn lease_tenant(&self) -> Option<TenantId> {
        self.tenant
    }
    fn lease_claimant(&self) -> Claimant {
        Claimant { party: self.party, user: None }
    }
}
impl ChangeScope for System {
    fn author(&self) -> Author {
        Author::System
    }
    fn change_origin(&self) -> &Origin {
        &self.origin
    }
}
