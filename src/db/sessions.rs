//! Sessions in the database. `auth::sessions` decides what happens to a session. The queries here write the decision
//! only if the session has not changed meanwhile.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::sql::for_update;
use super::types::{Instant, SessionId, TenantId, UserId};
use super::{
    Action, Audited, Change, Db, Execute, ReadTx, RunQueryDsl, Scope, Statement, Statements, WriteScope, WriteTx,
};
use crate::base::error::{Error, Result};
use crate::db::schema::{ended_sessions, sessions, users};
use diesel::prelude::*;

crate::text_enum! {
    /// Why a session is over.
    pub enum EndReason {
        SignedOut = "signed_out",
        Revoked = "revoked",
        TokenReused = "token_reused",
    }
}

/// A session that a sign-in opens.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    pub token_hash: [u8; 32],
    pub device_name: Option<String>,
    pub expires_at: Instant,
    /// The stored hash against which the password was checked.
    pub checked: String,
    /// A hash of the same password at another cost, which replaces the stored one. Nobody can notice that change, so
    /// the sign-in's audit row is the only one.
    pub renewed: Option<String>,
}

/// The state of a session, as the database or Redis keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionState {
    /// The number of the current token. Each refresh makes the next token.
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
    /// The epoch of its user to which the session belongs. The session is over once the user has a later one.
    pub epoch: i64,
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
    pub async fn find_session(&self, scope: &impl Scope, id: SessionId) -> Result<Option<StoredSession>> {
        type Row = (UserId, Vec<u8>, i64, Instant, Instant, Option<Instant>, i64);
        let query = async |tx: &mut ReadTx| {
            let row = one(tx.tenant(), id).select((
                sessions::user_id,
                sessions::token_hash,
                sessions::generation,
                sessions::rotated_at,
                sessions::expires_at,
                sessions::ended_at,
                sessions::epoch,
            ));
            Ok(row.first::<Row>(tx).await.optional()?)
        };
        let row = self.find(scope, query).await?;
        Ok(row.map(|(user, token_hash, generation, rotated_at, expires_at, ended_at, epoch)| StoredSession {
            user,
            token_hash,
            state: SessionState { generation, rotated_at, expires_at, has_ended: ended_at.is_some() },
            epoch,
        }))
    }

    /// Whether [`WriteTx::note_end`] has recorded the end of this session.
    pub async fn is_end_noted(&self, scope: &impl Scope, id: SessionId) -> Result<bool> {
        let query = async |tx: &mut ReadTx| {
            let one = ended_sessions::tenant_id.eq(tx.tenant()).and(ended_sessions::id.eq(id));
            let found = ended_sessions::table.filter(one).select(ended_sessions::id);
            Ok(found.first::<SessionId>(tx).await.optional()?.is_some())
        };
        self.find(scope, query).await
    }

    /// Replaces the token of generation `from` with the next one. Returns `false` if another request was faster or the
    /// session has ended. This is not audited, because it happens every 15 minutes and changes nothing that people see.
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
            let swapped = diesel::update(current).set(next).execute(tx).await?;
            Ok(Audited::without_row(swapped == 1))
        };
        self.write(scope, swap).await
    }
}

impl WriteTx {
    /// Opens a session for the actor and returns the actor's epoch. Fails with `InvalidCredentials` if the password was
    /// changed or the user was disabled after the password was checked. The user's row stays locked, so that a change
    /// that comes now begins a new epoch. A session that is kept in Redis gets only its audit row here.
    pub async fn open_session(&mut self, session: &NewSession, is_kept_here: bool) -> Result<Audited<i64>> {
        let NewSession { id, token_hash, device_name, expires_at, checked, renewed } = session;
        let user = users::table
            .filter(users::tenant_id.eq(self.tenant()).and(users::id.eq(self.actor())))
            .filter(users::password_hash.eq(checked).and(users::is_active.eq(true)));
        let epoch = for_update(user.select(users::session_epoch)).get_result(self).await.optional()?;
        let epoch: i64 = epoch.ok_or(Error::InvalidCredentials)?;
        if let Some(renewed) = renewed {
            let user = users::table.filter(users::tenant_id.eq(self.tenant()).and(users::id.eq(self.actor())));
            diesel::update(user).set(users::password_hash.eq(renewed)).execute(self).await?;
        }
        let mut statements = Statements::default();
        if is_kept_here {
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
                sessions::epoch.eq(epoch),
            );
            statements = statements.and(diesel::insert_into(sessions::table).values(row));
        }
        Ok(self.changed(Change::of(Action::SignIn, *id), statements).await?.with(epoch))
    }

    /// Ends one session of the actor. Fails with `NotFound` if the actor has no open session with this id.
    pub async fn end_session(&mut self, id: SessionId, action: Action, reason: EndReason) -> Result<Audited<()>> {
        let (tenant, user, now) = (self.tenant(), self.actor(), self.now());
        let session = open_of(tenant, user).filter(sessions::id.eq(id));
        let end = (sessions::ended_at.eq(now), sessions::end_reason.eq(reason));
        let end = Statement::of(diesel::update(session).set(end)).if_none(Error::NotFound);
        self.changed(Change::of(action, id), end).await
    }

    /// Records the end of a session that is kept in Redis, for as long as the session would have lasted. Fails with
    /// `NotFound` if its end is recorded already.
    pub async fn note_end(&mut self, id: SessionId, expires_at: Instant, action: Action) -> Result<Audited<()>> {
        let row = (
            ended_sessions::tenant_id.eq(self.tenant()),
            ended_sessions::id.eq(id),
            ended_sessions::expires_at.eq(expires_at),
        );
        let insert = Statement::of(diesel::insert_into(ended_sessions::table).values(row)).if_taken(Error::NotFound);
        self.changed(Change::of(action, id), insert).await
    }

    /// Ends all sessions of a user by beginning a new epoch, and returns the epoch. The session `but` is moved to the
    /// new epoch, so that it goes on.
    pub async fn end_sessions(&mut self, of: UserId, but: Option<SessionId>) -> Result<i64> {
        let tenant = self.tenant();
        let user = users::table.filter(users::tenant_id.eq(tenant).and(users::id.eq(of)));
        let next = users::session_epoch.eq(users::session_epoch + 1);
        diesel::update(user).set(next).execute(self).await?;
        let user = users::table.filter(users::tenant_id.eq(tenant).and(users::id.eq(of)));
        let epoch: i64 = user.select(users::session_epoch).first(self).await?;
        if let Some(kept) = but {
            let kept = open_of(tenant, of).filter(sessions::id.eq(kept));
            diesel::update(kept).set(sessions::epoch.eq(epoch)).execute(self).await?;
        }
        Ok(epoch)
    }
}
