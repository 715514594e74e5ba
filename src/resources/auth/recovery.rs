//! Redeems tokens that were mailed: sets a new password, or verifies an address.
use super::AuthApi;
use super::types::{ResetInput, VerifyInput};
use crate::api::optional_session::{OpenSession, OptionalSession};
use crate::api::scalars::Password;
use crate::auth::Actor;
use crate::auth::token_mail::check_token;
use crate::base::addresses::canonical_login;
use crate::base::error::{Error, Result};
use crate::db::one_time_tokens::Purpose;
use crate::db::{Action, Change, Origin, Scope, WriteTx};
use crate::resources::meetings::calendar;
use crate::resources::users::Proof;
use crate::resources::{api_keys, invitations, users};

/// The proof that the person with a verification token also holds the account. The token alone is not enough: another
/// person may have registered the account with this address, and people easily click on a link in a mail.
enum Holder {
    BySession(OpenSession),
    /// Contains the hash of the password that was checked.
    ByPassword(String),
}

impl Holder {
    /// Checks again, in the transaction, that the proof is still valid.
    async fn check(&self, tx: &mut WriteTx) -> Result<()> {
        let user = tx.actor();
        match self {
            Self::BySession(session) => match tx.account_of(user).await? {
                Some(account) if account.epoch == session.epoch => Ok(()),
                _ => Err(Error::InvalidToken),
            },
            Self::ByPassword(checked) => match users::still_has(tx, Some(checked.clone())).await? {
                true => Ok(()),
                false => Err(wrong_password()),
            },
        }
    }
}

fn wrong_password() -> Error {
    Error::unprocessable("password", "is wrong")
}

impl AuthApi {
    /// Sets a new password, ends all sessions of the user, and resets the failed sign-ins, so that the user can sign in
    /// at once. The token also proves the address. If nobody had proved the address before, another person may have
    /// used the account until now, and everything that was made with the account ends too.
    pub(super) async fn reset_password(&self, input: ResetInput, origin: Origin) -> Result<()> {
        let ResetInput { token, password } = input;
        let purpose = Purpose::PasswordReset;
        let Self { db, credentials, tokens, templates, .. } = self;
        credentials.refuse_common("password", &password)?;
        let (token, proof) = check_token(db, &token, purpose, &origin).await?;
        let actor = Actor::authenticated(proof, origin);
        let hash = credentials.hash(actor.claimant(), &password).await?;
        let change = async |tx: &mut WriteTx| {
            let email = tx.redeem(&token, purpose).await?;
            let user = tx.actor();
            calendar::revoke(tx, user).await?; // the audit row of the feed comes first
            match users::verify_email(tx, &email).await? {
                // This is also done if another address was verified before: another person may have changed the address
                // of the account to this one. The token only proves that its holder reads the mail of this address.
                Proof::FirstOfAccount | Proof::FirstOfAddress => {
                    // The audit row of the reset comes last.
                    let _ = tx.happened(Change::of(Action::EmailVerify, user)).await?;
                    end_all_from_before(tx).await?;
                }
                Proof::Repeated => {}
            }
            let changed = users::replace_password(tx, hash, &email).await?;
            let user = changed.get();
            tx.enqueue(&templates.password_changed(&user.email, &user.name, true)).await?;
            tx.end_sessions(user.id, None).await?;
            Ok(changed)
        };
        let user = tokens.sessions.fenced(token.tenant(), db.write(&actor, change)).await?;
        let email = canonical_login(&user.email); // failed sign-ins are counted by this form
        let names: Vec<_> = user.username.iter().chain([&email]).map(String::as_str).collect();
        credentials.reset_attempts(user.id, &names).await; // failures with the old password no longer count
        Ok(())
    }

    /// Verifies an address by a token, from a person who also holds the account. If no address of the account was
    /// verified before, everything that was made with the account ends, except the session of this request. If an
    /// address was verified before, the user has only changed it: the session or the password shows that the new
    /// address and the account belong to one person, and nothing ends.
    pub(super) async fn verify_email(
        &self,
        input: VerifyInput,
        session: OptionalSession,
        origin: Origin,
    ) -> Result<()> {
        let VerifyInput { token, password } = input;
        let purpose = Purpose::EmailVerification;
        let Self { db, tokens, .. } = self;
        let (token, proof) = check_token(db, &token, purpose, &origin).await?;
        let actor = Actor::authenticated(proof, origin);
        let holder = self.holder(&actor, session, password.as_ref()).await?;
        let kept = match &holder {
            Holder::BySession(session) => Some(session.id),
            Holder::ByPassword(_) => None,
        };
        let verify = async |tx: &mut WriteTx| {
            let email = tx.redeem(&token, purpose).await?;
            holder.check(tx).await?;
            let epoch = match users::verify_email(tx, &email).await? {
                Proof::FirstOfAccount => {
                    end_all_from_before(tx).await?;
                    Some(tx.end_sessions(tx.actor(), kept).await?)
                }
                Proof::FirstOfAddress | Proof::Repeated => None,
            };
            let user = tx.actor();
            Ok(tx.happened(Change::of(Action::EmailVerify, user)).await?.with(epoch))
        };
        let epoch = tokens.sessions.fenced(token.tenant(), db.write(&actor, verify)).await?;
        if let (Some(session), Some(epoch)) = (kept, epoch) {
            tokens.sessions.keep(&actor, session, epoch).await;
        }
        Ok(())
    }

    /// Fails with 422 if the request has neither a session of the account nor its password. The token then stays valid.
    /// Tries of the password are limited in the same way as at sign-in.
    async fn holder(&self, actor: &Actor, session: OptionalSession, password: Option<&Password>) -> Result<Holder> {
        match session.of(actor) {
            Ok(Some(session)) => return Ok(Holder::BySession(session)),
            Err(Error::InvalidToken) if password.is_some() => {} // the password is enough
            Err(error) => return Err(error),
            Ok(None) => {}
        }
        let needed = "is required, unless the request has an access token of the account";
        let password = password.ok_or_else(|| Error::unprocessable("password", needed))?;
        let checked = self.credentials.check_password_of(actor, password).await?;
        checked.map(Holder::ByPassword).ok_or_else(wrong_password)
    }
}

/// Ends what the account made before its address was verified, because another person may have made it. The caller ends
/// the sessions. Users who have joined the tenant meanwhile stay, because they have accounts of their own.
async fn end_all_from_before(tx: &mut WriteTx) -> Result<()> {
    let user = tx.actor();
    let mut inviters = api_keys::delete_all(tx, user).await?;
    inviters.push(user);
    invitations::withdraw_all(tx, &inviters).await?;
    calendar::revoke(tx, user).await?;
    let _ = tx.happened(Change::of(Action::SignOut, user)).await?; // the audit row of the proof comes last
    Ok(())
}
