//! Actions that require a verified e-mail address: those that reach people outside of a tenant, and those with results
//! that outlive the session. Without this rule, an account with an invented address could have the server write to
//! strangers. An account with another person's address could create API keys that stay valid after that person takes
//! the account over. Where no mail is set up, no address can be verified, and so none has to be.
use super::Caller;
use crate::auth::Permission;
use crate::auth::token_mail::SendVerification;
use crate::base::error::{Error, Result};
use crate::db::types::UserId;
use crate::db::{Db, OperatorScope, ReadTx, WriteScope};

/// Proof that the caller has passed the check of [`Verification`] or is an operator. The queries that invite people,
/// create API keys and open a tenant for registration take this proof as an argument, so that no handler can forget the
/// check.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedCaller {
    user: Option<UserId>,
}

impl VerifiedCaller {
    /// An operator needs no verified address: operators act for the server itself, not as a user of a tenant.
    pub fn operator(_: &impl OperatorScope) -> Self {
        Self { user: None }
    }

    /// The verified user, or `None` for an operator.
    pub fn user(self) -> Option<UserId> {
        self.user
    }
}

/// Checks callers and returns a [`VerifiedCaller`].
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

    /// Fails with 403 if the caller's address is not verified, and with 401 if the caller's sessions were ended after
    /// the request was authenticated. The first proof of an address ends all sessions of its account, because another
    /// person may have used the account until then, and this request may come from that person. One statement in the
    /// transaction of the change reads both facts. If there were two statements, the first could read the state before
    /// the proof and the second the state after it.
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

    /// Sends the verification mail again if the caller was refused for an address that is not verified. The token in
    /// the first mail may have expired. The limit on such mails applies here too.
    pub async fn remind<R>(&self, caller: &(impl WriteScope + Sync), result: Result<R>) -> Result<R> {
        if let Err(Error::UnverifiedCaller) = &result {
            self.db.enqueue_for(caller, SendVerification { user: caller.actor() }).await?;
        }
        result
    }
}
