//! Sessions in the database: what `auth::session` decides is compared and swapped here.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::roles::Role;
use super::sql::for_update;
use super::types::{Instant, SessionId, TenantId, UserId};
use super::{Action, Audited, Changes, Db, ReadTx, Scope, WriteScope, WriteTx};
use crate::error::{Error, Result};
use crate::schema::{sessions, users};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

crate::text_enum! {
    /// Why a session is over.
    pub enum EndReason {
        SignedOut = "signed_out",
        Revoked = "revoked",
        PasswordChanged = "password_changed",
        TokenReused = "token_reused",
    }
}

/// A device that signs in.
pub struct NewSession {
    pub id: SessionId,
    pub token_hash: [u8; 32],
    pub device_name: Option<String>,
    pub expires_at: Instant,
    /// The password's hash that was checked.
    pub checked: String,
}

/// What a store keeps of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionState {
    /// Which token is the current one; each refresh makes the next.
    pub generation: i64,
    /// When the current token was made.
    pub rotated_at: Instant,
    pub expires_at: Instant,
    pub has_ended: bool,
}

/// The session of a refresh token.
pub struct StoredSession {
    pub user: UserId,
    pub token_hash: Vec<u8>,
    pub state: SessionState,
    /// Whether its user may still sign in.
    pub is_active: bool,
}

/// The next token of a session.
pub struct Rotation {
    pub from: i64,
    pub token_hash: [u8; 32],
    pub expires_at: Instant,
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: SessionId) -> _ {
    sessions::table.filter(sessions::tenant_id.eq(tenant)).filter(sessions::id.eq(id))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn open_of(tenant: TenantId, user: UserId) -> _ {
    let of_user = sessions::tenant_id.eq(tenant).and(sessions::user_id.eq(user));
    sessions::table.filter(of_user).filter(sessions::ended_at.is_null())
}

impl Db {
    /// The role that the user of this session has now; none where session or user is not to be served any more.
    pub async fn signed_in_role(&self, scope: &(impl WriteScope + Sync), session: SessionId) -> Result<Option<Role>> {
        let user = scope.actor();
        let query = async |tx: &mut ReadTx| {
            let now = tx.now();
            let of_user = users::tenant_id.eq(sessions::tenant_id).and(users::id.eq(sessions::user_id));
            let row = one(tx.tenant(), session)
                .inner_join(users::table.on(of_user))
                .filter(sessions::user_id.eq(user))
                .filter(sessions::ended_at.is_null())
                .filter(sessions::expires_at.gt(now))
                .filter(users::is_active.eq(true));
            Ok(row.select(users::role).first(tx.conn()).await.optional()?)
        };
        self.read(scope, query).await
    }

    pub async fn find_session(&self, scope: &impl Scope, id: SessionId) -> Result<Option<StoredSession>> {
        type Row = (UserId, Vec<u8>, i64, Instant, Instant, Option<Instant>, bool);
        let query = async |tx: &mut ReadTx| {
            let of_user = users::tenant_id.eq(sessions::tenant_id).and(users::id.eq(sessions::user_id));
            let row = one(tx.tenant(), id).inner_join(users::table.on(of_user)).select((
                sessions::user_id,
                sessions::token_hash,
                sessions::generation,
                sessions::rotated_at,
                sessions::expires_at,
                sessions::ended_at,
                users::is_active,
            ));
            Ok(row.first::<Row>(tx.conn()).await.optional()?)
        };
        let row = self.read(scope, query).await?;
        Ok(row.map(|(user, token_hash, generation, rotated_at, expires_at, ended_at, is_active)| StoredSession {
            user,
            token_hash,
            state: SessionState { generation, rotated_at, expires_at, has_ended: ended_at.is_some() },
            is_active,
        }))
    }

    /// Puts the next token in the place of generation `from`: `false` where another request was faster. Not audited:
    /// it happens every 15 minutes and changes nothing that people see.
    pub async fn rotate_session(&self, scope: &impl WriteScope, id: SessionId, rotation: Rotation) -> Result<bool> {
        let Rotation { from, token_hash, expires_at } = rotation;
        let swap = async |tx: &mut WriteTx| {
            let current =
                one(tx.tenant(), id).filter(sessions::generation.eq(from)).filter(sessions::ended_at.is_null());
            let next = (
                sessions::generation.eq(from + 1),
                sessions::token_hash.eq(token_hash.to_vec()),
                sessions::rotated_at.eq(tx.now()),
                sessions::expires_at.eq(expires_at),
            );
            let swapped = diesel::update(current).set(next).execute(tx.conn()).await?;
            Ok(Audited::without_row(swapped == 1))
        };
        self.write(scope, swap).await
    }
}

impl WriteTx {
    /// Opens a session for the actor: `InvalidCredentials` where the password was changed, or the user disabled, since it
    /// was checked. The user's row stays locked, so that a change that comes now sees the session and ends it.
    pub async fn open_session(&mut self, session: NewSession) -> Result<Audited<()>> {
        let NewSession { id, token_hash, device_name, expires_at, checked } = session;
        let user = users::table
            .filter(users::tenant_id.eq(self.tenant()).and(users::id.eq(self.actor())))
            .filter(users::password_hash.eq(checked).and(users::is_active.eq(true)));
        let user: Option<UserId> = for_update(user.select(users::id)).get_result(self.conn()).await.optional()?;
        user.ok_or(Error::InvalidCredentials)?;
        let row = (
            sessions::tenant_id.eq(self.tenant()),
            sessions::id.eq(id),
            sessions::user_id.eq(self.actor()),
            sessions::generation.eq(0),
            sessions::token_hash.eq(token_hash.to_vec()),
            sessions::device_name.eq(device_name),
            sessions::ip.eq(self.origin().ip.map(|ip| ip.to_string())),
            sessions::created_at.eq(self.now()),
            sessions::rotated_at.eq(self.now()),
            sessions::expires_at.eq(expires_at),
        );
        diesel::insert_into(sessions::table).values(row).execute(self.conn()).await?;
        self.audit(Action::SignIn, id, Changes::none()).await
    }

    /// Ends one session of the actor: `NotFound` where there is none that is open.
    pub async fn end_session(&mut self, id: SessionId, action: Action, reason: EndReason) -> Result<Audited<()>> {
        let (tenant, user, now) = (self.tenant(), self.actor(), self.now());
        let session = open_of(tenant, user).filter(sessions::id.eq(id));
        let end = (sessions::ended_at.eq(now), sessions::end_reason.eq(reason));
        match diesel::update(session).set(end).execute(self.conn()).await? {
            0 => Err(Error::NotFound),
            _ => self.audit(action, id, Changes::none()).await,
        }
    }

    /// Ends the actor's sessions, all or all but one.
    pub async fn end_sessions(&mut self, but: Option<SessionId>, reason: EndReason) -> Result<Audited<()>> {
        let (tenant, user, now) = (self.tenant(), self.actor(), self.now());
        let end = (sessions::ended_at.eq(now), sessions::end_reason.eq(reason));
        match but {
            Some(kept) => {
                let others = open_of(tenant, user).filter(sessions::id.ne(kept));
                diesel::update(others).set(end).execute(self.conn()).await?
            }
            None => diesel::update(open_of(tenant, user)).set(end).execute(self.conn()).await?,
        };
        self.audit(Action::SignOut, user, Changes::none()).await
    }
}
