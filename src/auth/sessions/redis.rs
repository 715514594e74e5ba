//! Sessions in Redis. All keys of a tenant have the tenant's id as their hash tag, so that all keys of a script are on
//! one node of a cluster.
//!
//! | key | content |
//! |---|---|
//! | `…:session:<id>` | a hash: one session. It is deleted when the session expires |
//! | `…:sessions:<user>` | a sorted set: the ids of a user's sessions by their time of expiry |
//! | `…:standing:<user>` | a hash: the principal of the user, as it was in the database at generation `gen` |
//! | `…:gen` | a random text that is replaced after each change to the principal of any user of the tenant |
//! | `…:fences` | a sorted set: the changes under way, by the time at which their fence expires |
//! | `bc:tried` | a key of no tenant, written to test whether Redis accepts writes |
mod admission;

use admission::{ADMIT, Admitted};

use crate::auth::Actor;
use crate::auth::limits::{Limits, read_taken};
use crate::auth::sessions::Device;
use crate::base::env::Env;
use crate::base::error::{Error, Result};
use crate::base::request::Taken;
use crate::db::sessions::{NewSession, Rotation, SessionState, StoredSession};
use crate::db::types::{Instant, SessionId, TenantId, UserId};
use crate::db::{Db, Principal, Scope, WriteScope};
use crate::services::redis::Redis;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use chrono::{DateTime, Duration};
use redis::Script;
use std::sync::LazyLock;
use uuid::Uuid;

/// How long a principal is remembered. If Redis loses its last second of writes in a crash, its data can be wrong for
/// no longer than this.
const REMEMBERED_MILLIS: i64 = 60_000;
/// How much longer a fence lasts than two request timeouts. The margin covers a commit that was under way when its
/// request ended, and differences between the clocks of servers.
const FENCE_MARGIN: Duration = Duration::seconds(60);
/// How many sessions a user can have. A new session replaces the one that expires first.
const MAX_SESSIONS: usize = 1000;

#[derive(Clone)]
pub struct RedisSessions {
    redis: Redis,
    env: Env,
    /// How long a fence lasts if it is not lifted: until no server can still remember a principal from before the
    /// change. The change ends by the deadline of its own request. A server that read the principal just before the
    /// change remembers it by the deadline of the request for which it read the principal.
    fence: Duration,
}

/// Remembers a principal, unless a principal of the tenant was changed after this one was read.
static REMEMBER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('ZCOUNT', KEYS[3], ARGV[1], '+inf') > 0 then return 0 end
local gen = redis.call('GET', KEYS[2]) or ''
if gen ~= ARGV[2] then return 0 end
if gen == '' then
    gen = ARGV[5]
    redis.call('SET', KEYS[2], gen)
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'gen', gen, 'json', ARGV[3], 'epoch', ARGV[6])
for i = 7, #ARGV, 2 do
    local number = string.format('%.0f', (i - 5) / 2)
    redis.call('HSET', KEYS[1], 'quota' .. number, ARGV[i], 'interval' .. number, ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1",
    )
});

/// Raises a fence. No principal is remembered until the fence is lifted or expires, and those that were remembered
/// before are no longer used.
static FENCE_UP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
redis.call('SET', KEYS[1], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], math.max(ARGV[4], redis.call('PTTL', KEYS[2])))
return 1",
    )
});
static FENCE_DOWN: LazyLock<Script> =
    LazyLock::new(|| Script::new("redis.call('SET', KEYS[1], ARGV[2]) redis.call('ZREM', KEYS[2], ARGV[1]) return 1"));

