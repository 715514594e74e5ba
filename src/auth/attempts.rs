//! Limits the guessing of passwords. After some failures for a name, an account or an IP address, each further try has
//! to wait, and the wait doubles each time. A try is counted before the password is checked, so that parallel tries
//! can't get around the limit.
use super::limits::network;
use crate::base::crypto::sha256_hex;
use crate::base::env::Env;
use crate::base::error::{Error, Result};
use crate::db::types::UserId;
use crate::services::redis::Redis;
use moka::sync::Cache;
use redis::{Script, ScriptInvocation};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

/// The longest wait. Failures are remembered for the same time.
const MEMORY: Duration = Duration::from_secs(15 * 60);
const MEMORY_MICROS: i64 = 15 * 60 * 1_000_000;
const FIRST_WAIT_MICROS: i64 = 1_000_000;

const MAX_KEYS: u64 = 200_000;

/// The failures of one name, account or address. Times are in microseconds since 1970.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Failures {
    count: u32,
    last: i64,
    /// A try before this time is refused.
    until: i64,
}

/// Counts one more try as a failure and returns the new record. If the try comes too early, returns how long it has to
/// wait as the error.
fn next_failure(failures: Failures, now: i64, threshold: u32) -> Result<Failures, Duration> {
    if now < failures.until {
        let wait = (failures.until - now).min(MEMORY_MICROS); // the clock may have been turned back
        return Err(Duration::from_micros(wait.unsigned_abs()));
    }
    // The memory starts at the end of the last wait, because no try was possible while it lasted.
    let is_forgotten = now - failures.last.max(failures.until) >= MEMORY_MICROS;
    let before = if is_forgotten { 0 } else { failures.count };
    let count = before.saturating_add(1);
    let wait = match count.checked_sub(threshold) {
        Some(beyond) => (FIRST_WAIT_MICROS << beyond.min(20)).min(MEMORY_MICROS),
        None => 0,
    };
    // Without a wait this is 0 and not `now`: a parallel try with an earlier time may come later and must not be refused.
    let until = if wait == 0 { 0 } else { now + wait };
    Ok(Failures { count, last: now, until })
}

/// Takes one failure back: the password of the try was right, or was not checked.
fn forgiven(failures: Failures) -> Failures {
    Failures { count: failures.count.saturating_sub(1), until: 0, ..failures }
}

/// [`next_failure`] as a Redis script. It returns how long the try has to wait, in microseconds.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local now, threshold, memory, first = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'count', 'last', 'until')
local count, last, free = tonumber(kept[1] or 0), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
if now < free then return math.min(free - now, memory) end
if now - math.max(last, free) >= memory then count = 0 end
count = count + 1
local wait, free = 0, 0 -- not `now`: a try that was asked about later may arrive before this one
if count >= threshold then
    wait = math.min(first * 2 ^ math.min(count - threshold, 20), memory)
    free = now + wait
end
local number = function(value) return string.format('%.0f', value) end
redis.call('HSET', KEYS[1], 'count', number(count), 'last', number(now), 'until', number(free))
redis.call('PEXPIRE', KEYS[1], number(math.ceil((wait + memory) / 1000)))
return 0",
    )
});
/// [`forgiven`] as a Redis script.
static FORGIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local count = tonumber(redis.call('HGET', KEYS[1], 'count') or 0)
if count <= 1 then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'count', string.format('%.0f', count - 1), 'until', '0')
return redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[1] / 1000))",
    )
});
static CLEAR: LazyLock<Script> = LazyLock::new(|| Script::new("redis.call('DEL', KEYS[1]) return 0"));

/// Counts failed sign-ins.
#[derive(Clone)]
pub struct Attempts {
    /// The numbers of failures after which tries have to wait: first for a name or an account, second for an address.
    /// `None` if limits are off.
    thresholds: Option<(u32, u32)>,
    redis: Option<Redis>,
    local: Cache<String, Failures>,
    env: Env,
}

/// A try that was let through and is counted as a failure. The caller calls [`Attempt::succeed`] if the password was
/// right and [`Attempt::discard`] if it was not checked. After a wrong password the caller drops the try.
#[must_use]
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    /// The keys with failures that are deleted if the password is right.
    own: Vec<String>,
    address: String,
    /// Whether the account has to wait because of failures by its other name. The caller must then answer as if the
    /// password were wrong: an answer that asks to wait would reveal that both names belong to one person.
    pub is_locked: bool,
}

