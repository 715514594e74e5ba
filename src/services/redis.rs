//! A pool of connections to Redis, which the replicas share. Each use of it has a time limit. After a failure it
//! reports at once that Redis is away, so that not every request has to find that out by waiting.
use crate::base::error::{Error, Result};
use anyhow::{Context, anyhow};
use bb8::{ManageConnection, Pool, QueueStrategy};
use bb8_redis::RedisConnectionManager;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation, ServerErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How long Redis counts as away after a failure. No request waits for it during this time.
const AWAY: Duration = Duration::from_millis(300);

/// The pool. A clone is cheap and shares the connections.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    pool: Pool<Manager>,
    /// As many scripts run at once as the pool may have connections. Requests wait here in the order in which they came.
    turn: Semaphore,
    lines: Arc<AtomicU64>,
    /// How often Redis has answered.
    answers: AtomicU64,
    timeout: Duration,
    away_until: Mutex<Option<Instant>>,
}

/// The maximum number of connections and of scripts that run at once, and the time limit of a script.
#[derive(Debug, Clone, Copy)]
pub struct RedisOptions {
    pub pool_size: u32,
    pub timeout: Duration,
}

impl Redis {
    /// Makes a pool that connects when it is first used, so that a server can start while Redis is away.
    pub fn new(url: &str, options: RedisOptions) -> anyhow::Result<Self> {
        let RedisOptions { pool_size, timeout } = options;
        let inner = manager(url).context("redis.url can't be read")?;
        let lines = Arc::new(AtomicU64::new(0));
        let manager = Manager { inner, lines: lines.clone() };
        let pool = Pool::builder()
            .max_size(pool_size)
            .connection_timeout(timeout)
            .retry_connection(false)
            .test_on_check_out(true)
            .queue_strategy(QueueStrategy::Lifo) // nearly all requests get the same connection
            .build_unchecked(manager);
        let (turn, answers) = (Semaphore::new(pool_size as usize), AtomicU64::new(0));
        Ok(Self(Arc::new(Inner { pool, turn, lines, answers, timeout, away_until: Mutex::default() })))
    }

    /// Runs a script atomically and in one round trip. If the connection fails, the script is tried once more on
    /// another connection. Scripts must therefore tolerate being run twice.
    pub async fn run<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T> {
        Ok(self.ask(invocation, false).await?)
    }

