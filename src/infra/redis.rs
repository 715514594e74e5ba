//! Redis, which replicas share: a pool whose every use is bounded in time, and which says at once that Redis is away
//! rather than let each request find out by waiting.
use crate::error::{Error, Result};
use anyhow::{Context, anyhow};
use bb8::{ManageConnection, Pool};
use bb8_redis::RedisConnectionManager;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long Redis counts as away after it failed: nobody waits for it meanwhile.
const AWAY: Duration = Duration::from_millis(300);

/// Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    pool: Pool<Manager>,
    lines: Arc<AtomicU64>,
    timeout: Duration,
    away_until: Mutex<Option<Instant>>,
}

/// How many connections there are at most, and how long a command may take.
#[derive(Debug, Clone, Copy)]
pub struct RedisOptions {
    pub pool_size: u32,
    pub timeout: Duration,
}

impl Redis {
    /// Connects when it is first used, so that a server can start while Redis is away.
    pub fn new(url: &str, options: RedisOptions) -> anyhow::Result<Self> {
        let RedisOptions { pool_size, timeout } = options;
        let inner = RedisConnectionManager::new(url).context("redis.url can't be read")?;
        let lines = Arc::new(AtomicU64::new(0));
        let manager = Manager { inner, lines: lines.clone() };
        let pool = Pool::builder()
            .max_size(pool_size)
            .connection_timeout(timeout)
            .retry_connection(false)
            .test_on_check_out(true)
            .build_unchecked(manager);
        Ok(Self(Arc::new(Inner { pool, lines, timeout, away_until: Mutex::default() })))
    }

    /// Runs a script, atomically and in one round trip. A line that was cut since its last use is replaced, once: what
    /// scripts do here may be done twice.
    pub async fn run<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T> {
        if self.is_away() {
            return Err(unavailable(anyhow!("Redis was away just now")));
        }
        let attempts = async {
            match self.attempt(invocation).await {
                Err(Failure::Line(_)) => self.attempt(invocation).await,
                done => done,
            }
        };
        let result = tokio::time::timeout(self.0.timeout, attempts).await;
        match result.unwrap_or_else(|_| Err(Failure::Line(anyhow!("Redis did not answer in time")))) {
            Ok(value) => Ok(value),
            Err(Failure::Answer(error)) => Err(unavailable(error.into())),
            Err(Failure::Line(cause)) => {
                self.0.lines.fetch_add(1, Ordering::SeqCst); // whoever waits on one of these lines should not
                *self.0.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + AWAY);
                Err(unavailable(cause))
            }
        }
    }

    async fn attempt<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Failure> {
        let line = self.0.pool.get().await;
        let mut line = line.map_err(|error| Failure::Line(anyhow!("no connection to Redis: {error}")))?;
        match invocation.invoke_async(&mut line.conn).await {
            Ok(value) => Ok(value),
            Err(error) if is_of_line(&error) => {
                // Where one line is gone, those that lie in the pool probably are too.
                let _ = self.0.lines.compare_exchange(line.number, line.number + 1, Ordering::SeqCst, Ordering::SeqCst);
                Err(Failure::Line(error.into()))
            }
            Err(error) => Err(Failure::Answer(error)),
        }
    }

    fn is_away(&self) -> bool {
        let away = self.0.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        away.is_some_and(|until| Instant::now() < until)
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<()> {
        let script = Script::new("return 1");
        let _: i64 = self.run(&script.prepare_invoke()).await?;
        Ok(())
    }
}

enum Failure {
    /// It answered, but with an error.
    Answer(RedisError),
    /// It could not be asked.
    Line(anyhow::Error),
}

/// Errors after which the connection is of no use: it is cut, or Redis is loading its data.
fn is_of_line(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_timeout() || error.is_connection_refusal()
}

fn unavailable(cause: anyhow::Error) -> Error {
    Error::Unavailable(cause)
}

/// bb8-redis asks `PING` before each use, which would double the round trips: here a connection is good until one of
/// its age has failed.
struct Manager {
    inner: RedisConnectionManager,
    lines: Arc<AtomicU64>,
}

struct Line {
    conn: MultiplexedConnection,
    /// How many failures it was made after.
    number: u64,
}

impl ManageConnection for Manager {
    type Connection = Line;
    type Error = RedisError;

    async fn connect(&self) -> Result<Line, RedisError> {
        let number = self.lines.load(Ordering::SeqCst);
        Ok(Line { conn: self.inner.connect().await?, number })
    }

    async fn is_valid(&self, line: &mut Line) -> Result<(), RedisError> {
        match line.number == self.lines.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err((redis::ErrorKind::Io, "a connection of its age has failed").into()),
        }
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        line.number != self.lines.load(Ordering::SeqCst)
    }
}
