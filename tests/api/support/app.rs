//! Servers to test: one that all tests of a run share, and ones of their own for tests that turn the clock or pull plugs.
use super::database::TestDatabase;
use super::mailbox::{Letter, Mailbox};
use super::people::{Person, Tenant};
use super::skips::skipped;
use bizcenter::app;
use bizcenter::app::Parts;
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

/// The real time, turned forward by as much as a test likes.
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
    /// Where this server's mail goes.
    pub mailbox: Mailbox,
    _stop: Arc<DropGuard>,
}

impl TestApp {
    /// The server of this run. Tests share it and its database, and keep apart by tenants.
    pub async fn start() -> Self {
        static SHARED: OnceCell<TestApp> = OnceCell::const_new();
        let shared = SHARED.get_or_init(|| async {
            // On a runtime of its own: that of the first test ends with that test.
            runtime().spawn(Self::launch(|_| {})).await.unwrap()
        });
        let shared = shared.await.clone();
        Self { http: client(), ..shared } // reqwest's connections belong to the test's own runtime
    }

    /// A server of one's own, with a database and a clock of its own.
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

    /// A server with this empty database.
    pub async fn on(database: TestDatabase, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let app = runtime().spawn(Self::launch_with(database, change)).await.unwrap();
        Self { http: client(), ..app }
    }

    async fn launch_with(database: TestDatabase, change: impl FnOnce(&mut Config) + Send) -> Self {
        migrations::up(&database.target()).await.unwrap();
        Self::launch_on(Arc::new(database), TestClock::default(), change).await
    }

    /// A second server on the same database: what one does holds on the other.
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

    /// Does all jobs that are due; the servers of tests do none by themselves.
    pub async fn run_jobs(&self) {
        let jobs = self.parts.jobs.clone();
        self.by_hand(async move { jobs.run_due().await.unwrap() }).await;
    }

    /// The mail to somebody, once there are so many. Another test may be doing the job that sends it.
    pub async fn letters_to(&self, address: &str, count: usize) -> Vec<Letter> {
        for _ in 0..100 {
            self.run_jobs().await;
            let letters = self.mailbox.to(address);
            if letters.len() >= count {
                return letters;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{address} got {} letters, not {count}", self.mailbox.to(address).len());
    }

    /// Runs what uses the server's parts by hand where the server runs: a connection to SQLite belongs to the runtime
    /// that opened it, and that of a test ends with the test.
    pub async fn by_hand<R: Send + 'static>(&self, work: impl Future<Output = R> + Send + 'static) -> R {
        runtime().spawn(work).await.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Somebody who has not signed in.
    pub fn visitor(&self) -> Person {
        Person::visitor(self)
    }

    /// A new tenant with its owner.
    pub async fn tenant(&self) -> Tenant {
        Tenant::register(self).await
    }

    /// A new tenant with an owner whose address nobody has verified.
    pub async fn unverified_tenant(&self) -> Tenant {
        Tenant::register_unverified(self).await
    }
}

/// The servers' log on standard error, for an engineer who looks for a fault: `TEST_LOG=debug`.
fn start_logging() {
    if let Ok(level) = std::env::var("TEST_LOG") {
        let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
        let _ = log.try_init(); // the second server finds it started
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// The Redis of this run; `scripts/test` starts one, but not for `--fast`.
pub fn redis_url() -> String {
    std::env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL is not set: run scripts/test")
}

/// Whether there are servers to test with besides the database; all but the quick runs on SQLite have them. Where there
/// are none, the test counts as skipped.
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

/// Where the servers run.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}
