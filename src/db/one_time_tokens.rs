//! Tokens that are mailed to users and can be used once.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::sql::for_update;
use super::types::{Instant, TenantId, TokenId, UserId};
use super::{Audited, Db, Execute, ReadTx, RunQueryDsl, System, WriteTx};
use crate::base::error::{Error, Result};
use crate::base::opaque::{OpaqueToken, TokenKind};
use crate::db::schema::{one_time_tokens as tokens, users};
use chrono::Duration;
use diesel::prelude::*;

crate::text_enum! {
    /// What a token is for.
    pub enum Purpose {
        PasswordReset = "password_reset",
        EmailVerification = "email_verification",
    }
}

impl Purpose {
    pub const ALL: [Self; 2] = [Self::PasswordReset, Self::EmailVerification];

    pub fn kind(self) -> TokenKind {
        match self {
            Self::PasswordReset => TokenKind::PasswordReset,
            Self::EmailVerification => TokenKind::EmailVerification,
        }
    }

    pub fn lifetime(self) -> Duration {
        match self {
            Self::PasswordReset => Duration::minutes(30),
            Self::EmailVerification => Duration::days(3),
        }
    }
}

/// The shortest time between two mails of one purpose to the same user.
const PAUSE: Duration = Duration::minutes(1);

/// A new token, with the address and the name of the user to whom it is to be mailed.
pub struct Issued {
    pub token: OpaqueToken,
    pub email: String,
    pub name: String,
}

/// The user and the address that a redeemed token was made for.
pub struct Redeemed {
    pub user: UserId,
    /// The address that it was mailed to.
    pub email: String,
}

/// The user to whom a token is mailed.
pub struct Recipient {
    pub email: String,
    pub name: String,
    /// Whether they have proved that the address is theirs.
    pub is_verified: bool,
}

/// Returns the user if a token of this purpose may be mailed to them now. Returns `None` if the last such mail was sent
/// less than [`PAUSE`] ago, unless `at_once` is set: the last mail may never have arrived.
async fn recipient(tx: &mut ReadTx, user: UserId, purpose: Purpose, at_once: bool) -> Result<Option<Recipient>> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let row = users::table
        .filter(users::tenant_id.eq(tenant).and(users::id.eq(user)))
        .filter(users::is_active.eq(true).and(users::deleted_at.is_null()))
        .filter(users::password_hash.is_not_null())
        .select((users::email, users::name, users::email_verified));
    let row: Option<(String, String, bool)> = row.first(tx).await.optional()?;
    let Some((email, name, is_verified)) = row else { return Ok(None) };
    if purpose == Purpose::EmailVerification && is_verified {
        return Ok(None);
    }
    let of_user = tokens::tenant_id.eq(tenant).and(tokens::user_id.eq(user)).and(tokens::purpose.eq(purpose));
    let is_recent = tokens::created_at.gt(Instant::from(now.0 - PAUSE)).and(tokens::email.eq(&email));
    let recent: i64 = tokens::table.filter(of_user).filter(is_recent).count().get_result(tx).await?;
    Ok((recent == 0 || at_once).then_some(Recipient { email, name, is_verified }))
}

impl Db {
    /// Returns the recipient of the token that [`Self::issue_token`] would make.
    pub async fn token_recipient(
        &self,
        tenant: TenantId,
        user: UserId,
        purpose: Purpose,
        at_once: bool,
    ) -> Result<Option<Recipient>> {
        let find = async |tx: &mut ReadTx| recipient(tx, user, purpose, at_once).await;
        self.read(&System::in_turns_of(tenant), find).await
    }

