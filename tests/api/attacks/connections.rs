//! Connections that are kept open and not used.
use super::{Server, figure};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

/// Opens a connection from this address of the machine and makes one request.
async fn idle(server: &Server, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(server.authority().parse().unwrap()).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    let read = timeout(Duration::from_secs(10), stream.read(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
    stream
}

/// How long a client at this address waits for an answer on a new connection.
async fn newcomer(server: &Server, from: &str) -> Duration {
    let began = Instant::now();
    drop(idle(server, from).await);
    began.elapsed()
}

async fn are_open(connections: &mut [TcpStream]) -> usize {
    let is_open = |stream: &'_ mut TcpStream| {
        let mut byte = [0];
        let read = stream.try_read(&mut byte);
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    tokio::time::sleep(Duration::from_millis(200)).await; // time for closed connections to be noticed here
    connections.iter_mut().map(|stream| usize::from(is_open(stream))).sum()
}

#[tokio::test]
async fn idle_connections_of_one_address_shut_nobody_out() {
    let Some(server) = Server::start(&[("BIZCENTER_SERVER__MAX_CONNECTIONS", "50")]).await else { return };
    let mut held = vec![];
    for _ in 0..60 {
        held.push(idle(&server, "127.0.0.1").await);
    }
    let waits = [newcomer(&server, "127.0.0.1").await, newcomer(&server, "127.0.0.2").await];
    let open = are_open(&mut held).await;
    figure!("60 idle connections from one address, {open} still open: newcomers waited {waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(1)), "{waits:?}");
    assert!((8..=12).contains(&open), "{open} of 60 are open: an address has a quarter of 50");
}

#[tokio::test]
async fn where_all_connections_are_used_the_longest_idle_makes_room() {
    let Some(server) = Server::start(&[("BIZCENTER_SERVER__MAX_CONNECTIONS", "50")]).await else { return };
    let mut held = vec![];
    for address in 1..=6 {
        for _ in 0..12 {
            held.push(idle(&server, &format!("127.0.1.{address}")).await);
        }
    }
    let newcomers = (1..=5).map(|address| {
        let server = &server;
        async move { newcomer(server, &format!("127.0.2.{address}")).await }
    });
    let waits = join_all(newcomers).await;
    let open = are_open(&mut held).await;
    figure!("72 idle connections from six addresses, {open} still open: newcomers waited {waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(1)), "{waits:?}");
    assert!((40..=50).contains(&open), "{open} of 72 are open, of 50 that there may be");
    assert_eq!(are_open(&mut held[..12]).await, 0, "the longest idle ones went first");
}
