//! Limits on mail and on changes of account data: how much mail the server sends to one address, whichever caller asks
//! for it, how many people a caller may invite, and how many addresses and usernames a user may try.
use super::limits::{HOUR, Limit, Limits, check};
use crate::base::addresses::canonical_login;
use crate::base::crypto::sha256_hex;
use crate::base::error::{Error, Result};
use crate::config::MailConfig;
use crate::db::types::{Instant, TenantId, UserId};
use chrono::Duration;
use std::net::IpAddr;
use std::slice;

/// How long a tenant counts as new. A new tenant may invite fewer people, because nothing is known about it yet.
const NEW_TENANT: Duration = Duration::days(7);

/// Each kind of mail has a count of its own. A request for one kind must not use up another kind, nor reveal whether
/// mail of another kind was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    Invitation,
    PasswordReset,
    EmailVerification,
    /// Tells a user what was done to their account.
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
    /// When the tenant was created.
    pub founded: Instant,
    /// The IP address of the inviter.
    pub from: Option<IpAddr>,
    /// The invited e-mail address.
    pub to: &'a str,
}

/// Turns that were taken for a mail.
#[must_use]
pub struct Charged {
    limits: Limits,
    taken: Vec<Limit>,
}

impl Charged {
    /// Gives back the turns, because the mail was not created.
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

    /// Fails with 429 if this user has changed the e-mail address too often.
    pub async fn take_email_change(&self, tenant: TenantId, user: UserId) -> Result<()> {
        check(&self.limits.take(&[self.limits.email_changes(tenant, user)]).await?)
    }

    /// Fails with 429 if this user has tried too many usernames.
    pub async fn take_username_change(&self, tenant: TenantId, user: UserId) -> Result<()> {
        check(&self.limits.take(&[self.limits.username_changes(tenant, user)]).await?)
    }

    /// Fails with 429 if the tenant, the inviter's network or the whole server has sent too many invitations, or if the
    /// address has got too many. An invitation that is refused costs nothing. The server's limit is charged last, so
    /// that callers with used-up limits don't take a turn of it, not even for a moment. Only invitations count against
    /// these limits, so that a flood of them does not delay a password reset or a verification.
    ///
    /// It makes no difference whether the address is the verified address of a user: otherwise the number of
    /// invitations that it accepts would reveal that.
    pub async fn take_invitation(&self, mail: InvitationMail<'_>) -> Result<Charged> {
        let InvitationMail { tenant, founded, from, to } = mail;
        let is_new = self.limits.env().now() < founded.0 + NEW_TENANT;
        let mut limits = vec![self.limits.invitations(tenant, is_new), self.limits.invitations_from(from)];
        limits.extend(self.of_recipient(MailKind::Invitation, to, false));
        limits.extend(is_new.then(|| self.limits.all_invitations_of_new()));
        limits.push(self.limits.all_invitations());
        self.take(limits).await
    }

    /// Whether this address may get one more mail of this kind. `is_verified`: whether the user of the account has
    /// proved that the address is theirs.
    pub async fn allows(&self, kind: MailKind, address: &str, is_verified: bool) -> Result<bool> {
        match self.take(self.of_recipient(kind, address, is_verified)).await {
            Ok(_) => Ok(true),
            Err(Error::RateLimited { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Each address has a count of its own. An address that nobody has verified also counts for its mailbox. Otherwise
    /// any number of mails could be sent to one mailbox by variants of its address. A verified address does not share a
    /// count with its variants. Otherwise strangers with accounts under these variants could use up the turns of the
    /// address's owner.
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

    /// Takes a turn of each limit. If one is used up, no turn is taken, and the result is 429. The limits are charged
    /// one after the other, because a Redis script may only use keys of one cluster node, and these keys are on
    /// several.
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

/// The mailbox that mail to this address probably reaches. Most providers deliver `ada+anything@…` to `ada@…`, and some
/// deliver `a.d.a@…` to it too. With other providers, two strangers may share a cap until they have verified their
/// addresses.
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
