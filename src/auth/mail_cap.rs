//! How much mail one address gets through us, whichever caller asks for it; how many strangers a caller has us write to; and how
//! many usernames a caller tries.
use super::limits::{HOUR, Limit, Limits, check};
use crate::base::addresses::canonical_login;
use crate::base::crypto::sha256_hex;
use crate::base::error::{Error, Result};
use crate::config::MailConfig;
use crate::db::types::{Instant, TenantId, UserId};
use chrono::Duration;
use std::net::IpAddr;
use std::slice;

/// How long a tenant is new: it invites fewer people, as nobody knows yet what it is about.
const NEW_TENANT: Duration = Duration::days(7);

/// Each kind counts by itself: asking for one must not keep another one away, nor tell whether it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    Invitation,
    PasswordReset,
    EmailVerification,
    /// Tells somebody what was done to their account.
    SecurityEmail,
}

#[derive(Clone)]
pub struct MailCap {
    limits: Limits,
    per_address: u32,
    per_mailbox: u32,
}

/// An invitation that is about to be mailed.
pub struct InvitationMail<'a> {
    pub tenant: TenantId,
    /// When the tenant was made.
    pub founded: Instant,
    /// Where the inviter calls from.
    pub from: Option<IpAddr>,
    /// The address that it invites.
    pub to: &'a str,
}

/// Turns that were taken for a mail.
#[must_use]
pub struct Charged {
    limits: Limits,
    taken: Vec<Limit>,
}

impl Charged {
    /// The mail did not come about.
    pub async fn give_back(self) {
        for limit in &self.taken {
            if let Err(error) = self.limits.give_back(limit).await {
                tracing::warn!(?error, limit.policy, "A turn that was not needed can't be given back");
            }
        }
    }
}

impl MailCap {
    pub fn new(limits: Limits, config: &MailConfig) -> Self {
        let MailConfig { per_recipient_per_hour, per_mailbox_per_hour, .. } = *config;
        Self { limits, per_address: per_recipient_per_hour, per_mailbox: per_mailbox_per_hour }
    }

    /// 429 where this user has had enough new addresses.
    pub async fn take_email_change(&self, tenant: TenantId, user: UserId) -> Result<()> {
        check(&self.limits.take(&[self.limits.email_changes(tenant, user)]).await?)
    }

    /// 429 where this user has tried enough new usernames.
    pub async fn take_username_change(&self, tenant: TenantId, user: UserId) -> Result<()> {
        check(&self.limits.take(&[self.limits.username_changes(tenant, user)]).await?)
    }

    /// 429 where the tenant, the inviter's network or the whole server has sent enough invitations, or the address got enough.
    /// An invitation that is refused costs nothing. The server's limit comes last, so that nobody takes a turn of it, not even
    /// for a moment, whose own limits are used up. Only invitations count against these, so that no flood of them holds back a
    /// password reset or a verification.
    ///
    /// Whether the address is a verified one of somebody here makes no difference: how many invitations it takes would tell.
    pub async fn take_invitation(&self, mail: InvitationMail<'_>) -> Result<Charged> {
        let InvitationMail { tenant, founded, from, to } = mail;
        let is_new = self.limits.env().now() < founded.0 + NEW_TENANT;
        let mut limits = vec![self.limits.invitations(tenant, is_new), self.limits.invitations_from(from)];
        limits.extend(self.of_recipient(MailKind::Invitation, to, false));
        limits.extend(is_new.then(|| self.limits.all_invitations_of_new()));
        limits.push(self.limits.all_invitations());
        self.take(limits).await
    }

    /// Whether this address may get one more of this kind. `is_verified`: whether its account has proved that it is theirs.
    pub async fn allows(&self, kind: MailKind, address: &str, is_verified: bool) -> Result<bool> {
        match self.take(self.of_recipient(kind, address, is_verified)).await {
            Ok(_) => Ok(true),
            Err(Error::RateLimited { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An address counts by itself. One that nobody has verified counts for its mailbox too, or somebody could have any number
    /// of mails sent to it, by as many spellings. A verified address shares nothing with other spellings of it: with accounts
    /// that have these, strangers could use up what is its owner's.
    fn of_recipient(&self, kind: MailKind, address: &str, is_verified: bool) -> Vec<Limit> {
        let limit = |policy, quota, of: &str| {
            let key = format!("bc:limit:{policy}:{kind:?}:{}", sha256_hex(of.as_bytes()));
            Limit { policy, key, quota, window: HOUR }
        };
        let own = limit("mail", self.per_address, &canonical_login(address));
        match is_verified {
            true => vec![own],
            false => vec![own, limit("mailbox", self.per_mailbox, &mailbox(address))],
        }
    }

    /// Takes a turn of each limit, or of none where one is used up: then it is 429. One after the other: a script of Redis takes
    /// keys of one place only, and these are in several.
    async fn take(&self, limits: Vec<Limit>) -> Result<Charged> {
        let mut charged = Charged { limits: self.limits.clone(), taken: vec![] };
        for limit in limits {
            let taken = self.limits.take(slice::from_ref(&limit)).await;
            match taken.and_then(|taken| check(&taken)) {
                Ok(()) => charged.taken.push(limit),
                Err(error) => {
                    charged.give_back().await;
                    return Err(error);
                }
            }
        }
        Ok(charged)
    }
}

/// Where mail to this address may end up: `ada+anything@…` is read by `ada@…` in most places, and `a.d.a@…` in some. Where it is
/// not, two strangers share a cap until they have verified their addresses.
fn mailbox(address: &str) -> String {
    let address = canonical_login(address);
    match address.rsplit_once('@') {
        Some((name, domain)) => format!("{}@{domain}", name.split('+').next().unwrap_or(name).replace('.', "")),
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_dots_and_spellings_lead_to_one_mailbox() {
        for address in [
            "ada@example.com",
            " ADA+1@Example.com",
            "ada+a+b@example.com",
            "a.d.a+1.2@example.com",
            "ada@example。com",
        ] {
            assert_eq!(mailbox(address), "ada@example.com");
        }
        assert_eq!(mailbox("ada@mail.example.com"), "ada@mail.example.com");
    }
}
