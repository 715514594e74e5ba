//! Ownership and `If-Match`, so that neither can be forgotten: a query hands out the row to change as [`Locked`], only
//! [`Caller::grant`] makes it [`Granted`], and only that can be updated or deleted.
use super::{Caller, Permission};
use crate::db::types::UserId;
use crate::error::{Error, Result};
use crate::http::{IfMatch, Resource};

/// What somebody made: permissions with `if own` ask for it.
pub trait Owned {
    fn owner(&self) -> UserId;
}

/// A row as it is now, under lock for this transaction; not yet to be changed, nor even seen.
pub struct Locked<T>(T);

impl<T> Locked<T> {
    pub fn new(row: T) -> Self {
        Self(row)
    }
}

/// A row that the caller may change, in the version that the caller knows.
pub struct Granted<T>(T);

impl<T> std::ops::Deref for Granted<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<P: Permission> Caller<P> {
    /// 403 for what the caller may not change, 412 for a version that is not the current one.
    pub fn grant<T: Owned + Resource>(&self, Locked(row): Locked<T>, if_match: &IfMatch) -> Result<Granted<T>> {
        let may_for_others = P::FOR_OTHERS.is_some_and(|least| self.role() >= least);
        if self.user() != row.owner() && !may_for_others {
            return Err(Error::Forbidden);
        }
        if_match.check(&row.tag())?;
        Ok(Granted(row))
    }
}
