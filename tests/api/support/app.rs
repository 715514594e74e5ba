//! The servers that tests call: one that all tests of a run share, and separate ones for tests that advance the clock
//! or interrupt connections.
use super::catalogue::Catalogue;
use super::database::TestDatabase;
use super::mailbox::{Letter, Mailbox};
use super::people::{Person, Tenant};
use super::s3::S3;
use super::skips::skipped;
use super::waiting::until;
use bizcenter::app::{self, Parts};
use bizcenter::base::env::Env;
use bizcenter::config::{Config, DatabaseUrl};
use bizcenter::db::migrations;
use bizcenter::server::serve::serve;
use chrono::{DateTime, Duration, Utc};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The real time plus an offset that tests can increase.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
    }

    fn now(&self) -> DateTime<Utc> {
        Env::real().now() + Duration::milliseconds(self.0.load(Ordering::SeqCst))
    }
}

/// A running server.
#[derive(Clone)]
pub struct TestApp {
    pub address: SocketAddr,
    pub clock: TestClock,
    pub database: Arc<TestDatabase>,
    pub parts: Parts,
    pub config: Arc<Config>,
    pub http: reqwest::Client,
    /// Receives the mail of this server, unless the test sets another mail server.
    pub mailbox: Mailbox,
    _stop: Arc<DropGuard>,
}

impl TestApp {
    /// The server that all tests of this run share, with its database. Each test has tenants of its own.
    pub async fn start() -> Self {
        static SHARED: OnceCell<TestApp> = OnceCell::const_new();
        let shared = SHARED.get_or_init(|| async {
            // The server needs a runtime of its own, because the runtime of the first test ends with that test. Its files
            // are in S3, so that no operation is refused for want of it.
            let launch = async {
                let s3 = S3::start().await;
                let settings = s3.clone();
                std::mem::forget(s3); // it serves until all tests have ended
                Self::launch(move |config| settings.configure(config)).await
            };
            runtime().spawn(launch).await.unwrap()
        });
        let shared = shared.await.clone();
        Self { http: client(), ..shared } // reqwest's connections belong to the test's own runtime
    }

    /// A server for one test, with its own database and clock.
    pub async fn alone() -> Self {
        Self::with(|_| {}).await
    }

    /// As [`Self::alone`], with other settings.
    pub async fn with(change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let app = runtime().spawn(Self::launch(change)).await.unwrap();
        Self { http: client(), ..app }
    }

    async fn launch(change: impl FnOnce(&mut Config) + Send) -> Self {
        Self::launch_with(TestDatabase::create().await, change).await
    }

    /// A server on this empty database, which is migrated first.
    pub async fn on(database: TestDatabase, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let app = runtime().spawn(Self::launch_with(database, change)).await.unwrap();
        Self { http: client(), ..app }
    }

    async fn launch_with(database: TestDatabase, change: impl FnOnce(&mut Config) + Send) -> Self {
        migrations::up(&database.target()).await.unwrap();
        Self::launch_on(Arc::new(database), TestClock::default(), change).await
    }

    /// A second server with the same database and clock. Changes made through one server take effect on the other.
    pub async fn replica(&self) -> Self {
        self.replica_with(|_| {}).await
    }

    /// As [`Self::replica`], with other settings.
    pub async fn replica_with(&self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let launch = Self::launch_on(self.database.clone(), self.clock.clone(), change);
        let app = runtime().spawn(launch).await.unwrap();
        Self { http: client(), ..app }
    }

