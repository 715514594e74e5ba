//! Clients that request large answers and do not read them.
use super::{Account, MIB, Server, figure, is_full_size, size};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long frames may wait to be sent. In `scripts/prove` this is the default.
fn write_timeout() -> (&'static str, &'static str) {
    ("BIZCENTER_SERVER__WRITE_TIMEOUT_SECONDS", if is_full_size() { "30" } else { "3" })
}

/// The time after which all connections must be closed.
fn cut_within() -> Duration {
    Duration::from_secs(size(6, 45) as u64)
}

/// How many requests wait at once for the head of their answer.
const AT_A_TIME: usize = 16;

/// An answer that nobody reads, and its connection.
struct Stalled {
    body: Incoming,
    _connection: SendRequest<Empty<Bytes>>,
}

/// Sends a request over HTTP/2 with a tiny window. `None` if the server refuses it.
async fn stall(server: &Server, account: &Account, path: &str) -> Option<Stalled> {
    let io = TokioIo::new(TcpStream::connect(server.authority()).await.unwrap());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.initial_stream_window_size(1024).handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("{}{path}", server.address));
    let request = request.header("authorization", format!("Bearer {}", account.token)).body(Empty::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    match response.status().as_u16() {
        200 => Some(Stalled { body: response.into_body(), _connection: client }),
        429 | 503 => None,
        status => panic!("{path}: {status}"),
    }
}

async fn accounts(server: &Server, count: usize, meetings: usize) -> Vec<Account> {
    let meeting = json!({
        "title": "Long", "agenda": "\u{1f600}".repeat(20_000),
        "starts_at": "2026-05-18T09:00:00Z", "ends_at": "2026-05-18T10:00:00Z",
    });
    let mut accounts = vec![];
    for index in 0..count {
        let account = server.account(&format!("stalling-{index}")).await;
        account.fill("/api/v1/meetings", meeting.clone(), meetings).await;
        accounts.push(account);
    }
    accounts
}

/// Stalls this many requests, by these accounts in turn. Measures the memory meanwhile and after all have ended.
async fn attack(server: &Server, accounts: &[Account], path: &str, count: usize) -> (usize, u64) {
    // These requests run as many at once as in the attack. Afterwards the server has allocated what reading needs, such
    // as SQLite's page cache for each connection.
    let whole = async |account: &Account| account.get(path).await.bytes().await.unwrap().len();
    let lengths: Vec<usize> = stream::iter(accounts).map(whole).buffer_unordered(AT_A_TIME).collect().await;
    assert!(lengths.iter().all(|length| *length > 512 * 1024), "{lengths:?}: nothing to stall on");
    let before = server.memory();
    let began = Instant::now();
    let requests = stream::iter(0..count).map(|index| stall(server, &accounts[index % accounts.len()], path));
    let stalled: Vec<Stalled> =
        requests.buffer_unordered(AT_A_TIME).filter_map(async |stalled| stalled).collect().await;
    let asked = Instant::now();
    let mut most = server.memory();
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await; // between two measurements
        most = most.max(server.memory());
    }
    let grown = most.saturating_sub(before);
    figure!(
        "{count} stalled requests of {path} in {:?}: {} held, memory +{} MiB",
        began.elapsed(),
        stalled.len(),
        grown / MIB
    );
    let held = stalled.len();
    sleep_until(asked + cut_within()).await;
    for Stalled { body, .. } in stalled {
        let read = timeout(Duration::from_secs(10), body.collect()).await.expect("the stream goes on");
        assert!(read.is_err(), "{path}: the whole answer was still there after {:?}", asked.elapsed());
    }
    (held, grown)
}

#[tokio::test]
async fn stalled_exports_hold_little_and_are_cut_off() {
    let Some(server) = Server::start(&[write_timeout(), ("BIZCENTER_SERVER__MAX_EXPORTS", "1000")]).await else {
        return;
    };
    let accounts = accounts(&server, size(2, 50), size(12, 60)).await;
    let count = 2 * accounts.len();
    let (held, grown) = attack(&server, &accounts, "/api/v1/meetings/export?format=ndjson", count).await;
    assert_eq!(held, count, "two of each account are let through");
    assert!(grown < 64 * MIB, "memory grew by {} MiB", grown / MIB);
}

#[tokio::test]
async fn stalled_lists_hold_what_the_process_may_and_are_cut_off() {
    let (bound, bound_bytes) = if is_full_size() { (256, "268435456") } else { (32, "33554432") };
    let Some(server) = Server::start(&[write_timeout(), ("BIZCENTER_SERVER__MAX_UNSENT_BYTES", bound_bytes)]).await
    else {
        return;
    };
    let accounts = accounts(&server, size(3, 50), size(20, 60)).await;
    let (held, grown) = attack(&server, &accounts, "/api/v1/meetings?per_page=100", size(40, 1000)).await;
    assert!(held >= 4, "{held}");
    assert!(grown < (bound + 64) * MIB, "memory grew by {} MiB", grown / MIB);
}
