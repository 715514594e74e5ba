//! Tokens that go by mail: a new password for a user who forgot theirs, and the proof that an address is somebody's.
use super::actor::{Proven, Unproven};
use super::mail_cap::{MailCap, MailKind};
use super::mails::EmailTemplates;
use crate::base::error::Result;
use crate::base::opaque::OpaqueToken;
use crate::db::jobs::{Job, JobContext};
use crate::db::one_time_tokens::{Issued, Purpose, Recipient, find_token, invalid};
use crate::db::types::{TenantId, UserId};
use crate::db::{Db, Origin, ReadTx};
use crate::services::mail::Mailer;
use serde::{Deserialize, Serialize};

/// A token that a visitor brought, and the proof that it was mailed to its user: 422 where it is not good.
pub async fn check_token(db: &Db, text: &str, purpose: Purpose, origin: &Origin) -> Result<(OpaqueToken, Proven)> {
    let token = OpaqueToken::read(purpose.kind(), text).ok_or_else(invalid)?;
    let visitor = Unproven::of(token.tenant(), origin);
    let found = db.read(&visitor, async |tx: &mut ReadTx| find_token(tx, &token, purpose).await).await?;
    let proof = Proven::new(token.tenant(), found.user);
    Ok((token, proof))
}

/// Mails a link for a new password, as somebody asked for it. Whether there is such a user is looked up when the job is done, so
/// that the answer takes as long either way.
#[derive(Serialize, Deserialize)]
pub struct SendReset {
    /// In its canonical form.
    pub email: String,
}

impl Job for SendReset {
    const KIND: &'static str = "send_reset";
    type Needs = TokenMailer;

    async fn run(self, context: JobContext, mailer: TokenMailer) -> Result<()> {
        match mailer.db.find_login(&self.email, &Origin::default()).await? {
            Some((tenant, user)) => mailer.send(context, tenant, user, Purpose::PasswordReset).await,
            None => Ok(()),
        }
    }
}

/// Mails a link to a user whose address nobody has verified.
#[derive(Serialize, Deserialize)]
pub struct SendVerification {
    pub user: UserId,
}

impl Job for SendVerification {
    const KIND: &'static str = "send_verification";
    type Needs = TokenMailer;

    async fn run(self, context: JobContext, mailer: TokenMailer) -> Result<()> {
        mailer.send(context, context.tenant()?, self.user, Purpose::EmailVerification).await
    }
}

/// Makes tokens and mails them.
#[derive(Clone)]
pub struct TokenMailer {
    pub db: Db,
    pub mail_cap: MailCap,
    pub mailer: Mailer,
    pub templates: EmailTemplates,
}

impl TokenMailer {
    /// Mails a new token to a user, unless their address got enough mail: then the token that was mailed before stays good.
    async fn send(&self, context: JobContext, tenant: TenantId, user: UserId, purpose: Purpose) -> Result<()> {
        let Self { db, mail_cap, mailer, templates } = self;
        let kind = match purpose {
            Purpose::PasswordReset => MailKind::PasswordReset,
            Purpose::EmailVerification => MailKind::EmailVerification,
        };
        let recipient = db.token_recipient(tenant, user, purpose, context.is_repeat).await?;
        let Some(Recipient { email, is_verified, .. }) = recipient else { return Ok(()) };
        if !context.is_repeat && !mail_cap.allows(kind, &email, is_verified).await? {
            return Ok(());
        }
        let issued = db.issue_token(tenant, user, purpose, context.is_repeat).await?;
        let Some(Issued { token, email, name }) = issued else { return Ok(()) };
        let mail = match purpose {
            Purpose::PasswordReset => templates.reset(&email, &name, &token.print()),
            Purpose::EmailVerification => templates.verification(&email, &name, &token.print()),
        };
        mailer.send(context, mail).await
    }
}