    async fn launch_on(database: Arc<TestDatabase>, clock: TestClock, change: impl FnOnce(&mut Config) + Send) -> Self {
        start_logging();
        let folder = database.folder.path().to_owned();
        let url = DatabaseUrl::parse(&database.url, &folder).unwrap();
        let mut config = Config::for_tests(folder, url).unwrap();
        config.database.pooler = database.pooler;
        let (mailbox, smtp_url) = Mailbox::start().await;
        config.mail.smtp_url = Some(smtp_url.into());
        if shares_redis() {
            config.redis.url = Some(redis_url().into());
        }
        change(&mut config);
        let (time, real) = (clock.clone(), Env::real());
        let env = Env::new(
            move || time.now(),
            move |bytes| {
                for byte in bytes {
                    [*byte] = real.random_bytes();
                }
            },
        );
        let parts = app::connect(&config, env).await.unwrap();
        let endpoint = app::server(&parts, &config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let options = app::serve_options(&parts, &config.server);
        tokio::spawn(serve(listener, endpoint, options, stop.clone()));
        let (config, stop) = (Arc::new(config), Arc::new(stop.drop_guard()));
        Self { address, clock, database, parts, config, http: client(), mailbox, _stop: stop }
    }

    /// Runs all jobs that are due. The servers of tests run no jobs by themselves.
    pub async fn run_jobs(&self) {
        let jobs = self.parts.jobs.clone();
        self.by_hand(async move { jobs.run_due().await.unwrap() }).await;
    }

    /// Waits until this many mails have come to the address, and returns all of them. Another test may be running the
    /// job that sends one of them, so they may come later.
    pub async fn letters_to(&self, address: &str, count: usize) -> Vec<Letter> {
        let has_come = async || {
            self.run_jobs().await;
            self.mailbox.to(address).len() >= count
        };
        until(&format!("{address} got {count} letters"), has_come).await;
        self.mailbox.to(address)
    }

    /// Waits for a mail to this address with a token of this prefix, and returns the latest such token.
    pub async fn mailed(&self, address: &str, prefix: &str) -> String {
        for count in 1.. {
            let letters = self.letters_to(address, count).await;
            if let Some(letter) = letters.iter().rfind(|letter| letter.text.contains(prefix)) {
                return letter.token(prefix);
            }
        }
        unreachable!()
    }

    /// The tables, keys and references of this server's database.
    pub async fn catalogue(&self) -> Catalogue {
        Catalogue::of(self.database.clone()).await
    }

    /// Runs code that uses the server's parts directly, on the runtime of the servers. A connection to SQLite belongs
    /// to the runtime that opened it, and the runtime of a test ends with the test.
    pub async fn by_hand<R: Send + 'static>(&self, work: impl Future<Output = R> + Send + 'static) -> R {
        runtime().spawn(work).await.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A caller who has not signed in.
    pub fn visitor(&self) -> Person {
        Person::visitor(self)
    }

    /// A new tenant with an owner. The owner's address is verified.
    pub async fn tenant(&self) -> Tenant {
        Tenant::register(self).await
    }

    /// A new tenant with an owner. The owner's address is not verified.
    pub async fn unverified_tenant(&self) -> Tenant {
        Tenant::register_unverified(self).await
    }
}

/// Writes the servers' log to standard error at the level in `TEST_LOG`, such as `TEST_LOG=debug`.
fn start_logging() {
    if let Ok(level) = std::env::var("TEST_LOG") {
        let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
        let _ = log.try_init(); // this fails from the second server on, because the log is already started
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // the client needs one, even without TLS
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// The URL of this run's Redis. `scripts/test` starts one, except with `--fast`.
pub fn redis_url() -> String {
    std::env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL is not set: run scripts/test")
}

/// Whether this run has a Redis and a mail server. Only the quick runs on SQLite have none. Without them, the test
/// counts as skipped.
#[track_caller]
pub fn has_servers() -> bool {
    let has = std::env::var("TEST_REDIS_URL").is_ok() && std::env::var("TEST_SMTP_URL").is_ok();
    if !has {
        skipped("there is no Redis and no mail server (TEST_REDIS_URL, TEST_SMTP_URL)");
    }
    has
}

/// Whether all servers of this run keep sessions and limits in Redis.
pub fn shares_redis() -> bool {
    std::env::var("TEST_SESSIONS").is_ok_and(|store| store == "redis")
}

/// The runtime of the servers.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}