    /// Like [`Self::run`], but returns `None` if Redis is away, for callers that can count in process then. If Redis is
    /// only busy, it fails. Otherwise a client that keeps Redis busy could get around the limits, because
    /// each server would start to count it from zero.
    pub async fn run_unless_away<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<Option<T>> {
        match self.ask(invocation, false).await {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Busy) => Err(Failure::Busy.into()),
            Err(failure) => {
                tracing::debug!(?failure, "What Redis counts is counted in process");
                Ok(None)
            }
        }
    }

    /// `loads` sends the script to Redis first, even if Redis has it already.
    async fn ask<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>, loads: bool) -> Result<T, Failure> {
        self.check_not_away()?;
        let _turn = self.turn().await?;
        self.check_not_away()?; // an earlier request may have found out while this one waited
        let attempts = async {
            match self.attempt(invocation, loads).await {
                Err(Failure::Connection(_)) => self.attempt(invocation, loads).await,
                done => done,
            }
        };
        let result = tokio::time::timeout(self.0.timeout, attempts).await;
        let result = result.unwrap_or_else(|_| Err(Failure::Connection(anyhow!("Redis did not answer in time"))));
        if let Err(Failure::Connection(_)) = &result {
            // All connections count as broken, so that no request goes on waiting for one of them.
            self.0.lines.fetch_add(1, Ordering::SeqCst);
            *self.0.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + AWAY);
        } else {
            self.0.answers.fetch_add(1, Ordering::SeqCst);
        }
        result
    }

    /// Waits until fewer than `pool_size` scripts run. After the time limit, Redis counts as away if it has answered
    /// no request since, and otherwise as busy.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Failure> {
        let before = self.0.answers.load(Ordering::SeqCst);
        match tokio::time::timeout(self.0.timeout, self.0.turn.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ if self.0.answers.load(Ordering::SeqCst) == before => {
                Err(Failure::Connection(anyhow!("Redis answers nobody")))
            }
            _ => Err(Failure::Busy),
        }
    }

    async fn attempt<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>, loads: bool) -> Result<T, Failure> {
        let Connection { mut conn, number } = self.connection().await?;
        let loaded = if loads { invocation.load_async(&mut conn).await.map(drop) } else { Ok(()) };
        let answer = match loaded {
            Ok(()) => invocation.invoke_async(&mut conn).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(value) => Ok(value),
            Err(error) if is_of_line(&error) => {
                // If one connection is gone, the idle ones in the pool probably are too.
                let _ = self.0.lines.compare_exchange(number, number + 1, Ordering::SeqCst, Ordering::SeqCst);
                Err(Failure::Connection(error.into()))
            }
            Err(error) => Err(Failure::Answer(error)),
        }
    }

    /// Returns a connection that other requests use at the same time. Redis answers its commands in their order. Commands
    /// that several requests send at the same time can share one packet, which costs both sides less.
    async fn connection(&self) -> Result<Connection, Failure> {
        let line = self.0.pool.get().await;
        let line = line.map_err(|error| Failure::Connection(anyhow!("no connection to Redis: {error}")))?;
        Ok(line.clone())
    }

    fn check_not_away(&self) -> Result<(), Failure> {
        match self.is_away() {
            true => Err(Failure::Connection(anyhow!("Redis was away just now"))),
            false => Ok(()),
        }
    }

    fn is_away(&self) -> bool {
        let away = self.0.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        away.is_some_and(|until| Instant::now() < until)
    }

    /// Tries everything that the server needs, including writes: a Redis that is full, or that restricts the server's
    /// user, is of no use. Returns the rights that are missing, or `None` if none is.
    pub async fn missing_rights(&self) -> Result<Option<String>> {
        let mut invocation = REHEARSAL.prepare_invoke();
        invocation.key(rehearsal_key("text")).key(rehearsal_key("hash")).key(rehearsal_key("set"));
        match self.ask::<Vec<String>>(&invocation, true).await {
            Ok(commands) if commands.is_empty() => Ok(None),
            Ok(commands) => Ok(Some(format!("+{}", commands.join(" +").to_lowercase()))),
            // Redis refused the script itself: a right to EVALSHA, SCRIPT LOAD or the server's keys is missing.
            Err(Failure::Answer(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Ok(Some(format!("one of ~{PREFIX}* +evalsha +script|load ({error})")))
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Reads the URL of a Redis server, as `config` does when it checks the settings.
pub fn manager(url: &str) -> anyhow::Result<RedisConnectionManager> {
    Ok(RedisConnectionManager::new(url)?)
}

/// The prefix of all keys of the server.
pub const PREFIX: &str = "bc:";

/// Each command that the server's scripts use, once, with arguments that do no harm. The README lists these commands
/// for operators who give the server a Redis user of its own, together with `EVALSHA` and `SCRIPT LOAD`, which run the
/// scripts. A test compares this list and the README with the scripts.
const COMMANDS: [(&str, &str); 14] = [
    ("SET", "KEYS[1], '', 'PX', 1000"),
    ("GET", "KEYS[1]"),
    ("EXISTS", "KEYS[1]"),
    ("PTTL", "KEYS[1]"),
    ("HSET", "KEYS[2], 'a', ''"),
    ("PEXPIRE", "KEYS[2], 1000"),
    ("HGET", "KEYS[2], 'a'"),
    ("HMGET", "KEYS[2], 'a'"),
    ("ZADD", "KEYS[3], 1, 'a'"),
    ("ZCOUNT", "KEYS[3], 1, 1"),
    ("ZRANGE", "KEYS[3], 0, -1"),
    ("ZREM", "KEYS[3], 'a'"),
    ("ZREMRANGEBYSCORE", "KEYS[3], 1, 1"),
    ("DEL", "KEYS[1], KEYS[2], KEYS[3]"),
];

/// Tries each command and returns those that the user may not use. Redis 6, 7 and later report this in different words.
static REHEARSAL: LazyLock<Script> = LazyLock::new(|| {
    let tries: Vec<String> = COMMANDS.iter().map(|(name, arguments)| format!("{{'{name}', {arguments}}}")).collect();
    let main = r"
local missing = {}
for _, try in ipairs(tries) do
    local answer = redis.pcall(unpack(try))
    local problem = type(answer) == 'table' and answer.err
    if problem then
        local is_right = false
        for _, words in ipairs({'NOPERM', 'ACL failure', 'user executing the script'}) do
            is_right = is_right or string.find(problem, words, 1, true)
        end
        if not is_right then return answer end
        missing[#missing + 1] = try[1]
    end
end
return missing";
    Script::new(&format!("local tries = {{{}}}{main}", tries.join(", ")))
});

/// A key for the rehearsal. The hash tag puts all these keys into one slot of a cluster. The script deletes them at its
/// end.
fn rehearsal_key(kind: &str) -> String {
    format!("{PREFIX}{{rehearsal}}:{kind}")
}

#[derive(Debug)]
enum Failure {
    /// Redis answered with an error.
    Answer(RedisError),
    /// Redis could not be asked, or did not answer in time.
    Connection(anyhow::Error),
    /// Redis answers, but other requests ran `pool_size` scripts until the time limit.
    Busy,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(match failure {
            Failure::Answer(error) => error.into(),
            Failure::Connection(cause) => cause,
            Failure::Busy => anyhow!("too many scripts wait for Redis"),
        })
    }
}

/// Whether the connection is of no use after this error, because it is cut or leads to a server that does not serve. A
/// server that has become a replica stays one, but the host name may lead to another server by now.
fn is_of_line(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
    let does_not_serve = matches!(error.kind(), ErrorKind::Server(ReadOnly | MasterDown | BusyLoading | ClusterDown));
    does_not_serve || error.is_io_error() || error.is_connection_dropped() || error.is_timeout()
}

/// Makes and checks connections. bb8-redis would send `PING` before each use, which doubles the round trips. Here a
/// connection is valid until a failure happens after it was made.
struct Manager {
    inner: RedisConnectionManager,
    lines: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Connection {
    conn: MultiplexedConnection,
    /// The number of failures before the connection was made.
    number: u64,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        let number = self.lines.load(Ordering::SeqCst);
        Ok(Connection { conn: self.inner.connect().await?, number })
    }

    async fn is_valid(&self, line: &mut Connection) -> Result<(), RedisError> {
        match line.number == self.lines.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err((redis::ErrorKind::Io, "a connection of its age has failed").into()),
        }
    }

    fn has_broken(&self, line: &mut Connection) -> bool {
        line.number != self.lines.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{join, join_all};
    use std::collections::BTreeSet;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Answers one script after the other, each after a delay.
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

    /// A pool with one connection to such a server. The time limit is 400 milliseconds for a command, and as long for
    /// the wait before it.
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

    /// The commands in all scripts of the server, found in the sources.
    fn commands_in(folder: &std::path::Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                commands_in(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let calls = text.split("redis.call('").skip(1).filter_map(|rest| rest.split_once('\''));
                found.extend(calls.map(|(command, _)| command.to_owned()).filter(|command| !command.is_empty()));
            }
        }
    }

    #[test]
    fn the_commands_that_are_tried_and_documented_are_those_of_the_scripts() {
        let mut used = BTreeSet::new();
        commands_in(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
        // This test itself contains the text that is looked for.
        used.retain(|command| command.chars().all(|c| c.is_ascii_uppercase()));
        let tried: BTreeSet<String> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(used, tried);
        let readme = include_str!("../../README.md");
        let granted = tried.iter().map(|name| format!(" +{}", name.to_lowercase()));
        let line = granted.fold(format!("~{PREFIX}* +evalsha +script|load"), |line, right| line + &right);
        assert!(readme.contains(&line), "the README must have: {line}");
    }

    #[test]
    fn who_does_not_serve_is_as_good_as_gone() {
        use ServerErrorKind::{BusyLoading, MasterDown, NoPerm, ReadOnly, ResponseError};
        let is_of_line = |kind: ServerErrorKind| is_of_line(&(ErrorKind::Server(kind), "as Redis says it").into());
        assert_eq!([ReadOnly, MasterDown, BusyLoading].map(is_of_line), [true; 3]);
        assert_eq!([ResponseError, NoPerm].map(is_of_line), [false; 2]);
    }
}
