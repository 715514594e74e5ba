//! Sessions: one a device that signs in. They are kept in Redis or in the database; the rules are the same.
//!
//! The principal of a user is looked up at each request. With sessions in Redis it is remembered there too, so
//! that a request needs one round trip; [`Sessions::fence`] keeps what is remembered true.
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

/// All sessions: in Redis where that is given, in the database otherwise.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    redis: Option<RedisSessions>,
}

/// Removes what Redis keeps of the sessions of a user who was removed. The database's rows went with the user.
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

    /// Whether they are kept in Redis: without it, none can be opened or found.
    pub fn are_in_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// What the user of a session is now, and how the limits stand after this request; none where session or user are
    /// not to be served. The session, user and limits are asked for at once, where they are in one place.
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

    /// Whether the session still is to be served; it costs no turn of any limit.
    pub async fn goes_on(&self, actor: &Actor, session: SessionId) -> Result<Option<Principal>> {
        match &self.redis {
            None => self.db.principal_of_session(actor, session).await,
            Some(redis) => Ok(redis.admit(&self.db, actor, session, None).await?.map(|(principal, _)| principal)),
        }
    }

    /// Whether a session could be opened, as far as that can be known before: 503 where Redis is away. A sign-in asks this
    /// first, rather than find it out once the password was checked and the session is in the audit log.
    pub async fn can_open(&self) -> Result<()> {
        match &self.redis {
            None => Ok(()),
            Some(redis) => redis.can_write().await,
        }
    }

    /// Opens a session for the actor, whose password was checked. Where Redis has gone since [`Self::can_open`], its end is
    /// written down too: the audit log tells of none that never was, and it is over should Redis have it after all.
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

    /// The session of a refresh token, and the proof that the visitor who brings the token is its user.
    pub async fn of_token(&self, token: &GenuineToken, origin: &Origin) -> Result<Option<(Proven, StoredSession)>> {
        let (tenant, id) = (token.tenant, token.session);
        let visitor = Unproven::of(tenant, origin);
        let found = match &self.redis {
            None => self.db.find_session(&visitor, id).await?,
            Some(redis) => redis.find(tenant, id).await?,
        };
        let Some(session) = found else { return Ok(None) };
        if let Some(redis) = &self.redis {
            // A Redis that was restored, or whose replica took over, may have a session that ended since. The database knows.
            if self.db.is_end_noted(&visitor, id).await? {
                redis.end(tenant, session.user, id).await?;
                return Ok(None);
            }
        }
        Ok(Some((Proven::new(tenant, session.user), session)))
    }

    /// Puts the next token in the place of a generation: `false` where another request was faster.
    pub async fn rotate(&self, actor: &Actor, id: SessionId, rotation: Rotation) -> Result<bool> {
        match &self.redis {
            None => self.db.rotate_session(actor, id, rotation).await,
            Some(redis) => redis.rotate(actor.tenant(), id, rotation).await,
        }
    }

    /// Ends one session of the actor: `NotFound` where there is none that is open. The end of one in Redis is written down
    /// first: should Redis fail then, a repeat finishes it, and no refresh goes on meanwhile.
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
            Err(Error::NotFound) => false, // noted before
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

    /// Removes what Redis keeps of the sessions of a user who was removed.
    pub async fn revoke_user(&self, tenant: TenantId, user: UserId) -> Result<()> {
        match &self.redis {
            None => Ok(()),
            Some(redis) => redis.revoke_user(tenant, user).await,
        }
    }

    /// The same for all users of a tenant that was deleted, before their rows go.
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

    /// Lets this session of the actor go on in the new epoch. Where that fails its device has to sign in again.
    pub async fn keep(&self, actor: &Actor, id: SessionId, epoch: i64) {
        if let Err(error) = self.carry_over(actor, id, epoch).await {
            tracing::warn!(?error, session.id = %id, "A session can't be carried over: it ends");
        }
    }

    /// Carries a session that goes on into its user's new epoch. The database did it with the change itself.
    async fn carry_over(&self, actor: &Actor, id: SessionId, epoch: i64) -> Result<()> {
        match &self.redis {
            None => Ok(()),
            Some(redis) => redis.carry_over(actor.tenant(), id, epoch).await,
        }
    }

    /// The actor's sessions in Redis, the latest first; none where they are in the database, which pages them itself.
    pub async fn devices(&self, actor: &Actor) -> Result<Option<Vec<Device>>> {
        let Some(redis) = &self.redis else { return Ok(None) };
        let principal = self.db.principal(actor, actor.actor()).await?.ok_or(Error::InvalidToken)?;
        Ok(Some(redis.devices(actor, principal.epoch).await?))
    }

    /// To be held while something is changed that the principals of this tenant are made of: nothing of them is
    /// remembered meanwhile, and nothing from before afterwards. Without it Redis could go on with what was. It is taken
    /// before the transaction, as no network is waited for within one.
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
