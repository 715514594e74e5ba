//! Rate limits by GCRA (the generic cell rate algorithm, ITU-T I.371), which keeps one time for each key. The times are
//! kept in Redis if there is one. Otherwise, and while Redis is away, they are kept in this process.
use crate::base::env::Env;
use crate::base::error::{Error, Result};
use crate::base::formats::subscriber;
use crate::base::request::Taken;
use crate::config::RateLimitConfig;
use crate::db::principals::Principal;
use crate::db::types::{SessionId, TenantId, UserId};
use crate::services::redis::Redis;
use moka::sync::Cache;
use redis::Script;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many keys are kept in process. Each takes about 100 bytes.
const MAX_KEYS: u64 = 200_000;

/// How long a refused user is refused again without a look-up. If an admin raises a limit, it takes effect after this
/// time at the latest.
const REFUSAL_REMEMBERED: Duration = Duration::from_secs(1);

/// One limit of one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The name of the limit in `RateLimit-Policy`.
    pub policy: &'static str,
    /// The key under which the turns of this caller are counted.
    pub key: String,
    pub quota: u32,
    pub window: Duration,
}

impl Limit {
    /// The microseconds by which one request moves the key's time forward.
    pub fn interval(&self) -> i64 {
        (micros(self.window) / i64::from(self.quota)).max(1)
    }

    /// The report of a turn. `ahead` is how far the key's time is ahead of now after this request. `wait` is how long
    /// the request has to wait, or 0 if it was let through. Both are in microseconds.
    fn taken(&self, ahead: i64, wait: i64) -> Taken {
        let interval = self.interval();
        let remaining = (interval * i64::from(self.quota) - ahead).max(0) / interval;
        Taken {
            policy: self.policy,
            quota: self.quota,
            window: self.window,
            remaining: if wait > 0 { 0 } else { u32::try_from(remaining).unwrap_or_default() },
            reset: from_micros(ahead),
            wait: (wait > 0).then(|| from_micros(wait)),
        }
    }
}

/// Counts one more request at `now`. Returns the new time of the key, how far it is ahead of `now`, and how long to
/// wait if it would be too far ahead. A refused request does not change the time.
fn gcra(time: Option<i64>, now: i64, limit: &Limit) -> (i64, i64, i64) {
    let burst = limit.interval() * i64::from(limit.quota);
    // A clock that was set back must not lock callers out for long.
    let time = time.unwrap_or(now).clamp(now, now + burst);
    let ahead = time + limit.interval() - now;
    if ahead > burst { (time, time - now, ahead - burst) } else { (time + limit.interval(), ahead, 0) }
}

/// The same algorithm in Redis, for several limits at once. Each limit is a table {key, quota, interval}. Either all
/// limits are charged or none. For each limit, the script returns how far its time is ahead and how long to wait.
pub const GCRA: &str = r"
local function take(limits, now)
    local turns, refused = {}, false
    for i, limit in ipairs(limits) do
        local burst = limit[2] * limit[3]
        local time = tonumber(redis.call('GET', limit[1]) or now)
        time = math.min(math.max(time, now), now + burst)
        local ahead = time + limit[3] - now
        if ahead > burst then
            refused = true
            turns[i] = {time, time - now, ahead - burst}
        else
            turns[i] = {time + limit[3], ahead, 0}
        end
    end
    local answer = {}
    for i, turn in ipairs(turns) do
        if refused and turn[3] == 0 then
            turn[2] = turn[2] - limits[i][3]
        end
        if not refused then
            local kept = math.ceil(turn[2] / 1000) + 1
            redis.call('SET', limits[i][1], string.format('%.0f', turn[1]), 'PX', string.format('%.0f', kept))
        end
        answer[2 * i - 1], answer[2 * i] = turn[2], turn[3]
    end
    return answer
end
";

static TAKE: LazyLock<Script> = LazyLock::new(|| {
    let main = r"
local limits = {}
for i, key in ipairs(KEYS) do
    limits[i] = {key, tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])}
end
return take(limits, tonumber(ARGV[1]))";
    Script::new(&format!("{GCRA}{main}"))
});
static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| {
    let main = r"
local time = tonumber(redis.call('GET', KEYS[1]))
if time then
    redis.call('SET', KEYS[1], string.format('%.0f', time - tonumber(ARGV[1])), 'KEEPTTL')
end
return 1";
    Script::new(main)
});

