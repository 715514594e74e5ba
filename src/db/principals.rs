//! The role, state and limits of a user as of now. They are looked up at each request, because the token of a request
//! may be older than their last change.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::roles::{Role, UserKind};
use super::types::{Instant, SessionId, TenantId, UserId};
use super::{Db, ReadTx, RunQueryDsl, Scope, WriteScope};
use crate::base::error::Result;
use crate::db::schema::{api_keys, sessions, tenants, users};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

/// Role, state and limits of a user who may be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub role: Role,
    /// Whether the user operates the server.
    pub is_superuser: bool,
    /// Sessions of an earlier epoch are over.
    pub epoch: i64,
    /// The user's own limit. It can only lower the limit of the tenant.
    pub requests_per_hour: Option<u32>,
    pub user_requests_per_hour: Option<u32>,
    pub api_key_requests_per_hour: Option<u32>,
    pub user_writes_per_minute: Option<u32>,
}

type Limits = (Option<i32>, Option<i32>, Option<i32>, Option<i32>);

/// The [`columns`] of a [`Principal`].
pub(super) type Row = (Role, bool, i64, Limits);

#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn columns() -> _ {
    (
        users::role,
        users::is_superuser,
        users::session_epoch,
        (
            users::requests_per_hour,
            tenants::user_requests_per_hour,
            tenants::api_key_requests_per_hour,
            tenants::user_writes_per_minute,
        ),
    )
}

impl From<Row> for Principal {
    fn from((role, is_superuser, epoch, limits): Row) -> Self {
        let limit = |column: Option<i32>| column.and_then(|number| u32::try_from(number).ok()).map(|n| n.max(1));
        Self {
            role,
            is_superuser,
            epoch,
            requests_per_hour: limit(limits.0),
            user_requests_per_hour: limit(limits.1),
            api_key_requests_per_hour: limit(limits.2),
            user_writes_per_minute: limit(limits.3),
        }
    }
}

impl Principal {
    /// Limits the role to that of an API key. The key gets no further rights if the role of its service account was
    /// raised since.
    pub(super) fn at_most(self, of_key: Role) -> Self {
        Self { role: self.role.min(of_key), ..self }
    }
}

/// Selects the user, unless the user is disabled or deleted, or the tenant is suspended or deleted.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn serveable(tenant: TenantId, user: UserId) -> _ {
    users::table
        .inner_join(tenants::table.on(tenants::id.eq(users::tenant_id)))
        .filter(users::tenant_id.eq(tenant))
        .filter(users::id.eq(user))
        .filter(users::is_active.eq(true))
        .filter(users::deleted_at.is_null())
        .filter(tenants::is_suspended.eq(false))
        .filter(tenants::deleted_at.is_null())
}

/// Whether a key is valid if its secret is right. It must not have expired, and its service account must be active. The
/// person who made it must be active too, and have at least the role of the key. In earlier versions, keys could make
/// keys. Those outlived the first key and its maker, and are no longer valid, because no person made them.
#[diesel::dsl::auto_type]
pub fn is_good_key(now: Instant) -> _ {
    let account = users::table
        .filter(users::tenant_id.eq(api_keys::tenant_id))
        .filter(users::id.eq(api_keys::user_id))
        .filter(users::is_active.eq(true))
        .filter(users::deleted_at.is_null());
    let maker = users::table
        .filter(users::tenant_id.eq(api_keys::tenant_id))
        .filter(users::id.eq(api_keys::created_by))
        .filter(users::kind.eq("person"))
        .filter(users::is_active.eq(true))
        .filter(users::deleted_at.is_null())
        .filter(users::role.ge(api_keys::role));
    let is_in_time = api_keys::expires_at.is_null().or(api_keys::expires_at.assume_not_null().gt(now));
    is_in_time.and(diesel::dsl::exists(account)).and(diesel::dsl::exists(maker))
}

/// The tenant's valid keys.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn good_keys(tenant: TenantId, now: Instant) -> _ {
    let good: is_good_key = is_good_key(now);
    api_keys::table.filter(api_keys::tenant_id.eq(tenant)).filter(good)
}

