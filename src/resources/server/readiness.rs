//! Checks whether the server can do its work. The probe is open to everybody and has no rate limit. However many
//! requests come, the database and Redis are asked at most once a second.
use crate::base::error::{Detail, Error, Result};
use crate::db::Db;
use crate::db::key_checks::KeyWatch;
use crate::services::redis::Redis;
use poem_openapi::Enum;
use prometheus_client::metrics::counter::Counter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a result is used.
const LIFETIME: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum State {
    Up,
    Down,
    /// The server is set up without this part.
    Unused,
}

/// The result of a check.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Why the server is not ready. Empty if it is ready.
    pub problems: Detail,
    pub cache: State,
}

type Look = watch::Receiver<Option<Findings>>;

/// Checks whether the parts of the server answer. Clones share their results.
#[derive(Clone)]
pub struct ReadinessProbe {
    db: Db,
    redis: Option<Redis>,
    needs_redis: bool,
    keys: KeyWatch,
    looks: Counter,
    latest: Arc<Mutex<Option<(Instant, Look)>>>,
}

impl ReadinessProbe {
    /// `redis` holds the state that replicas share. `needs_redis` says whether the server can't work without Redis.
    /// `looks` counts the checks.
    pub fn new(db: Db, redis: Option<Redis>, needs_redis: bool, keys: KeyWatch, looks: Counter) -> Self {
        Self { db, redis, needs_redis, keys, looks, latest: Arc::default() }
    }

    /// Returns the result of a check that is running or began less than a second ago. Begins a new check if there is
    /// none.
    pub async fn look(&self) -> Result<Findings> {
        let mut look = self.latest();
        let found = look.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.ok_or_else(|| Error::Internal(anyhow::anyhow!("the probe of the server's parts broke off")))
    }

    /// The latest check, or a new one. A check runs to its end even if the request that began it is cancelled.
    /// Otherwise a client that asks and disconnects at once could begin any number of checks.
    fn latest(&self) -> Look {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner); // nothing in between can panic
        let is_good = |(began, look): &&(Instant, Look)| {
            let is_under_way = look.borrow().is_none() && look.has_changed().is_ok(); // an error if the check broke off
            is_under_way || began.elapsed() < LIFETIME
        };
        if let Some((_, look)) = latest.as_ref().filter(is_good) {
            return look.clone();
        }
        self.looks.inc();
        let (found, look) = watch::channel(None);
        *latest = Some((Instant::now(), look.clone()));
        let probe = self.clone();
        tokio::spawn(async move { found.send(Some(probe.find().await)) });
        look
    }

    async fn find(&self) -> Findings {
        let mut problems = Detail::default();
        match self.db.is_migrated().await {
            Ok(true) => self.find_key_faults(&mut problems).await,
            Ok(false) => problems.add("migrations", "are not all applied"),
            Err(error) => {
                tracing::warn!(?error, "The database is not ready");
                problems.add("database", "does not answer");
            }
        }
        let cache = match self.cache().await {
            Ok(state) => state,
            Err(problem) => {
                if self.needs_redis {
                    problems.add("cache", problem);
                }
                State::Down
            }
        };
        Findings { problems, cache }
    }

    /// The state of Redis, or the problem with it.
    async fn cache(&self) -> Result<State, &'static str> {
        let Some(redis) = &self.redis else { return Ok(State::Unused) };
        match redis.missing_rights().await {
            Ok(None) => Ok(State::Up),
            Ok(Some(rights)) => {
                tracing::warn!(
                    redis.missing_rights = rights,
                    "Redis is not ready: its user has not all rights that the server needs"
                );
                Err("does not grant its user all rights that the server needs")
            }
            Err(error) => {
                tracing::warn!(?error, "Redis is not ready");
                Err("does not answer")
            }
        }
    }

    /// Checks the master keys. The ids of faulty keys go to the log only, because everybody can read the answer of the
    /// probe.
    async fn find_key_faults(&self, problems: &mut Detail) {
        match self.keys.find_faults().await {
            Ok(ids) if ids.is_empty() => {}
            Ok(ids) => {
                tracing::error!(
                    key.ids = ids.join(", "),
                    "A master key is missing, or is not the one of this database"
                );
                problems.add("encryption", "is down, because a key does not decrypt the data");
            }
            Err(error) => {
                tracing::warn!(?error, "The encryption keys can't be verified");
                problems.add("database", "does not answer");
            }
        }
    }
}
