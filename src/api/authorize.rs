//! Ownership and `If-Match`, so that neither can be forgotten: a query hands out the row to change as [`Locked`], only
//! [`Caller::authorize`] makes it [`Authorized`], and only that can be updated or deleted.
use super::caller::Caller;
use super::headers::IfMatch;
use super::resource::{Owned, Resource};
use crate::auth::Permission;
use crate::base::error::{Error, Result};
use crate::db::types::UserId;

/// A row as it is now, under lock for this transaction; not yet to be changed, nor even seen.
pub struct Locked<T>(T);

impl<T> Locked<T> {
    pub fn new(row: T) -> Self {
        Self(row)
    }
}

/// A row that the caller may change, in the version that the caller knows.
pub struct Authorized<T>(T);

impl<T> std::ops::Deref for Authorized<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The owner that a row is to have: [`Caller::owner`] alone makes one, so that nobody gives away what they may not.
#[derive(Debug, Clone, Copy)]
pub struct NextOwner {
    id: UserId,
    is_new: bool,
}

impl NextOwner {
    pub fn id(self) -> UserId {
        self.id
    }

    /// The user who gets a row that was not theirs. They have to belong to the tenant.
    pub fn if_new(self) -> Option<UserId> {
        self.is_new.then_some(self.id)
    }
}

impl<P: Permission> Caller<P> {
    /// The next owner of a row that is `current`'s, or the caller's own if it is new: 403 where the caller wants somebody else
    /// and may not change what others made.
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

    /// 403 for what the caller may not change, 412 for a version that is not the current one.
    pub fn authorize<T: Owned + Resource>(&self, Locked(row): Locked<T>, if_match: &IfMatch) -> Result<Authorized<T>> {
        if row.owner() != Some(self.user()) && !self.may_for_others() {
            return Err(Error::Forbidden);
        }
        // The tag may tell more than the version, such as what its reader saw. A client that makes one of the version means the same.
        if_match.check(&row.tag()).or_else(|_| if_match.check(&row.version().to_string()))?;
        Ok(Authorized(row))
    }
}