impl Attempts {
    pub fn new(thresholds: Option<(u32, u32)>, redis: Option<Redis>, env: Env) -> Self {
        let local = Cache::builder().max_capacity(MAX_KEYS).time_to_live(2 * MEMORY).build();
        Self { thresholds, redis, local, env }
    }

    /// Counts a try to sign in by a name, whether or not the name exists. Fails with 429 if the name or the address has
    /// to wait. `account` is the id of the user with that name, or the name itself if there is no such user, so that
    /// both cases take equally long.
    pub async fn begin(&self, name: &str, account: &str, ip: Option<IpAddr>) -> Result<Attempt<'_>> {
        let mut attempt = self.begin_one(name_key(name), ip).await?;
        if let Some((of_account, _)) = self.thresholds {
            let account = account_key(account);
            match self.count(&account, of_account).await {
                Ok(()) => attempt.own.push(account),
                Err(Error::RateLimited { .. }) => attempt.is_locked = true,
                Err(error) => {
                    attempt.discard().await;
                    return Err(error);
                }
            }
        }
        Ok(attempt)
    }

    /// Counts a try to enter the current password by a user who is signed in. These tries have a count of their own,
    /// because failed sign-ins must not keep the user from changing the password.
    pub async fn begin_reauthentication(&self, user: UserId, ip: Option<IpAddr>) -> Result<Attempt<'_>> {
        self.begin_one(reauthentication_key(user), ip).await
    }

    async fn begin_one(&self, own: String, ip: Option<IpAddr>) -> Result<Attempt<'_>> {
        let address = format!("bc:failures:{}", network(ip));
        if let Some((of_account, of_address)) = self.thresholds {
            self.count(&own, of_account).await?;
            if let Err(error) = self.count(&address, of_address).await {
                self.forgive(&own).await;
                return Err(error);
            }
        }
        Ok(Attempt { attempts: self, own: vec![own], address, is_locked: false })
    }

    /// Deletes all failures of a user who has proved in another way that the account is theirs.
    pub async fn reset(&self, user: UserId, names: &[&str]) {
        if self.thresholds.is_some() {
            let keys = [account_key(&user.to_string()), reauthentication_key(user)];
            for key in names.iter().map(|name| name_key(name)).chain(keys) {
                self.clear(&key).await;
            }
        }
    }

    async fn count(&self, key: &str, threshold: u32) -> Result<()> {
        let now = self.env.now().timestamp_micros();
        let mut script = COUNT.prepare_invoke();
        script.key(key).arg(now).arg(threshold).arg(MEMORY_MICROS).arg(FIRST_WAIT_MICROS);
        let wait = match self.shared(&script).await? {
            Some(wait) => Duration::from_micros(wait.unsigned_abs()),
            None => self.locally(key, |failures| next_failure(failures, now, threshold)),
        };
        if wait.is_zero() { Ok(()) } else { Err(Error::RateLimited { retry_after: wait }) }
    }

    async fn forgive(&self, key: &str) {
        if let Ok(None) = self.shared(FORGIVE.prepare_invoke().key(key).arg(MEMORY_MICROS)).await {
            self.locally(key, |failures| Ok(forgiven(failures)));
        }
    }

    async fn clear(&self, key: &str) {
        if let Ok(None) = self.shared(CLEAR.prepare_invoke().key(key)).await {
            self.locally(key, |_| Ok(Failures::default()));
        }
    }

    /// Runs a script in Redis. Returns `None` if there is no Redis or it is away. The caller then counts in process.
    async fn shared(&self, script: &ScriptInvocation<'_>) -> Result<Option<i64>> {
        match &self.redis {
            Some(redis) => redis.run_unless_away(script).await,
            None => Ok(None),
        }
    }

    /// Changes the failures that are kept in process. Returns how long to wait if `change` refuses the try, and zero
    /// otherwise.
    fn locally(&self, key: &str, change: impl Fn(Failures) -> Result<Failures, Duration>) -> Duration {
        let mut wait = Duration::ZERO;
        self.local.entry_by_ref(key).and_upsert_with(|entry| {
            let before = entry.map(moka::Entry::into_value).unwrap_or_default();
            change(before).unwrap_or_else(|refused| {
                wait = refused;
                before
            })
        });
        wait
    }
}