/// Tests Redis with a write, because a server that is full, or that is a replica, still answers reads.
static TRY: LazyLock<Script> = LazyLock::new(|| Script::new("redis.call('SET', KEYS[1], '', 'PX', 1000) return 1"));
static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
for _, oldest in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1 - ARGV[5])) do
    redis.call('ZREM', KEYS[2], oldest)
    redis.call('DEL', KEYS[3] .. oldest)
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1",
    )
});
static FIND: LazyLock<Script> = LazyLock::new(|| {
    Script::new("return redis.call('HMGET', KEYS[1], 'user', 'hash', 'gen', 'rotated', 'expires', 'epoch')")
});
/// Replaces the token, if the session still has the expected generation.
static ROTATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('HGET', KEYS[1], 'gen') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'gen', ARGV[2], 'hash', ARGV[3], 'rotated', ARGV[4], 'expires', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local sessions = KEYS[2] .. redis.call('HGET', KEYS[1], 'user')
redis.call('ZADD', sessions, 'XX', ARGV[5], ARGV[7])
redis.call('PEXPIRE', sessions, ARGV[6])
return 1",
    )
});
/// Ends a session of this user. Returns 1 for only one of several concurrent calls.
static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('HGET', KEYS[1], 'user') ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])",
    )
});
static CARRY_OVER: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'epoch', ARGV[1]) end return 1")
});
static DEVICES: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local devices = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local device = redis.call('HMGET', KEYS[2] .. id, 'device', 'ip', 'created', 'rotated', 'expires', 'epoch')
    if device[3] then devices[#devices + 1] = {id, unpack(device)} end
end
return devices",
    )
});

/// Deletes all keys of a user.
static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('DEL', KEYS[2] .. id)
end
return redis.call('DEL', KEYS[1], KEYS[3])",
    )
});