impl ReadTx {
    /// The principal of a user who may be served, and `None` for others. A service account has at most the rights of
    /// its key, and only while the key is valid.
    pub async fn principal_of(&mut self, user: UserId) -> Result<Option<Principal>> {
        let (tenant, now) = (self.tenant(), self.now());
        let row = serveable(tenant, user).select((users::kind, columns()));
        let row: Option<(UserKind, Row)> = row.first(self).await.optional()?;
        let Some((kind, row)) = row else { return Ok(None) };
        let principal = Principal::from(row);
        match kind {
            UserKind::Person => Ok(Some(principal)),
            UserKind::Service => {
                let key = good_keys(tenant, now).filter(api_keys::user_id.eq(user)).select(api_keys::role);
                let role: Option<Role> = key.first(self).await.optional()?;
                Ok(role.map(|role| principal.at_most(role)))
            }
        }
    }
}

/// The state of an account, which may have changed after the request was authenticated.
#[derive(Debug, Clone, Copy)]
pub struct AccountState {
    /// Whether the user has proved that their address is theirs.
    pub is_verified: bool,
    /// Sessions of an earlier epoch are over.
    pub epoch: i64,
}

impl ReadTx {
    /// The state of an account in this transaction. `None` if the account was removed.
    pub async fn account_of(&mut self, user: UserId) -> Result<Option<AccountState>> {
        let row = users::table.filter(users::tenant_id.eq(self.tenant()).and(users::id.eq(user)));
        let row = row.filter(users::deleted_at.is_null()).select((users::email_verified, users::session_epoch));
        let row: Option<(bool, i64)> = row.first(self).await.optional()?;
        Ok(row.map(|(is_verified, epoch)| AccountState { is_verified, epoch }))
    }
}

/// The stored hash of a user's password, and the user's address.
pub struct StoredPassword {
    pub email: String,
    /// Whether the user has proved that the address is theirs.
    pub is_verified: bool,
    /// `None` for a service account.
    pub hash: Option<String>,
}

impl ReadTx {
    /// The stored password of a user. `None` if there is no such user.
    pub async fn stored_password(&mut self, user: UserId) -> Result<Option<StoredPassword>> {
        type PasswordRow = (String, bool, Option<String>);
        let row = users::table.filter(users::tenant_id.eq(self.tenant()).and(users::id.eq(user)));
        let row = row.filter(users::deleted_at.is_null());
        let row = row.select((users::email, users::email_verified, users::password_hash));
        let row: Option<PasswordRow> = row.first(self).await.optional()?;
        Ok(row.map(|(email, is_verified, hash)| StoredPassword { email, is_verified, hash }))
    }
}

impl Db {
    /// The principal of a user who may be served.
    pub async fn principal(&self, scope: &impl Scope, user: UserId) -> Result<Option<Principal>> {
        self.read(scope, async |tx: &mut ReadTx| tx.principal_of(user).await).await
    }

    /// As [`Self::principal`], but `None` if this session of the user has ended or expired. The session must be one
    /// that is kept in the database.
    pub async fn principal_of_session(
        &self,
        scope: &(impl WriteScope + Sync),
        session: SessionId,
    ) -> Result<Option<Principal>> {
        let user = scope.actor();
        let query = async |tx: &mut ReadTx| {
            let now = tx.now();
            let goes_on = sessions::table
                .filter(sessions::tenant_id.eq(tx.tenant()).and(sessions::id.eq(session)))
                .filter(sessions::user_id.eq(users::id))
                .filter(sessions::epoch.ge(users::session_epoch))
                .filter(sessions::ended_at.is_null())
                .filter(sessions::expires_at.gt(now));
            let row = serveable(tx.tenant(), user).filter(diesel::dsl::exists(goes_on)).select(columns());
            let row: Option<Row> = row.first(tx).await.optional()?;
            Ok(row.map(Principal::from))
        };
        self.find(scope, query).await
    }
}