impl Attempt<'_> {
    /// Ends a try with the right password. Deletes the failures of the name and the account, and takes this try back
    /// from the count of the address.
    pub async fn succeed(self) {
        let Self { attempts, own, address, is_locked: _ } = self;
        if attempts.thresholds.is_some() {
            for key in &own {
                attempts.clear(key).await;
            }
            attempts.forgive(&address).await;
        }
    }

    /// Ends a try in which the server failed before it had checked the password. Takes the try back from all counts.
    pub async fn discard(self) {
        let Self { attempts, own, address, is_locked: _ } = self;
        if attempts.thresholds.is_some() {
            for key in own.iter().chain([&address]) {
                attempts.forgive(key).await;
            }
        }
    }
}

fn name_key(name: &str) -> String {
    key("name", name)
}
fn account_key(account: &str) -> String {
    key("account", account)
}
fn reauthentication_key(user: UserId) -> String {
    key("inside", &user.to_string())
}
fn key(kind: &str, of: &str) -> String {
    format!("bc:failures:{kind}:{}", sha256_hex(of.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let mut failures = Failures::default();
        let mut now = 1_800_000_000 * SECOND;
        for _ in 0..4 {
            failures = next_failure(failures, now, 5).unwrap();
            assert!(failures.until <= now);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            failures = next_failure(failures, now, 5).unwrap();
            assert_eq!(failures.until - now, seconds * SECOND);
            assert_eq!(next_failure(failures, now, 5), Err(Duration::from_secs(seconds.unsigned_abs())));
            assert!(next_failure(failures, failures.until - 1, 5).is_err());
            now = failures.until;
        }
    }

    #[test]
    fn a_try_that_comes_late_is_judged_as_if_it_were_in_time() {
        let first = next_failure(Failures::default(), 1_000_000 * SECOND, 5).unwrap();
        assert_eq!(next_failure(first, 999_999 * SECOND, 5).unwrap().count, 2);
    }

    #[test]
    fn failures_are_forgotten_after_a_quarter_of_an_hour() {
        let failures = Failures { count: 4, last: 0, until: 0 };
        assert_eq!(next_failure(failures, MEMORY_MICROS - 1, 5).unwrap().count, 5);
        assert_eq!(next_failure(failures, MEMORY_MICROS, 5).unwrap().count, 1);
    }

    #[tokio::test]
    async fn parallel_tries_are_counted_before_they_are_judged() {
        let attempts = Attempts::new(Some((5, 50)), None, Env::real());
        let ip = Some("192.0.2.1".parse().unwrap());
        let tries = futures_util::future::join_all((0..20).map(|_| attempts.begin("ada", "1", ip))).await;
        assert_eq!(tries.iter().filter(|result| result.is_ok()).count(), 5);
        let refused = tries.into_iter().find_map(Result::err);
        assert!(matches!(refused, Some(Error::RateLimited { .. })));
    }

    #[tokio::test]
    async fn success_clears_the_account_and_an_address_has_its_own_count() {
        let attempts = Attempts::new(Some((2, 4)), None, Env::real());
        let ip = Some("192.0.2.1".parse().unwrap());
        let _ = attempts.begin("ada", "1", ip).await.unwrap();
        attempts.begin("ada", "1", ip).await.unwrap().succeed().await;
        let _ = attempts.begin("ada", "1", ip).await.unwrap();
        let _ = attempts.begin("ben", "2", ip).await.unwrap();
        let _ = attempts.begin("cleo", "3", ip).await.unwrap();
        assert!(attempts.begin("dan", "4", ip).await.is_err(), "four failures from there");
        assert!(attempts.begin("dan", "4", Some("192.0.2.2".parse().unwrap())).await.is_ok());
    }

    #[tokio::test]
    async fn another_name_of_an_account_that_waits_is_tried_in_vain() {
        let attempts = Attempts::new(Some((2, 100)), None, Env::real());
        let user = UserId::from(uuid::Uuid::from_u128(1));
        let account = user.to_string();
        for _ in 0..2 {
            assert!(!attempts.begin("ada", &account, None).await.unwrap().is_locked);
        }
        assert!(attempts.begin("ada", &account, None).await.is_err());
        let other = attempts.begin("ada@example.com", &account, None).await.unwrap();
        assert!(other.is_locked);
        other.discard().await; // this takes back only what was counted: not the failures of the locked account
        assert!(attempts.begin("ada@example.com", &account, None).await.unwrap().is_locked);
        assert!(attempts.begin_reauthentication(user, None).await.is_ok());
        attempts.reset(user, &["ada", "ada@example.com"]).await;
        assert!(!attempts.begin("ada", &account, None).await.unwrap().is_locked);
    }
}
