//! Sessions: one for each device that signs in. They are kept in Redis or in the database, and the same rules apply in
//! both.
//!
//! The principal of a user is looked up at each request. If the sessions are in Redis, the principal is remembered
//! there too, so that a request needs one round trip. [`Sessions::fence`] makes sure that an outdated principal is not
//! used.
mod redis;
mod rules;

pub use redis::{Fence, RedisSessions};
pub use rules::{Verdict, rotation_verdict};

use super::actor::{Actor, Proven, Unproven};
use super::limits::Limits;
use super::refresh_token::GenuineToken;
use crate::base::error::{Error, Result};
use crate::base::request::Taken;
use crate::db::jobs::{Job, JobContext};
use crate::db::sessions::{EndReason, NewSession, Rotation, StoredSession};
use crate::db::types::{Instant, SessionId, TenantId, UserId};
use crate::db::{Action, Change, Db, Origin, Principal, Scope, WriteScope, WriteTx};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// All sessions. They are kept in Redis if there is one here, and otherwise in the database.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    redis: Option<RedisSessions>,
}

/// Removes the sessions that Redis keeps of a user who was removed. The rows in the database were deleted with the
/// user.
#[derive(Serialize, Deserialize)]
pub struct RevokeSessions {
    pub user: UserId,
}

impl Job for RevokeSessions {
    const KIND: &'static str = "forget_sessions";
    type Needs = Sessions;

    async fn run(self, context: JobContext, sessions: Sessions) -> Result<()> {
        sessions.revoke_user(context.tenant()?, self.user).await
    }
}

/// One session, as its user sees it.
#[derive(Debug, Clone)]
pub struct Device {
    pub id: SessionId,
    pub device_name: Option<String>,
    pub ip: Option<String>,
    pub created_at: Instant,
    pub last_used_at: Instant,
    pub expires_at: Instant,
}

impl Sessions {
    pub fn new(db: Db, redis: Option<RedisSessions>) -> Self {
        Self { db, redis }
    }

    /// Whether sessions are kept in Redis. If so, no session can be opened or found while Redis is away.
    pub fn are_in_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// Returns the current principal of a session's user, and the state of the limits after this request. `None` if the
    /// session has ended or the user is not to be served. With sessions in Redis, one call looks up the session and the
    /// remembered principal and charges the limits.
    pub async fn admit(
        &self,
        actor: &Actor,
        session: SessionId,
        limits: &Limits,
        writes: bool,
    ) -> Result<Option<(Principal, Vec<Taken>)>> {
        let (tenant, user) = (actor.tenant(), actor.actor());
        match &self.redis {
            None => {
                let Some(principal) = self.db.principal_of_session(actor, session).await? else { return Ok(None) };
                let taken = limits.take(&limits.of_user(tenant, user, &principal, writes)).await?;
                Ok(Some((principal, taken)))
            }
            Some(redis) => redis.admit(&self.db, actor, session, Some((limits, writes))).await,
        }
    }

    /// Returns the current principal if the session has not ended and the user is still to be served. Takes no turn of
    /// any limit.
    pub async fn goes_on(&self, actor: &Actor, session: SessionId) -> Result<Option<Principal>> {
        match &self.redis {
            None => self.db.principal_of_session(actor, session).await,
            Some(redis) => Ok(redis.admit(&self.db, actor, session, None).await?.map(|(principal, _)| principal)),
        }
    }

    /// Checks, as far as that is possible in advance, that a session can be opened. Fails with 503 if Redis is away.
    /// Sign-in calls this first, so that it does not fail after the password was checked and the session was written to
    /// the audit log.
    pub async fn can_open(&self) -> Result<()> {
        match &self.redis {
            None => Ok(()),
            Some(redis) => redis.can_write().await,
        }
    }

    /// Opens a session for the actor after the password was checked. If Redis has failed since [`Self::can_open`], the
    /// end of the session is written to the database too. The audit log then shows that the session is over, and the
    /// session can't be used even if Redis did store it.
    pub async fn open(&self, actor: &Actor, session: NewSession) -> Result<()> {
        let is_kept_here = self.redis.is_none();
        let open = async |tx: &mut WriteTx| tx.open_session(&session, is_kept_here).await;
        let epoch = self.db.write(actor, open).await?;
        let Some(redis) = &self.redis else { return Ok(()) };
        let Err(error) = redis.open(actor, &session, epoch).await else { return Ok(()) };
        let (id, expires_at) = (session.id, session.expires_at);
        let end = async |tx: &mut WriteTx| tx.note_end(id, expires_at, Action::SignOut).await;
        if let Err(error) = self.db.write(actor, end).await {
            tracing::warn!(?error, session.id = %id, "The end of a session that never was can't be written down");
        }
        Err(error)
    }

    /// The session of a refresh token, and the proof that the visitor with the token is the session's user.
    pub async fn of_token(&self, token: &GenuineToken, origin: &Origin) -> Result<Option<(Proven, StoredSession)>> {
        let (tenant, id) = (token.tenant, token.session);
        let visitor = Unproven::of(tenant, origin);
        let found = match &self.redis {
            None => self.db.find_session(&visitor, id).await?,
            Some(redis) => redis.find(tenant, id).await?,
        };
        let Some(session) = found else { return Ok(None) };
        if let Some(redis) = &self.redis {
            // A Redis that was restored, or with a replica that took over, may still have a session that has ended. The
            // database has a note of each end.
            if self.db.is_end_noted(&visitor, id).await? {
                redis.end(tenant, session.user, id).await?;
                return Ok(None);
            }
        }
        Ok(Some((Proven::new(tenant, session.user), session)))
    }

