//! Redis, which replicas share: a pool whose every use is bounded in time, and which says at once that Redis is away
//! rather than let each request find out by waiting.
use crate::error::{Error, Result};
use anyhow::{Context, anyhow};
use bb8::{ManageConnection, Pool};
use bb8_redis::RedisConnectionManager;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation, ServerErrorKind};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How long Redis counts as away after it failed: nobody waits for it meanwhile.
const AWAY: Duration = Duration::from_millis(300);

/// Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    pool: Pool<Manager>,
    /// bb8 lets a busy task overtake the waiting ones; this queue does not.
    turn: Semaphore,
    lines: Arc<AtomicU64>,
    /// How often Redis has answered.
    answers: AtomicU64,
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
        let (turn, answers) = (Semaphore::new(pool_size as usize), AtomicU64::new(0));
        Ok(Self(Arc::new(Inner { pool, turn, lines, answers, timeout, away_until: Mutex::default() })))
    }

    /// Runs a script, atomically and in one round trip. A line that was cut since its last use is replaced, once: what
    /// scripts do here may be done twice.
    pub async fn run<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T> {
        Ok(self.ask(invocation).await?)
    }

    /// The same; none where Redis is away, for what a server can count by itself then. Where it is only busy that would be a
    /// way around the limits: who keeps all connections in use would be counted from nothing, on each server.
    pub async fn run_unless_away<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<Option<T>> {
        match self.ask(invocation).await {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Busy) => Err(Failure::Busy.into()),
            Err(failure) => {
                tracing::debug!(?failure, "What Redis counts is counted in process");
                Ok(None)
            }
        }
    }

    async fn ask<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Failure> {
        self.check_not_away()?;
        let _turn = self.turn().await?;
        self.check_not_away()?; // those whose turn was before may have found out
        let attempts = async {
            match self.attempt(invocation).await {
                Err(Failure::Line(_)) => self.attempt(invocation).await,
                done => done,
            }
        };
        let result = tokio::time::timeout(self.0.timeout, attempts).await;
        let result = result.unwrap_or_else(|_| Err(Failure::Line(anyhow!("Redis did not answer in time"))));
        if let Err(Failure::Line(_)) = &result {
            self.0.lines.fetch_add(1, Ordering::SeqCst); // whoever waits on one of these lines should not
            *self.0.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + AWAY);
        } else {
            self.0.answers.fetch_add(1, Ordering::SeqCst);
        }
        result
    }

    /// Waits until fewer than all connections are in use.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Failure> {
        let before = self.0.answers.load(Ordering::SeqCst);
        match tokio::time::timeout(self.0.timeout, self.0.turn.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ if self.0.answers.load(Ordering::SeqCst) == before => Err(Failure::Line(anyhow!("Redis answers nobody"))),
            _ => Err(Failure::Busy),
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

    fn check_not_away(&self) -> Result<(), Failure> {
        match self.is_away() {
            true => Err(Failure::Line(anyhow!("Redis was away just now"))),
            false => Ok(()),
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

#[derive(Debug)]
enum Failure {
    /// It answered, but with an error.
    Answer(RedisError),
    /// It could not be asked.
    Line(anyhow::Error),
    /// It answers others, who had all connections in use until the time was over.
    Busy,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(match failure {
            Failure::Answer(error) => error.into(),
            Failure::Line(cause) => cause,
            Failure::Busy => anyhow!("all connections to Redis are in use"),
        })
    }
}

/// Errors after which the connection is of no use: it is cut, or leads to a server that does not serve. One that has become
/// a replica stays so, and its address may lead to another one by now.
fn is_of_line(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
    let does_not_serve = matches!(error.kind(), ErrorKind::Server(ReadOnly | MasterDown | BusyLoading | ClusterDown));
    does_not_serve || error.is_io_error() || error.is_connection_dropped() || error.is_timeout()
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{join, join_all};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Answers one script after the other, each after a while.
    async fn answer(mut client: TcpStream, after: Duration) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = client.read(&mut buffer).await {
            let said = String::from_utf8_lossy(&buffer[..length]);
            for command in said.split('*').skip(1) {
                let is_script = command.contains("EVALSHA");
                tokio::time::sleep(if is_script { after } else { Duration::ZERO }).await;
                client.write_all(if is_script { b":1\r\n" } else { b"+OK\r\n" }).await.unwrap();
            }
        }
    }

    /// One connection to a server of this kind, and 400 milliseconds for each command, as for the wait before it.
    async fn redis(after: Duration) -> Redis {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/0", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client, after));
            }
        });
        Redis::new(&url, RedisOptions { pool_size: 1, timeout: Duration::from_millis(400) }).unwrap()
    }

    async fn ask(redis: &Redis) -> Result<Option<i64>> {
        redis.run_unless_away(&Script::new("return 1").prepare_invoke()).await
    }

    #[tokio::test]
    async fn while_others_are_served_it_is_busy_and_not_away() {
        let redis = redis(Duration::from_millis(250)).await;
        let answers = join_all((0..6).map(|_| ask(&redis))).await;
        let served = answers.iter().filter(|answer| matches!(answer, Ok(Some(1)))).count();
        let refused = answers.iter().filter(|answer| matches!(answer, Err(Error::Unavailable(_)))).count();
        assert!(served >= 1 && refused >= 1 && served + refused == 6, "{answers:?}");
        assert_eq!(ask(&redis).await.unwrap(), Some(1));
    }

    #[tokio::test]
    async fn while_nobody_is_served_it_is_away() {
        let redis = redis(Duration::from_secs(60)).await;
        let (asking, waiting) = join(ask(&redis), ask(&redis)).await;
        assert_eq!((asking.unwrap(), waiting.unwrap()), (None, None));
        assert!(redis.is_away());
    }

    #[test]
    fn who_does_not_serve_is_as_good_as_gone() {
        use ServerErrorKind::{BusyLoading, MasterDown, NoPerm, ReadOnly, ResponseError};
        let is_of_line = |kind: ServerErrorKind| is_of_line(&(ErrorKind::Server(kind), "as Redis says it").into());
        assert_eq!([ReadOnly, MasterDown, BusyLoading].map(is_of_line), [true; 3]);
        assert_eq!([ResponseError, NoPerm].map(is_of_line), [false; 2]);
    }
}
