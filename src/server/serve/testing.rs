//! A server on a real socket, and clients that send exactly the bytes that a test wants.
use super::{ConnectionTimeouts, ServeOptions, serve_with};
use crate::server::edge;
use poem::Endpoint;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub const SHORT: Duration = Duration::from_millis(200);
/// A time limit that tests only exceed if they hang.
pub const LONG: Duration = Duration::from_secs(20);

/// Options with a write timeout that is short enough for tests to wait for.
pub fn options() -> ServeOptions {
    ServeOptions {
        header_timeout: LONG,
        write_timeout: SHORT,
        drain_timeout: LONG,
        max_connections: 100,
        max_connections_per_address: 100,
        trusted_proxies: vec![],
        refusal: edge::refusal(Arc::new(|| "made-id".to_owned())),
    }
}

pub struct TestServer {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<io::Result<()>>,
}

impl TestServer {
    pub async fn start(endpoint: impl Endpoint + 'static) -> Self {
        Self::start_with(endpoint, options(), Duration::from_secs(75)).await
    }

    pub async fn start_with(endpoint: impl Endpoint + 'static, options: ServeOptions, idle: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let timeouts = ConnectionTimeouts {
            first_request: options.header_timeout,
            idle,
            write: options.write_timeout,
            goodbye: SHORT,
        };
        let task = tokio::spawn(serve_with(listener, endpoint, options, timeouts, stop.clone()));
        Self { address, stop, task }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the request on a new connection, and reads until the server closes it.
    pub async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

/// Reads until the server closes the connection. Panics if the server resets it.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = vec![];
    timeout(LONG, stream.read_to_end(&mut answer)).await.expect("the server closes").expect("no reset");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads once, which is enough for a short answer on a connection that stays open.
pub async fn read_some(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 16 * 1024];
    let length = timeout(LONG, stream.read(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}
