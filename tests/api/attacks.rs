//! Attacks by one account or one IP address on a server in a process of its own. Other users must not notice them.
//!
//! `scripts/prove attacks` runs them at full size against a release build and prints the figures; `scripts/test` runs
//! them at a small size. Counts and bounds are asserted in both, times only at full size.
use crate::cli::bizcenter;
use crate::support::{TestDatabase, not_for_this_run, shares_redis};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

mod connections;
mod readiness;
mod searches;
mod unread;
mod uploads;

const MIB: u64 = 1024 * 1024;

/// Whether `scripts/prove` runs the test.
fn is_full_size() -> bool {
    std::env::var("TEST_PROVE").is_ok()
}

/// The size of an attack: `full` in `scripts/prove`, otherwise `small`.
fn size(small: usize, full: usize) -> usize {
    if is_full_size() { full } else { small }
}

/// Prints a figure for the results.
macro_rules! figure {
    ($($text:tt)*) => {
        eprintln!("figure: {:?}: {}", crate::support::Kind::of_this_run(), format!($($text)*))
    };
}
use figure;

/// A server in a process of its own.
struct Server {
    child: Child,
    address: String,
    metrics: String,
    http: reqwest::Client,
    _database: TestDatabase,
}

/// The owner of a tenant on this server.
#[derive(Clone)]
struct Account {
    token: String,
    url: String,
    http: reqwest::Client,
}

impl Server {
    /// Starts a server with these settings. `None` if this run would only repeat another run.
    async fn start(settings: &[(&str, &str)]) -> Option<Self> {
        if shares_redis() {
            not_for_this_run("what is attacked here is the same with sessions in Redis");
            return None;
        }
        let database = TestDatabase::create().await;
        let mut command = match std::env::var("TEST_BINARY") {
            Ok(binary) => {
                let mut command = Command::new(binary);
                command.current_dir(database.folder.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
                command
            }
            Err(_) => bizcenter(database.folder.path(), &[]),
        };
        command
            .env("PORT", "0")
            .env("DATABASE_URL", &database.url)
            .env("BIZCENTER_METRICS__ADDRESS", "127.0.0.1:0")
            .env("BIZCENTER_AUTH__BCRYPT_COST", "4")
            .env("BIZCENTER_RATE_LIMIT__ENABLED", "false")
            .env("BIZCENTER_LOG__LEVEL", "bizcenter::cli=info")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut metrics = String::new();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("the server starts");
            if let Some((_, address)) = line.split_once("Metrics at ") {
                address.trim().clone_into(&mut metrics);
            }
            if let Some((_, address)) = line.split_once("Documentation at ") {
                break address.trim().trim_end_matches("/docs").to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http = reqwest::Client::builder().pool_max_idle_per_host(100).build().unwrap();
        Some(Self { child, address, metrics, http, _database: database })
    }

    /// The host and port of the server.
    fn authority(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    async fn account(&self, name: &str) -> Account {
        let email = format!("owner@{name}.example");
        let password = "correct horse battery";
        let input = json!({"email": email, "password": password, "name": "Owner", "tenant_id": name});
        let register = self.http.post(format!("{}/api/v1/auth/register", self.address)).json(&input);
        assert_eq!(register.send().await.unwrap().status(), 201);
        let input = json!({"email": email, "password": password});
        let login = self.http.post(format!("{}/api/v1/auth/login", self.address)).json(&input);
        let answer: Value = login.send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        Account { token, url: self.address.clone(), http: self.http.clone() }
    }

    /// How many bytes of memory the process uses (Linux: proc(5), `VmRSS`).
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The value of one of the server's metrics.
    async fn metric(&self, name: &str) -> u64 {
        let text = self.http.get(&self.metrics).send().await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
    }
}

impl Account {
    async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await.unwrap()
    }

    /// Creates this many records.
    async fn fill(&self, path: &str, body: Value, count: usize) {
        let create = |_| {
            let call = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(&body);
            async move { call.send().await.unwrap().status() }
        };
        let created: Vec<StatusCode> = stream::iter(0..count).map(create).buffer_unordered(8).collect().await;
        assert!(created.iter().all(|status| *status == 201), "{created:?}");
    }
}

/// The 99th percentile.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// What other users experience in this time: how long their answers took, and how many were errors of the server.
async fn bystanders(accounts: &[Account], lasting: Duration) -> (Vec<Duration>, usize) {
    let until = Instant::now() + lasting;
    let reader = |account: &Account| {
        let account = account.clone();
        async move {
            let (mut times, mut errors) = (vec![], 0);
            while Instant::now() < until {
                for path in ["/api/v1/tasks", "/api/v1/auth/me"] {
                    let began = Instant::now();
                    let response = account.get(path).await;
                    errors += usize::from(response.status().is_server_error());
                    response.bytes().await.unwrap();
                    times.push(began.elapsed());
                }
                sleep(Duration::from_millis(5)).await; // the pace of a reader
            }
            (times, errors)
        }
    };
    let all = join_all(accounts.iter().map(reader)).await;
    (all.iter().flat_map(|(times, _)| times.clone()).collect(), all.iter().map(|(_, errors)| errors).sum())
}
