//! Checks ownership and `If-Match` in a way that can't be forgotten: a query returns the row to change as [`Locked`],
//! only [`Caller::authorize`] turns it into [`Authorized`], and only an [`Authorized`] row can be updated or deleted.
use super::caller::Caller;
use super::headers::IfMatch;
use super::resource::{Owned, Resource};
use crate::auth::Permission;
use crate::base::error::{Error, Result};
use crate::db::types::UserId;

/// The current state of a row, which is locked for this transaction. It can't be read or changed before it is
/// authorized.
pub struct Locked<T>(T);

impl<T> Locked<T> {
    pub fn new(row: T) -> Self {
        Self(row)
    }
}

/// A row that the caller may change, and in the version that the caller knows.
pub struct Authorized<T>(T);

impl<T> std::ops::Deref for Authorized<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The owner that a row will have. Only [`Caller::owner`] creates one, so that no handler can forget the check.
#[derive(Debug, Clone, Copy)]
pub struct NextOwner {
    id: UserId,
    is_new: bool,
}

impl NextOwner {
    pub fn id(self) -> UserId {
        self.id
    }

    /// The new owner, if the owner changes. This user has to belong to the tenant.
    pub fn if_new(self) -> Option<UserId> {
        self.is_new.then_some(self.id)
    }
}

impl<P: Permission> Caller<P> {
    /// The next owner of a row that belongs to `current`. For a new row, `current` is the caller. Fails with 403 if the
    /// caller wants another owner and may not change records of others.
    pub fn owner(&self, current: UserId, wanted: Option<UserId>) -> Result<NextOwner> {
        let id = wanted.unwrap_or(current);
        let is_new = id != current;
        match is_new && !self.may_for_others() {
            true => Err(Error::Forbidden),
            false => Ok(NextOwner { id, is_new }),
        }
    }

    fn may_for_others(&self) -> bool {
        P::FOR_OTHERS.is_some_and(|least| self.role() >= least)
    }

    /// Fails with 403 if the caller may not change the row, and with 412 if `If-Match` has another version than the
    /// current one.
    pub fn authorize<T: Owned + Resource>(&self, Locked(row): Locked<T>, if_match: &IfMatch) -> Result<Authorized<T>> {
        if row.owner() != Some(self.user()) && !self.may_for_others() {
            return Err(Error::Forbidden);
        }
        // The tag may contain more than the version, such as what its reader may see. A client that makes a tag from
        // the version alone means the same version.
        if_match.check(&row.tag()).or_else(|_| if_match.check(&row.version().to_string()))?;
        Ok(Authorized(row))
    }
}
