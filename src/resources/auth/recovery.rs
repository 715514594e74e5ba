//! What goes by mail: a new password for a user who forgot theirs, and the proof that an address is the user's.
use super::mails::EmailTemplates;
use super::sign_in::SignIn;
use super::types::{ResetInput, VerifyInput};
use crate::api::optional_session::{OpenSession, OptionalSession};
use crate::api::scalars::Password;
use crate::api::verified::SendVerification;
use crate::auth::Actor;
use crate::auth::mail_cap::MailKind;
use crate::base::addresses::canonical_login;
use crate::base::error::{Error, Result};
use crate::base::opaque::OpaqueToken;
use crate::db::jobs::Job;
use crate::db::one_time_tokens::{Issued, Purpose, Recipient, find_token, invalid};
use crate::db::{Action, Change, Origin, ReadTx, Scope, WriteScope, WriteTx};
use crate::resources::meetings::calendar;
use crate::resources::users::Proof;
use crate::resources::{api_keys, invitations, users};
use crate::services::jobs::JobContext;
use crate::services::mail::Mailer;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Somebody asked for a new password. Whether there is such a user is looked up when the job is done, so that the answer
/// takes as long either way.
#[derive(Serialize, Deserialize)]
pub struct SendReset {
    /// In its canonical form.
    pub email: String,
}

impl Job for SendReset {
    const KIND: &'static str = "send_reset";
}

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

impl SignIn {
    pub async fn send_reset(
        &self,
        of: JobContext,
        job: SendReset,
        mailer: Mailer,
        templates: EmailTemplates,
    ) -> Result<()> {
        let Some((tenant, user)) = self.db.find_login(&job.email, &Origin::default()).await? else { return Ok(()) };
        let actor = Actor::authenticated(tenant, user, Origin::default());
        match self.issue_token(of, &actor, Purpose::PasswordReset).await? {
            Some(Issued { token, email, name }) => {
                mailer.send(of, templates.reset(&email, &name, &token.print())).await
            }
            None => Ok(()),
        }
    }

    pub async fn send_verification(
        &self,
        of: JobContext,
        job: SendVerification,
        mailer: Mailer,
        templates: EmailTemplates,
    ) -> Result<()> {
        let Some(tenant) = of.tenant else { return Ok(()) };
        let actor = Actor::authenticated(tenant, job.user, Origin::default());
        match self.issue_token(of, &actor, Purpose::EmailVerification).await? {
            Some(Issued { token, email, name }) => {
                mailer.send(of, templates.verification(&email, &name, &token.print())).await
            }
            None => Ok(()),
        }
    }

    /// A token to mail to the actor. None where their address got enough: the one that was mailed before stays good then.
    async fn issue_token(&self, of: JobContext, actor: &Actor, purpose: Purpose) -> Result<Option<Issued>> {
        let kind = match purpose {
            Purpose::PasswordReset => MailKind::PasswordReset,
            Purpose::EmailVerification => MailKind::EmailVerification,
        };
        let recipient = self.db.token_recipient(actor, purpose, of.is_repeat).await?;
        let Some(Recipient { email, is_verified, .. }) = recipient else { return Ok(None) };
        if !of.is_repeat && !self.mail_cap.allows(kind, &email, is_verified).await? {
            return Ok(None);
        }
        self.db.issue_token(actor, purpose, of.is_repeat).await
    }

    /// Sets a new password, ends all sessions of its user, and lets them sign in at once. It proves the address too. Where nobody
    /// had proved it, somebody else may have had the account until now, and all that was made with it ends.
    pub async fn reset_password(&self, input: ResetInput, origin: Origin) -> Result<()> {
        let ResetInput { token, password } = input;
        let purpose = Purpose::PasswordReset;
        self.refuse_common("password", &password)?;
        let (token, actor) = self.read_token(&token, purpose, origin).await?;
        let hash = self.passwords.hash(actor.claimant(), &password).await?;
        let templates = self.templates.clone();
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
        let user = self.sessions.fenced(token.tenant(), self.db.write(&actor, change)).await?;
        let email = canonical_login(&user.email); // as sign-in counts it
        let names: Vec<_> = user.username.iter().chain([&email]).map(String::as_str).collect();
        self.attempts.reset(user.id, &names).await; // those failures were not made with the new password
        Ok(())
    }

    /// Takes a token as proof of an address, from a person who holds the account as well. Where no address of the account was
    /// proved before, all that was made with it ends, but for the session that brought the proof. Where one was, its holder has
    /// only moved: the new address and the account are one person's, as the session or the password shows, and all goes on.
    pub async fn verify_email(&self, input: VerifyInput, session: OptionalSession, origin: Origin) -> Result<()> {
        let VerifyInput { token, password } = input;
        let purpose = Purpose::EmailVerification;
        let (token, actor) = self.read_token(&token, purpose, origin).await?;
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
        let epoch = self.sessions.fenced(token.tenant(), self.db.write(&actor, verify)).await?;
        if let (Some(session), Some(epoch)) = (kept, epoch) {
            self.keep(&actor, session, epoch).await;
        }
        Ok(())
    }

    /// 422 where there is neither a session of the account nor its password; then the token is as good as before. Guesses of the
    /// password count as those at the door do.
    async fn holder(&self, actor: &Actor, session: OptionalSession, password: Option<&Password>) -> Result<Holder> {
        match session.of(actor) {
            Ok(Some(session)) => return Ok(Holder::BySession(session)),
            Err(Error::InvalidToken) if password.is_some() => {} // it is not needed
            Err(error) => return Err(error),
            Ok(None) => {}
        }
        let needed = "is required, unless the request has an access token of the account";
        let password = password.ok_or_else(|| Error::unprocessable("password", needed))?;
        let known = self.credentials(actor, actor.actor()).await?.ok_or_else(invalid)?;
        let users::Credentials { user, password_hash } = known;
        let attempt =
            self.attempts.begin(&canonical_login(&user.email), &user.id.to_string(), actor.origin().ip).await?;
        let known = password_hash.filter(|_| !attempt.is_locked);
        let checked = self.finish_attempt(attempt, actor, known, password).await?;
        checked.map(Holder::ByPassword).ok_or_else(wrong_password)
    }

    /// The token, and its user to act.
    async fn read_token(&self, text: &str, purpose: Purpose, origin: Origin) -> Result<(OpaqueToken, Actor)> {
        let token = OpaqueToken::read(purpose.kind(), text).ok_or_else(invalid)?;
        let nobody_yet = Actor::unproven(token.tenant(), Uuid::nil().into(), origin.clone());
        let find = async |tx: &mut ReadTx| find_token(tx, &token, purpose).await;
        let user = self.db.read(&nobody_yet, find).await?.user;
        let actor = Actor::authenticated(token.tenant(), user, origin);
        Ok((token, actor))
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
