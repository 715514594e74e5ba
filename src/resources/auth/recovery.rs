//! What goes by mail: a new password for who forgot theirs, and the proof that an address is somebody's.
use super::mails::Letters;
use super::sign_in::SignIn;
use super::types::{ResetInput, VerifyInput};
use crate::auth::Actor;
use crate::auth::mail_cap::MailKind;
use crate::auth::opaque::OpaqueToken;
use crate::db::jobs::Job;
use crate::db::one_time_tokens::{Issued, Purpose, find_token, invalid};
use crate::db::types::UserId;
use crate::db::{Action, Changes, Origin, ReadTx, WriteTx};
use crate::error::Result;
use crate::infra::jobs::JobOf;
use crate::infra::mail::Mailer;
use crate::resources::users;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Somebody asked for a new password. Whether there is such a user is looked up when the job is done, so that the answer
/// takes as long either way.
#[derive(Serialize, Deserialize)]
pub struct SendReset {
    /// Normalised.
    pub email: String,
}

impl Job for SendReset {
    const KIND: &'static str = "send_reset";
}

/// Somebody has an address that nobody has verified.
#[derive(Serialize, Deserialize)]
pub struct SendVerification {
    pub user: UserId,
}

impl Job for SendVerification {
    const KIND: &'static str = "send_verification";
}

impl SignIn {
    pub async fn send_reset(&self, of: JobOf, job: SendReset, mailer: Mailer, letters: Letters) -> Result<()> {
        let Some((tenant, user)) = self.db.find_login(&job.email, &Origin::default()).await? else { return Ok(()) };
        let actor = Actor::vouched(tenant, user, Origin::default());
        match self.issue_token(of, &actor, Purpose::PasswordReset).await? {
            Some(Issued { token, email, name }) => mailer.send(of, letters.reset(&email, &name, &token.print())).await,
            None => Ok(()),
        }
    }

    pub async fn send_verification(
        &self,
        of: JobOf,
        job: SendVerification,
        mailer: Mailer,
        letters: Letters,
    ) -> Result<()> {
        let Some(tenant) = of.tenant else { return Ok(()) };
        let actor = Actor::vouched(tenant, job.user, Origin::default());
        match self.issue_token(of, &actor, Purpose::EmailVerification).await? {
            Some(Issued { token, email, name }) => {
                mailer.send(of, letters.verification(&email, &name, &token.print())).await
            }
            None => Ok(()),
        }
    }

    /// A token to mail to the actor. None where their address got enough: the one that was mailed before stays good then.
    async fn issue_token(&self, of: JobOf, actor: &Actor, purpose: Purpose) -> Result<Option<Issued>> {
        let kind = match purpose {
            Purpose::PasswordReset => MailKind::PasswordReset,
            Purpose::EmailVerification => MailKind::EmailVerification,
        };
        let Some(email) = self.db.token_recipient(actor, purpose, of.is_repeat).await? else { return Ok(None) };
        if !of.is_repeat && !self.mail_cap.allows(kind, &email).await? {
            return Ok(None);
        }
        self.db.issue_token(actor, purpose, of.is_repeat).await
    }

    /// Sets a new password, ends all sessions of its user, and lets them sign in at once.
    pub async fn reset_password(&self, input: ResetInput, origin: Origin) -> Result<()> {
        let ResetInput { token, password } = input;
        let purpose = Purpose::PasswordReset;
        self.refuse_common("password", &password)?;
        let (token, actor) = self.read_token(&token, purpose, origin).await?;
        let hash = self.passwords.hash(password.secret()).await?;
        let letters = self.letters.clone();
        let change = async |tx: &mut WriteTx| {
            let email = tx.redeem(&token, purpose).await?;
            let user = users::replace_password(tx, hash, &email).await?;
            tx.enqueue(&letters.password_changed(&user.email, &user.name)).await?;
            tx.end_sessions(user.id, None).await?;
            Ok(tx.audit(Action::PasswordReset, user.id, Changes::none()).await?.with(user))
        };
        let user = self.sessions.fenced(token.tenant, self.db.write(&actor, change)).await?;
        let names: Vec<_> = user.username.iter().chain([&user.email]).map(String::as_str).collect();
        self.attempts.pardon(user.id, &names).await; // whoever has failed, it was not by the new password
        Ok(())
    }

    pub async fn verify_email(&self, input: VerifyInput, origin: Origin) -> Result<()> {
        let purpose = Purpose::EmailVerification;
        let (token, actor) = self.read_token(&input.token, purpose, origin).await?;
        let verify = async |tx: &mut WriteTx| {
            let email = tx.redeem(&token, purpose).await?;
            users::verify_email(tx, &email).await
        };
        self.db.write(&actor, verify).await
    }

    /// The token, and its user to act.
    async fn read_token(&self, text: &str, purpose: Purpose, origin: Origin) -> Result<(OpaqueToken, Actor)> {
        let token = OpaqueToken::read(purpose.kind(), text).ok_or_else(invalid)?;
        let nobody_yet = Actor::unproven(token.tenant, Uuid::nil().into(), origin.clone());
        let find = async |tx: &mut ReadTx| find_token(tx, &token, purpose).await;
        let user = self.db.read(&nobody_yet, find).await?.user;
        let actor = Actor::vouched(token.tenant, user, origin);
        Ok((token, actor))
    }
}