type Found = (Option<String>, Option<String>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
type FoundDevice = (String, Option<String>, Option<String>, i64, i64, i64, i64);

fn key(tenant: TenantId, rest: &str) -> String {
    format!("bc:{{{tenant}}}:{rest}")
}
fn session_key(tenant: TenantId, id: SessionId) -> String {
    key(tenant, &format!("session:{id}"))
}
fn sessions_key(tenant: TenantId, user: UserId) -> String {
    key(tenant, &format!("sessions:{user}"))
}

fn instant(micros: i64) -> Result<Instant> {
    let time = DateTime::from_timestamp_micros(micros);
    time.map(Instant::from).ok_or_else(|| Error::Internal(anyhow::anyhow!("a session in Redis has an odd time")))
}

impl RedisSessions {
    /// `request_timeout` is the deadline of a request.
    pub fn new(redis: Redis, env: Env, request_timeout: Duration) -> Self {
        Self { redis, env, fence: request_timeout * 2 + FENCE_MARGIN }
    }

    pub(super) async fn admit(
        &self,
        db: &Db,
        actor: &Actor,
        session: SessionId,
        limits: Option<(&Limits, bool)>,
    ) -> Result<Option<(Principal, Vec<Taken>)>> {
        let (tenant, user, now) = (actor.tenant(), actor.actor(), self.now());
        let mut invocation = ADMIT.prepare_invoke();
        invocation
            .key(session_key(tenant, session))
            .key(key(tenant, &format!("standing:{user}")))
            .key(key(tenant, "gen"))
            .key(key(tenant, "fences"))
            .arg(now)
            .arg(user.to_string());
        for limit in limits.iter().flat_map(|(limits, writes)| limits.keys_of(tenant, user, *writes)) {
            invocation.key(limit);
        }
        let answer: String = self.redis.run(&invocation).await?;
        let odd = || Error::Internal(anyhow::anyhow!("an answer of Redis can't be read"));
        let Admitted { session, generation, principal, limits: answered } = Admitted::read(&answer).ok_or_else(odd)?;
        let Some((of, epoch, expires)) = session else { return Ok(None) };
        if of != user.to_string() || expires <= now {
            return Ok(None);
        }
        let of_user = |principal: &Principal| {
            limits.map(|(limits, writes)| limits.of_user(tenant, user, principal, writes)).unwrap_or_default()
        };
        let (principal, taken) = match principal.and_then(|json| serde_json::from_str::<Principal>(json).ok()) {
            Some(principal) => {
                let taken = read_taken(&of_user(&principal), &answered);
                (principal, taken)
            }
            None => {
                let Some(principal) = db.principal(actor, user).await? else { return Ok(None) };
                if epoch < principal.epoch {
                    return Ok(None);
                }
                self.remember(tenant, user, generation, &principal, limits.map(|(limits, _)| limits)).await?;
                let taken = match limits {
                    Some((limits, _)) => limits.take(&of_user(&principal)).await?,
                    None => vec![],
                };
                (principal, taken)
            }
        };
        Ok((epoch >= principal.epoch).then_some((principal, taken)))
    }

    async fn remember(
        &self,
        tenant: TenantId,
        user: UserId,
        generation: &str,
        principal: &Principal,
        limits: Option<&Limits>,
    ) -> Result<()> {
        let Some(limits) = limits else { return Ok(()) }; // `ADMIT` can't use a principal without its quotas
        let json = serde_json::to_string(principal).map_err(|error| Error::Internal(error.into()))?;
        let mut invocation = REMEMBER.prepare_invoke();
        invocation
            .key(key(tenant, &format!("standing:{user}")))
            .key(key(tenant, "gen"))
            .key(key(tenant, "fences"))
            .arg(self.now())
            .arg(generation)
            .arg(json)
            .arg(REMEMBERED_MILLIS)
            .arg(self.env.uuid().to_string())
            .arg(principal.epoch);
        for limit in limits.of_user(tenant, user, principal, true) {
            invocation.arg(limit.quota).arg(limit.interval());
        }
        let _: i64 = self.redis.run(&invocation).await?;
        Ok(())
    }

    pub(super) async fn can_write(&self) -> Result<()> {
        let _: i64 = self.redis.run(TRY.prepare_invoke().key("bc:tried")).await?;
        Ok(())
    }

    pub(super) async fn open(&self, actor: &Actor, session: &NewSession, epoch: i64) -> Result<()> {
        let NewSession { id, token_hash, device_name, expires_at, checked: _, renewed: _ } = session;
        let (tenant, user, now) = (actor.tenant(), actor.actor(), self.now());
        let mut invocation = OPEN.prepare_invoke();
        invocation
            .key(session_key(tenant, *id))
            .key(sessions_key(tenant, user))
            .key(key(tenant, "session:"))
            .arg(now)
            .arg(self.millis_until(*expires_at))
            .arg(expires_at.0.timestamp_micros())
            .arg(id.to_string())
            .arg(MAX_SESSIONS)
            .arg(("user", user.to_string(), "epoch", epoch, "gen", 0, "hash", BASE64.encode(token_hash)))
            .arg(("created", now, "rotated", now, "expires", expires_at.0.timestamp_micros()));
        if let Some(device) = device_name {
            invocation.arg("device").arg(device);
        }
        if let Some(ip) = actor.origin().ip {
            invocation.arg("ip").arg(ip.to_string());
        }
        let _: i64 = self.redis.run(&invocation).await?;
        Ok(())
    }

    pub(super) async fn find(&self, tenant: TenantId, id: SessionId) -> Result<Option<StoredSession>> {
        let found: Found = self.redis.run(FIND.prepare_invoke().key(session_key(tenant, id))).await?;
        let (Some(user), Some(hash), Some(generation), Some(rotated), Some(expires), Some(epoch)) = found else {
            return Ok(None);
        };
        let odd = || Error::Internal(anyhow::anyhow!("a session in Redis can't be read"));
        Ok(Some(StoredSession {
            user: Uuid::parse_str(&user).map_err(|_| odd())?.into(),
            token_hash: BASE64.decode(hash).map_err(|_| odd())?,
            state: SessionState {
                generation,
                rotated_at: instant(rotated)?,
                expires_at: instant(expires)?,
                has_ended: false,
            },
            epoch,
        }))
    }

    pub(super) async fn rotate(&self, tenant: TenantId, id: SessionId, rotation: Rotation) -> Result<bool> {
        let Rotation { from, token_hash, expires_at } = rotation;
        let mut invocation = ROTATE.prepare_invoke();
        invocation
            .key(session_key(tenant, id))
            .key(key(tenant, "sessions:"))
            .arg(from)
            .arg(from + 1)
            .arg(BASE64.encode(token_hash))
            .arg(self.now())
            .arg(expires_at.0.timestamp_micros())
            .arg(self.millis_until(expires_at))
            .arg(id.to_string());
        let swapped: i64 = self.redis.run(&invocation).await?;
        Ok(swapped == 1)
    }

    /// Ends a session of this user. Returns whether there was one.
    pub(super) async fn end(&self, tenant: TenantId, user: UserId, id: SessionId) -> Result<bool> {
        let mut invocation = END.prepare_invoke();
        invocation
            .key(session_key(tenant, id))
            .key(sessions_key(tenant, user))
            .arg(id.to_string())
            .arg(user.to_string());
        let ended: i64 = self.redis.run(&invocation).await?;
        Ok(ended == 1)
    }

    pub(super) async fn carry_over(&self, tenant: TenantId, id: SessionId, epoch: i64) -> Result<()> {
        let _: i64 = self.redis.run(CARRY_OVER.prepare_invoke().key(session_key(tenant, id)).arg(epoch)).await?;
        Ok(())
    }

    /// Removes all sessions of a user who was removed. The sessions are over, but they still contain IP addresses and
    /// device names.
    pub(super) async fn revoke_user(&self, tenant: TenantId, user: UserId) -> Result<()> {
        let mut invocation = FORGET.prepare_invoke();
        invocation
            .key(sessions_key(tenant, user))
            .key(key(tenant, "session:"))
            .key(key(tenant, &format!("standing:{user}")));
        let _: i64 = self.redis.run(&invocation).await?;
        Ok(())
    }

    /// The sessions of the current epoch, the latest first.
    pub(super) async fn devices(&self, actor: &Actor, epoch: i64) -> Result<Vec<Device>> {
        let (tenant, user) = (actor.tenant(), actor.actor());
        let mut invocation = DEVICES.prepare_invoke();
        invocation.key(sessions_key(tenant, user)).key(key(tenant, "session:"));
        let found: Vec<FoundDevice> = self.redis.run(&invocation).await?;
        let now = self.now();
        let mut devices = vec![];
        for (id, device_name, ip, created, rotated, expires, of_epoch) in found {
            let Ok(id) = Uuid::parse_str(&id) else { continue };
            if of_epoch >= epoch && expires > now {
                let (created_at, last_used_at) = (instant(created)?, instant(rotated)?);
                let expires_at = instant(expires)?;
                devices.push(Device { id: id.into(), device_name, ip, created_at, last_used_at, expires_at });
            }
        }
        devices.sort_by_key(|device| std::cmp::Reverse((device.created_at, device.id)));
        Ok(devices)
    }

    pub(super) async fn fence(&self, tenant: TenantId) -> Result<Fence> {
        let id = self.env.uuid().to_string();
        let (now, until) = (self.env.now(), self.env.now() + self.fence);
        let mut invocation = FENCE_UP.prepare_invoke();
        invocation
            .key(key(tenant, "gen"))
            .key(key(tenant, "fences"))
            .arg(now.timestamp_micros())
            .arg(until.timestamp_micros())
            .arg(&id)
            .arg(self.fence.num_milliseconds());
        let _: i64 = self.redis.run(&invocation).await?;
        Ok(Fence(Some(Raised { redis: self.redis.clone(), tenant, id, after: self.env.uuid().to_string() })))
    }

    fn now(&self) -> i64 {
        self.env.now().timestamp_micros()
    }

    fn millis_until(&self, time: Instant) -> i64 {
        (time.0 - self.env.now()).num_milliseconds().max(1)
    }
}

/// See [`super::Sessions::fence`]. A fence that is dropped without [`Fence::lift`] lasts until it expires.
#[must_use]
pub struct Fence(Option<Raised>);

struct Raised {
    redis: Redis,
    tenant: TenantId,
    id: String,
    /// The generation that begins when the fence is lifted.
    after: String,
}

impl Fence {
    pub(super) fn not_needed() -> Self {
        Self(None)
    }

    /// Lifts the fence after the change has succeeded or failed. If Redis can't be reached, no principal of the tenant
    /// is remembered until the fence expires after some minutes.
    pub async fn lift(self) {
        let Some(Raised { redis, tenant, id, after }) = self.0 else { return };
        let mut invocation = FENCE_DOWN.prepare_invoke();
        invocation.key(key(tenant, "gen")).key(key(tenant, "fences")).arg(id).arg(after);
        if let Err(error) = redis.run::<i64>(&invocation).await {
            tracing::warn!(?error, "A fence can't be lifted: it stands until it is over");
        }
    }
}
