//! A cache of answers. It is kept in Redis, which the replicas share, or in process if there is no Redis. Nothing
//! depends on it: if Redis is away or slow, or has lost an answer, the answer is made anew. The cache holds no secrets.
use super::redis::Redis;
use crate::base::crypto::sha256;
use crate::base::metrics::Metrics;
use crate::db::cache_versions::CacheScope;
use crate::db::types::{CacheVersion, TenantId};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use moka::Expiry;
use moka::sync::Cache as InProcess;
use redis::Script;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The size of the largest answer that is cached, in bytes. A larger one would push out many others.
const MAX_BYTES: usize = 256 * 1024;
/// The size of the cache in process, in bytes.
const CAPACITY: u64 = 64 * 1024 * 1024;
/// How many bytes Redis caches of one tenant's lists of one kind. Sessions and limits are kept in the same Redis, and a
/// client that sends a different request each time must not use up their memory.
const MAX_OF_TENANT: usize = 2 * 1024 * 1024;

// In Redis, one hash holds the cached answers for a tenant's lists of one kind. Its field `generation` is the cache
// version of all these answers, `bytes` is their total size, and each other field is an answer under the hash of its
// request. The hash is always deleted as a whole: when the lifetime of its first answer ends, when an answer of another
// version is stored, or when it is full.
static GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return false end \
         return redis.call('HGET', KEYS[1], ARGV[2])",
    )
});
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local bytes = tonumber(redis.call('HGET', KEYS[1], 'bytes') or '0') + #ARGV[3] \
         if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] or bytes > tonumber(ARGV[5]) then \
           redis.call('DEL', KEYS[1]) \
           redis.call('HSET', KEYS[1], 'generation', ARGV[1]) \
           redis.call('PEXPIRE', KEYS[1], ARGV[4]) \
           bytes = #ARGV[3] \
         end \
         redis.call('HSET', KEYS[1], 'bytes', bytes, ARGV[2], ARGV[3]) \
         return 1",
    )
});

/// The key of a cached answer: the tenant, the kind of its lists, the cache version of these lists, and the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    kind: &'static str,
    tenant: TenantId,
    cache_version: CacheVersion,
    /// The SHA-256 of the release and the request, in base64.
    asked: String,
}

impl CacheKey {
    /// `asked` must contain everything that the answer depends on besides the tenant's rows. For example, it contains
    /// the caller's role if the answer depends on the role.
    pub fn new(tenant: TenantId, scope: CacheScope, cache_version: CacheVersion, asked: &str) -> Self {
        // The release is part of the key, because another release may render the same answer in another form.
        let asked = sha256(format!("{}\n{asked}", env!("CARGO_PKG_VERSION")).as_bytes());
        Self { kind: scope.kind(), tenant, cache_version, asked: BASE64.encode(asked) }
    }

    /// The name of the hash in Redis.
    fn name(&self) -> String {
        format!("bc:cache:{}:{}", self.kind, self.tenant)
    }
}

/// A clone is cheap and shares the cached answers.
#[derive(Clone)]
pub struct Cache {
    store: Store,
    metrics: Metrics,
}

#[derive(Clone)]
enum Store {
    Redis(Redis),
    InProcess(InProcess<CacheKey, Kept>),
}

#[derive(Clone)]
struct Kept {
    answer: String,
    lifetime: Duration,
}

impl Cache {
    pub fn new(redis: Option<Redis>, metrics: Metrics) -> Self {
        let store = match redis {
            Some(redis) => Store::Redis(redis),
            None => {
                let bytes = |key: &CacheKey, kept: &Kept| {
                    u32::try_from(size_of::<CacheKey>() + key.asked.len() + kept.answer.len()).unwrap_or(u32::MAX)
                };
                let cache = InProcess::builder().max_capacity(CAPACITY).weigher(bytes).expire_after(Lifetime);
                Store::InProcess(cache.build())
            }
        };
        Self { store, metrics }
    }

    pub async fn get(&self, key: &CacheKey) -> Option<String> {
        let found = match &self.store {
            Store::Redis(redis) => {
                let mut get = GET.key(key.name());
                redis.run(get.arg(key.cache_version.to_string()).arg(&key.asked)).await.unwrap_or_else(passed_over)
            }
            Store::InProcess(cache) => cache.get(key).map(|kept| kept.answer),
        };
        self.metrics.looked_up(key.kind, found.is_some());
        found
    }

    pub async fn put(&self, key: CacheKey, answer: &str, lifetime: Duration) {
        if answer.len() > MAX_BYTES {
            return;
        }
        match &self.store {
            Store::Redis(redis) => {
                let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
                let mut put = PUT.key(key.name());
                put.arg(key.cache_version.to_string()).arg(key.asked).arg(answer).arg(millis).arg(MAX_OF_TENANT);
                redis.run(&put).await.map(|_: i64| ()).unwrap_or_else(passed_over);
            }
            Store::InProcess(cache) => cache.insert(key, Kept { answer: answer.to_owned(), lifetime }),
        }
    }
}

/// Goes on without the cache when Redis fails. This is logged at debug level only, because it happens in each request
/// while Redis is away.
fn passed_over<T: Default>(error: crate::base::error::Error) -> T {
    tracing::debug!(?error, "The cache is passed over");
    T::default()
}

struct Lifetime;

impl Expiry<CacheKey, Kept> for Lifetime {
    fn expire_after_create(&self, _: &CacheKey, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const CACHE_SCOPE: CacheScope = CacheScope::of("item");

    fn key(tenant: u128, cache_version: u128, asked: &str) -> CacheKey {
        CacheKey::new(Uuid::from_u128(tenant).into(), CACHE_SCOPE, Uuid::from_u128(cache_version).into(), asked)
    }

    #[tokio::test]
    async fn an_answer_is_for_its_own_question_alone() {
        let cache = Cache::new(None, Metrics::default());
        cache.put(key(1, 1, "a"), "answer", Duration::from_secs(60)).await;
        assert_eq!(cache.get(&key(1, 1, "a")).await.as_deref(), Some("answer"));
        for other in [key(2, 1, "a"), key(1, 2, "a"), key(1, 1, "b"), key(1, 1, "")] {
            assert_eq!(cache.get(&other).await, None, "{other:?}");
        }
        let text = cache.metrics.print().unwrap();
        for line in ["{cache=\"item\",result=\"hit\"} 1", "{cache=\"item\",result=\"miss\"} 4"] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_long_as_was_said() {
        let cache = Cache::new(None, Metrics::default());
        cache.put(key(1, 1, "short"), "answer", Duration::from_millis(1)).await;
        cache.put(key(1, 1, "long"), "answer", Duration::from_secs(60)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(cache.get(&key(1, 1, "short")).await, None);
        assert!(cache.get(&key(1, 1, "long")).await.is_some());
    }

    #[tokio::test]
    async fn a_long_answer_is_not_kept_and_many_have_their_bound() {
        let cache = Cache::new(None, Metrics::default());
        cache.put(key(1, 1, "long"), &"x".repeat(MAX_BYTES + 1), Duration::from_secs(60)).await;
        assert_eq!(cache.get(&key(1, 1, "long")).await, None);
        let answer = "x".repeat(MAX_BYTES);
        for n in 0..400 {
            cache.put(key(1, 1, &n.to_string()), &answer, Duration::from_secs(60)).await;
        }
        let Store::InProcess(store) = &cache.store else { panic!("it is in process") };
        store.run_pending_tasks();
        assert!(store.weighted_size() <= CAPACITY, "{} bytes", store.weighted_size());
    }
}
