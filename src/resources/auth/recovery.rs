//! What is done with the tokens that were mailed: a new password is set, or an address is proved.
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

/// Why the person who brings a verification token is believed to hold the account too. The token alone would not do: somebody
/// may have registered with another person's address, and a link in a mail is soon clicked on.
enum Holder {
    BySession(OpenSession),
    /// With the hash of the password that was checked.
    ByPassword(String),
}

impl Holder {
    /// What was checked before this transaction still holds in it.
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
    /// Sets a new password, ends all sessions of its user, and lets them sign in at once. It proves the address too. Where nobody
    /// had proved it, somebody else may have had the account until now, and all that was made with it ends.
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
            calendar::revoke(tx, user).await?; // its row is the first of what the reset does
            match users::verify_email(tx, &email).await? {
                // Also where another address was verified before: somebody else may have changed the account's address to this
                // one. The person who reads its mail proves no more than that they do.
                Proof::FirstOfAccount | Proof::FirstOfAddress => {
                    let _ = tx.happened(Change::of(Action::EmailVerify, user)).await?; // the reset's own row is last
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
        let email = canonical_login(&user.email); // as sign-in counts it
        let names: Vec<_> = user.username.iter().chain([&email]).map(String::as_str).collect();
        credentials.reset_attempts(user.id, &names).await; // those failures were not made with the new password
        Ok(())
    }

    /// Takes a token as proof of an address, from a person who holds the account as well. Where no address of the account was
    /// proved before, all that was made with it ends, but for the session that brought the proof. Where one was, its holder has
    /// only moved: the new address and the account are one person's, as the session or the password shows, and all goes on.
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

    /// 422 where there is neither a session of the account nor its password; then the token is as good as before. Guesses of the
    /// password count as those at sign-in do.
    async fn holder(&self, actor: &Actor, session: OptionalSession, password: Option<&Password>) -> Result<Holder> {
        match session.of(actor) {
            Ok(Some(session)) => return Ok(Holder::BySession(session)),
            Err(Error::InvalidToken) if password.is_some() => {} // the token is not needed
            Err(error) => return Err(error),
            Ok(None) => {}
        }
        let needed = "is required, unless the request has an access token of the account";
        let password = password.ok_or_else(|| Error::unprocessable("password", needed))?;
        let checked = self.credentials.check_password_of(actor, password).await?;
        checked.map(Holder::ByPassword).ok_or_else(wrong_password)
    }
}

/// Ends what the actor's account made before its address was proved, as it may have been somebody else who made it. The caller
/// ends the sessions. Users who have joined the tenant since stay: they have accounts of their own.
async fn end_all_from_before(tx: &mut WriteTx) -> Result<()> {
    let user = tx.actor();
    let mut inviters = api_keys::delete_all(tx, user).await?;
    inviters.push(user);
    invitations::withdraw_all(tx, &inviters).await?;
    calendar::revoke(tx, user).await?;
    let _ = tx.happened(Change::of(Action::SignOut, user)).await?; // the proof's own row is last
    Ok(())
}
