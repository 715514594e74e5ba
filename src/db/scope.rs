//! The scope of a lease: the tenant whose rows it may see, and the user for whom it acts. The other scope is the
//! system, which does the work of no user: the server's own work, the operator's commands, and look-ups before a tenant
//! is known.
use super::types::{TenantId, UserId};
use crate::base::formats::subscriber;
use crate::base::queue::{Claimant, Party};
use std::net::IpAddr;
use uuid::Uuid;

/// A tenant whose rows a lease may see: the tenant of a caller, or the tenant of a token that a visitor presents.
pub trait Scope {
    fn tenant(&self) -> TenantId;
    /// The user or visitor for whom the lease waits in its queue.
    fn claimant(&self) -> Claimant;
}

/// A scope that may also change the tenant's rows. Its actor is the author of the changes.
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

/// The client from which a change comes, for the audit log. Both fields are `None` for changes by the system.
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

    /// The id that the audit log stores. It is the nil UUID for the system, because no user has that id.
    pub(super) fn stored(self) -> UserId {
        self.user().unwrap_or(UserId(Uuid::nil()))
    }
}

/// The tenant id with which queries compare. For a lease without a tenant it is the nil UUID, which no row has, so that
/// a query for a tenant's rows finds none.
pub(super) fn compared(tenant: Option<TenantId>) -> TenantId {
    tenant.unwrap_or(TenantId(Uuid::nil()))
}

/// The scope of any lease: a [`Scope`], or the [`System`], which has no user and may have no tenant.
pub trait LeaseScope {
    /// The tenant whose rows the lease may see. With `None` it may use only the tables that belong to no tenant.
    fn lease_tenant(&self) -> Option<TenantId>;
    /// The user, visitor or server for whom the lease waits in its queue.
    fn lease_claimant(&self) -> Claimant;
}

/// The scope of a lease that may change rows: a [`WriteScope`], or the [`System`].
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

/// The scope of work that the server does itself. It has no user, so that it can't become the author or the owner of a
/// record.
#[derive(Debug, Clone)]
pub struct System {
    tenant: Option<TenantId>,
    party: Party,
    origin: Origin,
}

impl System {
    /// The system in one tenant, for jobs and for the operator's commands.
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..Self::without_tenant() }
    }

    /// As [`Self::of`], but its leases wait in the queue as the tenant's requests do. It is for work that may wait for a lock on one of the
    /// tenant's rows: two such locks would otherwise keep both connections of the jobs.
    pub(super) fn in_turns_of(tenant: TenantId) -> Self {
        Self { party: Party::Tenant(tenant.0), ..Self::of(tenant) }
    }

    /// The system without a tenant. It may use only the tables that belong to no tenant: the tenants themselves, the
    /// jobs, the sign-in directory, and the check values of keys.
    pub(super) fn without_tenant() -> Self {
        Self { tenant: None, party: Party::Server, origin: Origin::default() }
    }

    /// As [`Self::without_tenant`], but for a visitor's request. The lease waits in the queue as the visitor's address,
    /// so that it takes no turns from others.
    pub(super) fn asked_by(origin: &Origin) -> Self {
        Self { party: Party::Address(origin.ip.map(subscriber)), ..Self::without_tenant() }
    }

    /// As [`Self::without_tenant`], but for the server's own probes. They wait in the same queue as requests.
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
