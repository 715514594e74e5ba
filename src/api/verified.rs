//! What reaches people outside of a tenant, or outlives the sign-in that made it, takes a verified address. Otherwise an account
//! with an invented address could have the server write to strangers, and one with another person's address could make keys that
//! are still good once that person has the account. Where no mail is set up no address can be verified, and none has to be.
use super::Caller;
use crate::auth::Permission;
use crate::auth::token_mail::SendVerification;
use crate::base::error::{Error, Result};
use crate::db::types::UserId;
use crate::db::{Db, OperatorScope, ReadTx, WriteScope};

/// Proof that somebody answers for what a query does. The queries that invite, make keys and open a tenant for registration take
/// one, so that none of their callers can forget the check.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedCaller {
    user: Option<UserId>,
}

impl VerifiedCaller {
    /// An operator answers for the server itself, in none of its tenants.
    pub fn operator(_: &impl OperatorScope) -> Self {
        Self { user: None }
    }

    /// The user; none for an operator.
    pub fn user(self) -> Option<UserId> {
        self.user
    }
}

/// Makes [`VerifiedCaller`].
#[derive(Clone)]
pub struct Verification {
    db: Db,
    /// Whether addresses can be verified.
    is_mail_set_up: bool,
}

impl Verification {
    pub fn new(db: Db, is_mail_set_up: bool) -> Self {
        Self { db, is_mail_set_up }
    }

    /// 403 where the caller's address is not verified. 401 where their sessions were ended since the request was let in: the
    /// first proof of an address does that, and the request may come from somebody else who had the account until then. Both are
    /// read by one statement of the change's own transaction: by two, the first could be from before the proof and the second
    /// from after it.
    pub async fn check<P: Permission>(&self, tx: &mut ReadTx, caller: &Caller<P>) -> Result<VerifiedCaller> {
        let user = caller.user();
        if self.is_mail_set_up {
            let account = tx.account_of(user).await?.filter(|account| account.epoch == caller.epoch());
            if !account.ok_or(Error::InvalidToken)?.is_verified {
                return Err(Error::UnverifiedCaller);
            }
        }
        Ok(VerifiedCaller { user: Some(user) })
    }

    /// Has the verification mailed once more where the caller was refused for want of it, as the token of the first mail may have
    /// expired. It is limited as all such mail is.
    pub async fn remind<R>(&self, caller: &(impl WriteScope + Sync), result: Result<R>) -> Result<R> {
        if let Err(Error::UnverifiedCaller) = &result {
            self.db.enqueue_for(caller, SendVerification { user: caller.actor() }).await?;
        }
        result
    }
}
