//! Tokens that are sent by mail: to set a new password, and to prove that an address belongs to a user.
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

/// Checks a token that a visitor presents. Returns the token, and the proof that it was mailed to its user. Fails with
/// 422 if the token is not valid.
pub async fn check_token(db: &Db, text: &str, purpose: Purpose, origin: &Origin) -> Result<(OpaqueToken, Proven)> {
    let token = OpaqueToken::read(purpose.kind(), text).ok_or_else(invalid)?;
    let visitor = Unproven::of(token.tenant(), origin);
    let found = db.read(&visitor, async |tx: &mut ReadTx| find_token(tx, &token, purpose).await).await?;
    let proof = Proven::new(token.tenant(), found.user);
    Ok((token, proof))
}

/// Mails a link to set a new password, after a visitor has asked for it. The job looks up whether there is such a user,
/// so that the answer to the request takes equally long in both cases.
#[derive(Serialize, Deserialize)]
pub struct SendReset {
    /// The address in its canonical form.
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

/// Creates tokens and mails them.
#[derive(Clone)]
pub struct TokenMailer {
    pub db: Db,
    pub mail_cap: MailCap,
    pub mailer: Mailer,
    pub templates: EmailTemplates,
}

impl TokenMailer {
    /// Mails a new token to a user, unless their address has got too much mail. In that case, the token that was mailed
    /// before stays valid.
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
