//! How much mail one address gets through us, whoever asks for it; how many strangers somebody has us write to, and how many
//! names they try to take.
use super::limits::{HOUR, Limit, Limits, check};
use crate::db::types::{TenantId, UserId};
use crate::error::{Error, Result};
use crate::infra::crypto::sha256_hex;
use crate::infra::formats::normalised;

/// Each kind counts by itself: asking for one must not keep another one away, nor tell whether it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    Invitation,
    PasswordReset,
    EmailVerification,
    /// Tells somebody what was done to their account.
    Notice,
}

#[derive(Clone)]
pub struct MailCap {
    limits: Limits,
    per_hour: u32,
}

impl MailCap {
    pub fn new(limits: Limits, per_hour: u32) -> Self {
        Self { limits, per_hour }
    }

    /// 429 where this user has had enough new addresses.
    pub async fn take_email_change(&self, tenant: TenantId, user: UserId) -> Result<()> {
        check(&self.limits.take(&[self.limits.email_changes(tenant, user)]).await?)
    }

    /// 429 where this user has tried enough new usernames.
    pub async fn take_username_change(&self, tenant: TenantId, user: UserId) -> Result<()> {
        check(&self.limits.take(&[self.limits.username_changes(tenant, user)]).await?)
    }

    /// 429 where this tenant has sent, or this address got, enough invitations.
    pub async fn take_invitation(&self, tenant: TenantId, address: &str) -> Result<()> {
        check(&self.limits.take(&[self.limits.invitations(tenant)]).await?)?;
        self.take(MailKind::Invitation, address).await
    }

    /// 429 where this address got enough of this kind.
    async fn take(&self, kind: MailKind, address: &str) -> Result<()> {
        let digest = sha256_hex(mailbox(address).as_bytes());
        let key = format!("bc:limit:mail:{kind:?}:{digest}");
        let limit = Limit { policy: "mail", key, quota: self.per_hour, window: HOUR };
        check(&self.limits.take(&[limit]).await?)
    }

    /// Whether this address may get one more of this kind.
    pub async fn allows(&self, kind: MailKind, address: &str) -> Result<bool> {
        match self.take(kind, address).await {
            Ok(()) => Ok(true),
            Err(Error::RateLimited { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Where mail to this address ends up: `ada+anything@…` is read by `ada@…`.
fn mailbox(address: &str) -> String {
    let address = normalised(address);
    match address.rsplit_once('@') {
        Some((name, domain)) => format!("{}@{domain}", name.split('+').next().unwrap_or(name)),
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_spellings_lead_to_one_mailbox() {
        for address in ["ada@example.com", " ADA+1@Example.com", "ada+a+b@example.com"] {
            assert_eq!(mailbox(address), "ada@example.com");
        }
        assert_eq!(mailbox("ada.b@example.com"), "ada.b@example.com");
    }
}