/// All limits of a server.
#[derive(Clone)]
pub struct Limits {
    config: Arc<RateLimitConfig>,
    redis: Option<Redis>,
    local: Cache<String, i64>,
    /// The last refusals of users and API keys: the time until which a refusal is valid, and the state of the limits.
    refused: Cache<(TenantId, Uuid, bool), (i64, Vec<Taken>)>,
    env: Env,
}

impl Limits {
    pub fn new(config: RateLimitConfig, redis: Option<Redis>, env: Env) -> Self {
        let local = Cache::builder().max_capacity(MAX_KEYS).time_to_idle(DAY).build();
        let refused = Cache::builder().max_capacity(MAX_KEYS).time_to_live(MINUTE).build();
        Self { config: Arc::new(config), redis, local, refused, env }
    }

    /// The state of the limits of a user or an API key, if it was refused within the last second and still has to wait.
    /// Such a request is refused without a look-up. Otherwise each request would take a turn at the database to find
    /// the role and state of the account, however often the client calls.
    pub fn still_refused(&self, tenant: TenantId, who: Uuid, writes: bool) -> Option<Vec<Taken>> {
        let (until, taken) = self.refused.get(&(tenant, who, writes))?;
        (self.now() < until).then_some(taken)
    }

    /// Remembers a refusal for [`Self::still_refused`].
    pub fn remember_refusal(&self, tenant: TenantId, who: Uuid, writes: bool, taken: &[Taken]) {
        if let Some(wait) = taken.iter().filter_map(|taken| taken.wait).max() {
            let until = self.now() + micros(wait.min(REFUSAL_REMEMBERED));
            self.refused.insert((tenant, who, writes), (until, taken.to_vec()));
        }
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    pub fn are_on(&self) -> bool {
        self.config.enabled
    }

    pub fn anonymous(&self, ip: Option<IpAddr>) -> Limit {
        self.of_address("anonymous", ip, self.config.anonymous_per_hour, HOUR)
    }
    pub fn register(&self, ip: Option<IpAddr>) -> Limit {
        self.of_address("register", ip, self.config.register_per_minute, MINUTE)
    }
    pub fn login(&self, ip: Option<IpAddr>) -> Limit {
        self.of_address("login", ip, self.config.login_per_minute, MINUTE)
    }
    pub fn refresh(&self, tenant: TenantId, session: SessionId) -> Limit {
        let key = format!("bc:{{{tenant}}}:limit:refresh:{session}");
        Limit { policy: "refresh", key, quota: self.config.refresh_per_minute, window: MINUTE }
    }

    /// Changes of a user's e-mail address.
    pub fn email_changes(&self, tenant: TenantId, user: UserId) -> Limit {
        let (key, quota) = (key_of(tenant, user, "email-changes"), self.config.email_changes_per_hour);
        Limit { policy: "email-changes", key, quota, window: HOUR }
    }
    /// Usernames that a user tries to take.
    pub fn username_changes(&self, tenant: TenantId, user: UserId) -> Limit {
        let (key, quota) = (key_of(tenant, user, "username-changes"), self.config.username_changes_per_hour);
        Limit { policy: "username-changes", key, quota, window: HOUR }
    }
    /// Invitations by a tenant. A new tenant may send fewer.
    pub fn invitations(&self, tenant: TenantId, is_new: bool) -> Limit {
        let RateLimitConfig { invitations_per_day: quota, invitations_per_day_new_tenant: of_new, .. } = *self.config;
        let quota = if is_new { quota.min(of_new) } else { quota };
        Limit { policy: "invitations", key: format!("bc:{{{tenant}}}:limit:invitations"), quota, window: DAY }
    }
    /// Invitations from one IP address, by any tenant.
    pub fn invitations_from(&self, ip: Option<IpAddr>) -> Limit {
        self.of_address("invitations-address", ip, self.config.invitations_per_day_per_ip, DAY)
    }
    /// All invitations by new tenants. Their limit is half of the server's, so that tenants that were created only to
    /// send invitations do not use up what the other tenants need.
    pub fn all_invitations_of_new(&self) -> Limit {
        let (key, quota) = ("bc:limit:invitations-new".to_owned(), self.config.invitations_per_day_in_all.div_ceil(2));
        Limit { policy: "invitations-new", key, quota, window: DAY }
    }
    /// All invitations that the server sends. Other mail does not count against this limit.
    pub fn all_invitations(&self) -> Limit {
        let (key, quota) = ("bc:limit:invitations-all".to_owned(), self.config.invitations_per_day_in_all);
        Limit { policy: "invitations-all", key, quota, window: DAY }
    }

    /// Reads of a calendar feed.
    pub fn feed(&self, tenant: TenantId, feed: Uuid) -> Limit {
        let key = format!("bc:{{{tenant}}}:limit:feed:{feed}");
        Limit { policy: "feed", key, quota: self.config.feed_per_hour, window: HOUR }
    }

    /// Requests with the access token of a session that has ended. They have a limit of their own, because otherwise a
    /// stranger who has kept the token could use up the limit of the user.
    pub fn ended(&self, tenant: TenantId, session: SessionId) -> Limit {
        let (key, quota) = (format!("bc:{{{tenant}}}:limit:ended:{session}"), self.config.user_per_hour);
        Limit { policy: "user", key, quota, window: HOUR }
    }

    fn of_address(&self, policy: &'static str, ip: Option<IpAddr>, quota: u32, window: Duration) -> Limit {
        Limit { policy, key: format!("bc:limit:{policy}:{}", network(ip)), quota, window }
    }

    /// The limits of a user's request. `writes` is true for a request that changes something.
    pub fn of_user(&self, tenant: TenantId, user: UserId, principal: &Principal, writes: bool) -> Vec<Limit> {
        let per_hour = principal.user_requests_per_hour.unwrap_or(self.config.user_per_hour);
        self.signed_in("user", per_hour, tenant, user, principal, writes)
    }

    /// The limits of a request with an API key of a service account.
    pub fn of_api_key(&self, tenant: TenantId, user: UserId, principal: &Principal, writes: bool) -> Vec<Limit> {
        let per_hour = principal.api_key_requests_per_hour.unwrap_or(self.config.api_key_per_hour);
        self.signed_in("api-key", per_hour, tenant, user, principal, writes)
    }

    /// The keys of the limits of [`Self::of_user`]. They are known before the principal is.
    pub fn keys_of(&self, tenant: TenantId, user: UserId, writes: bool) -> Vec<String> {
        let names: &[&str] = match (self.config.enabled, writes) {
            (false, _) => &[],
            (true, false) => &["requests"],
            (true, true) => &["requests", "writes"],
        };
        names.iter().map(|name| key_of(tenant, user, name)).collect()
    }

    fn signed_in(
        &self,
        policy: &'static str,
        tenants: u32,
        tenant: TenantId,
        user: UserId,
        principal: &Principal,
        writes: bool,
    ) -> Vec<Limit> {
        if !self.config.enabled {
            return vec![];
        }
        // The account's own limit can only lower the tenant's.
        let quota = principal.requests_per_hour.map_or(tenants, |own| own.min(tenants));
        let key = |name: &str| key_of(tenant, user, name);
        let mut limits = vec![Limit { policy, key: key("requests"), quota, window: HOUR }];
        if writes {
            let quota = principal.user_writes_per_minute.unwrap_or(self.config.writes_per_minute);
            limits.push(Limit { policy: "writes", key: key("writes"), quota, window: MINUTE });
        }
        limits
    }

    /// Takes a turn of each limit. If one limit is used up, no turn is taken.
    pub async fn take(&self, limits: &[Limit]) -> Result<Vec<Taken>> {
        if !self.config.enabled || limits.is_empty() {
            return Ok(vec![]);
        }
        if let Some(redis) = &self.redis {
            let mut invocation = TAKE.prepare_invoke();
            invocation.arg(self.now());
            for limit in limits {
                invocation.key(&limit.key).arg(limit.quota).arg(limit.interval());
            }
            if let Some(answer) = redis.run_unless_away::<Vec<i64>>(&invocation).await? {
                return Ok(read_taken(limits, &answer));
            }
        }
        Ok(self.take_locally(limits))
    }

    /// Gives back a turn that was taken in advance.
    pub async fn give_back(&self, limit: &Limit) -> Result<()> {
        if !self.config.enabled {
            return Ok(());
        }
        if let Some(redis) = &self.redis {
            let mut invocation = GIVE_BACK.prepare_invoke();
            invocation.key(&limit.key).arg(limit.interval());
            if redis.run_unless_away::<i64>(&invocation).await?.is_some() {
                return Ok(());
            }
        }
        let give_back = |entry: Option<moka::Entry<String, i64>>| match entry {
            Some(entry) => moka::ops::compute::Op::Put(entry.into_value() - limit.interval()),
            None => moka::ops::compute::Op::Nop,
        };
        self.local.entry_by_ref(&limit.key).and_compute_with(give_back);
        Ok(())
    }

    /// The state of a limit, if it is used up according to this process. Takes no turn.
    pub fn used_up_here(&self, limit: &Limit) -> Option<Taken> {
        let time = self.local.get(&limit.key)?;
        let (_, ahead, wait) = gcra(Some(time), self.now(), limit);
        (wait > 0).then(|| limit.taken(ahead, wait))
    }

    /// As [`Self::take`], but only in this process. It is for limits that need not be exact.
    pub fn take_here(&self, limit: Limit) -> Vec<Taken> {
        if self.config.enabled { self.take_locally(&[limit]) } else { vec![] }
    }

    fn take_locally(&self, limits: &[Limit]) -> Vec<Taken> {
        let now = self.now();
        let turns = |limit: &Limit| {
            let (_, ahead, wait) = gcra(self.local.get(&limit.key), now, limit);
            limit.taken(if wait > 0 { ahead } else { ahead - limit.interval() }, wait)
        };
        let looked: Vec<_> = limits.iter().map(turns).collect();
        if looked.iter().any(|taken| taken.wait.is_some()) {
            return looked; // none of them was charged
        }
        let take = |limit: &Limit| {
            let mut turn = (0, 0);
            self.local.entry_by_ref(&limit.key).and_upsert_with(|entry| {
                let (time, ahead, wait) = gcra(entry.map(moka::Entry::into_value), now, limit);
                turn = (ahead, wait);
                time
            });
            limit.taken(turn.0, turn.1)
        };
        limits.iter().map(take).collect()
    }

    fn now(&self) -> i64 {
        self.env.now().timestamp_micros()
    }
}

/// Reads the answer of the script, which has for each limit how far its time is ahead and how long to wait.
pub fn read_taken(limits: &[Limit], answer: &[i64]) -> Vec<Taken> {
    let pairs = answer.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    limits.iter().zip(pairs).map(|(limit, (ahead, wait))| limit.taken(ahead, wait)).collect()
}

/// Fails with 429 and the longest wait if a limit is used up.
pub fn check(taken: &[Taken]) -> Result<()> {
    match taken.iter().filter_map(|taken| taken.wait).max() {
        Some(retry_after) => Err(Error::RateLimited { retry_after }),
        None => Ok(()),
    }
}

fn key_of(tenant: TenantId, user: UserId, name: &str) -> String {
    format!("bc:{{{tenant}}}:limit:{name}:{user}")
}

/// The part of a key that stands for one address. All addresses of an IPv6 network count as one.
pub fn network(ip: Option<IpAddr>) -> String {
    ip.map_or_else(|| "unknown".to_owned(), |ip| subscriber(ip).to_string())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn from_micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn limit() -> Limit {
        Limit { policy: "test", key: "k".into(), quota: 5, window: MINUTE }
    }

    #[test]
    fn a_burst_of_the_quota_then_one_an_interval() {
        let mut time = None;
        let mut ask = |now| {
            let (next, _, wait) = gcra(time, now, &limit());
            time = Some(next);
            wait
        };
        assert_eq!([0; 5].map(&mut ask), [0; 5]);
        assert_eq!(ask(0), 12 * SECOND);
        assert_eq!(ask(5 * SECOND), 7 * SECOND, "a refused request costs nothing");
        assert_eq!(ask(12 * SECOND), 0);
        assert_eq!(ask(12 * SECOND), 12 * SECOND);
        assert_eq!([120 * SECOND; 5].map(&mut ask), [0; 5]);
    }

    #[test]
    fn what_remains_is_told() {
        let taken = |time, now| {
            let (_, ahead, wait) = gcra(time, now, &limit());
            limit().taken(ahead, wait)
        };
        let first = taken(None, 0);
        assert_eq!((first.remaining, first.reset, first.wait), (4, Duration::from_secs(12), None));
        let refused = taken(Some(60 * SECOND), 0);
        assert_eq!((refused.remaining, refused.wait), (0, Some(Duration::from_secs(12))));
        assert!(check(&[first]).is_ok() && check(&[refused]).is_err());
    }

    #[test]
    fn a_clock_turned_back_locks_nobody_out_for_longer_than_a_window() {
        let (_, _, wait) = gcra(Some(1_000_000 * SECOND), 0, &limit());
        assert!(wait <= 12 * SECOND);
    }

    #[test]
    fn an_ipv6_network_is_one_caller() {
        let of = |ip: &str| network(Some(ip.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