    /// Makes a token of this purpose for a user. It replaces an earlier one. Returns `None` if no mail may be sent now.
    pub async fn issue_token(
        &self,
        tenant: TenantId,
        user: UserId,
        purpose: Purpose,
        at_once: bool,
    ) -> Result<Option<Issued>> {
        let issue = async |tx: &mut WriteTx| {
            tx.lock_user(user).await?; // the address must not be changed meanwhile
            let (tenant, now) = (tx.tenant(), tx.now());
            let Some(Recipient { email, name, .. }) = recipient(tx, user, purpose, at_once).await? else {
                return Ok(Audited::without_row(None));
            };
            tx.void_tokens(user, &[purpose]).await?;
            let token = OpaqueToken::new(purpose.kind(), tenant.0, tx.env().uuid(), tx.env());
            let row = (
                tokens::tenant_id.eq(tenant),
                tokens::id.eq(TokenId(token.id)),
                tokens::user_id.eq(user),
                tokens::purpose.eq(purpose),
                tokens::email.eq(&email),
                tokens::token_hash.eq(token.hash()),
                tokens::created_at.eq(now),
                tokens::expires_at.eq(Instant::from(now.0 + purpose.lifetime())),
            );
            diesel::insert_into(tokens::table).values(row).execute(tx).await?;
            Ok(Audited::without_row(Some(Issued { token, email, name }))) // only its use is a change
        };
        self.write(&System::in_turns_of(tenant), issue).await
    }
}

/// The error for a token that can't be used. It does not reveal the reason.
pub fn invalid() -> Error {
    Error::unprocessable("token", "is not valid, was used, or has expired")
}

/// Finds the user and the address of a valid token. Fails with 422 if the token is not valid.
pub async fn find_token(tx: &mut ReadTx, token: &OpaqueToken, purpose: Purpose) -> Result<Redeemed> {
    type Row = (Vec<u8>, UserId, String);
    let (tenant, now) = (tx.tenant(), tx.now());
    let row = tokens::table
        .filter(tokens::tenant_id.eq(tenant).and(tokens::id.eq(TokenId(token.id))))
        .filter(tokens::purpose.eq(purpose).and(tokens::expires_at.gt(now)))
        .select((tokens::token_hash, tokens::user_id, tokens::email));
    let row: Option<Row> = row.first(tx).await.optional()?;
    let (_, user, email) = row.filter(|(hash, ..)| token.fits(hash)).ok_or_else(invalid)?;
    Ok(Redeemed { user, email })
}

impl WriteTx {
    /// Locks a user's row. Every change to a user, their password or their tokens begins with such a lock, so that
    /// two such changes run one after the other and can't deadlock.
    async fn lock_user(&mut self, id: UserId) -> Result<()> {
        let user = users::table.filter(users::tenant_id.eq(self.tenant()).and(users::id.eq(id)));
        let _: Option<UserId> = for_update(user.select(users::id)).get_result(self).await.optional()?;
        Ok(())
    }

    /// Deletes the user's tokens of these purposes, so that earlier mails no longer work: what they ask for has been
    /// done since, or they went to a former address.
    pub async fn void_tokens(&mut self, user: UserId, purposes: &[Purpose]) -> Result<()> {
        for purpose in purposes {
            let of_user = tokens::tenant_id.eq(self.tenant()).and(tokens::user_id.eq(user));
            let row = tokens::table.filter(of_user).filter(tokens::purpose.eq(*purpose));
            diesel::delete(row).execute(self).await?;
        }
        Ok(())
    }

    /// Moves the user's tokens to the form in which the address is stored now, so that they stay valid.
    pub async fn readdress_tokens(&mut self, user: UserId, former: &str, now: &str) -> Result<()> {
        let of_user = tokens::tenant_id.eq(self.tenant()).and(tokens::user_id.eq(user));
        let rows = tokens::table.filter(of_user).filter(tokens::email.eq(former.to_owned()));
        diesel::update(rows).set(tokens::email.eq(now.to_owned())).execute(self).await?;
        Ok(())
    }

    /// Deletes the actor's token and returns the address to which it was mailed. Fails with 422 if the token is not
    /// valid or was used meanwhile.
    pub async fn redeem(&mut self, token: &OpaqueToken, purpose: Purpose) -> Result<String> {
        self.lock_user(self.actor()).await?; // the second of two requests waits here
        let Redeemed { user, email } = find_token(self, token, purpose).await?;
        if user != self.actor() {
            return Err(invalid());
        }
        let row = tokens::table.filter(tokens::tenant_id.eq(self.tenant()).and(tokens::id.eq(TokenId(token.id))));
        match diesel::delete(row).execute(self).await? {
            1 => Ok(email),
            _ => Err(invalid()),
        }
    }
}