    /// Replaces the token of a generation by the next one. Returns `false` if another request has done so first.
    pub async fn rotate(&self, actor: &Actor, id: SessionId, rotation: Rotation) -> Result<bool> {
        match &self.redis {
            None => self.db.rotate_session(actor, id, rotation).await,
            Some(redis) => redis.rotate(actor.tenant(), id, rotation).await,
        }
    }

    /// Ends one session of the actor. `NotFound` if the actor has no such open session. If the session is in Redis, its
    /// end is first noted in the database. If Redis then fails, the session can't be refreshed any more, and a repeated
    /// request completes the end.
    pub async fn end(&self, actor: &Actor, id: SessionId, action: Action, reason: EndReason) -> Result<()> {
        let db = &self.db;
        let Some(redis) = &self.redis else {
            return db.write(actor, async |tx: &mut WriteTx| tx.end_session(id, action, reason).await).await;
        };
        let (tenant, user) = (actor.tenant(), actor.actor());
        let session = redis.find(tenant, id).await?.filter(|session| session.user == user).ok_or(Error::NotFound)?;
        let expires_at = session.state.expires_at;
        let noted = match db.write(actor, async |tx: &mut WriteTx| tx.note_end(id, expires_at, action).await).await {
            Ok(()) => true,
            Err(Error::NotFound) => false, // its end was noted by an earlier request
            Err(error) => return Err(error),
        };
        match redis.end(tenant, user, id).await? || noted {
            true => Ok(()),
            false => Err(Error::NotFound),
        }
    }

    /// Ends all sessions of the actor.
    pub async fn end_all(&self, actor: &Actor) -> Result<()> {
        let user = actor.actor();
        let fence = self.fence(actor.tenant()).await?;
        let end = async |tx: &mut WriteTx| {
            tx.end_sessions(user, None).await?;
            tx.happened(Change::of(Action::SignOut, user)).await
        };
        let ended = self.db.write(actor, end).await;
        fence.lift().await;
        ended
    }

    /// Removes the sessions that Redis keeps of a user who was removed.
    pub async fn revoke_user(&self, tenant: TenantId, user: UserId) -> Result<()> {
        match &self.redis {
            None => Ok(()),
            Some(redis) => redis.revoke_user(tenant, user).await,
        }
    }

    /// As [`Self::revoke_user`], but for all users of a tenant that was deleted. This runs before their rows are
    /// deleted.
    pub async fn revoke_tenant(&self, tenant: TenantId) -> Result<()> {
        let Some(redis) = &self.redis else { return Ok(()) };
        let mut after = UserId::from(Uuid::nil());
        loop {
            let users = self.db.users_of_deleted(tenant, after).await?;
            for user in &users {
                redis.revoke_user(tenant, *user).await?;
            }
            match users.last() {
                Some(last) => after = *last,
                None => return Ok(()),
            }
        }
    }

    /// Moves this session of the actor into the new epoch, so that it continues. If that fails, the device has to sign
    /// in again.
    pub async fn keep(&self, actor: &Actor, id: SessionId, epoch: i64) {
        if let Err(error) = self.carry_over(actor, id, epoch).await {
            tracing::warn!(?error, session.id = %id, "A session can't be carried over: it ends");
        }
    }

    /// Moves a session into its user's new epoch. In the database, the change of the epoch has already done so.
    async fn carry_over(&self, actor: &Actor, id: SessionId, epoch: i64) -> Result<()> {
        match &self.redis {
            None => Ok(()),
            Some(redis) => redis.carry_over(actor.tenant(), id, epoch).await,
        }
    }

    /// The actor's sessions in Redis, the latest first. `None` if sessions are kept in the database, which has queries
    /// for their pages.
    pub async fn devices(&self, actor: &Actor) -> Result<Option<Vec<Device>>> {
        let Some(redis) = &self.redis else { return Ok(None) };
        let principal = self.db.principal(actor, actor.actor()).await?.ok_or(Error::InvalidToken)?;
        Ok(Some(redis.devices(actor, principal.epoch).await?))
    }

    /// Raises a fence, which the caller holds during a change that affects the principals of this tenant. Until it is
    /// lifted, no principal of the tenant is remembered. Afterwards, none from before the change is used. Without a
    /// fence, requests could continue to use an outdated principal from Redis. The fence is raised before the
    /// transaction, because a transaction must not wait for the network.
    pub async fn fence(&self, tenant: TenantId) -> Result<Fence> {
        match &self.redis {
            None => Ok(Fence::not_needed()),
            Some(redis) => redis.fence(tenant).await,
        }
    }

    /// Makes a change under a fence.
    pub async fn fenced<R>(&self, tenant: TenantId, change: impl Future<Output = Result<R>>) -> Result<R> {
        let fence = self.fence(tenant).await?;
        let result = change.await;
        fence.lift().await;
        result
    }
}
