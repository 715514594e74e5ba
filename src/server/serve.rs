//! Our own accept loop. poem's has no timeout for clients that connect and send nothing, and no limit on connections.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share the port. TLS is left to the proxy in front of the server.
use ipnet::IpNet;
use poem::Endpoint;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

mod activity;
mod connection;
mod frames;
mod own_answers;
mod registry;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod write_limit;

/// The pause after an `accept` that failed because a resource ran out (file descriptors, memory). It gives connections
/// time to end.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(200);

pub use own_answers::Refusal;
use registry::{Registered, Registry};

#[derive(Clone)]
pub struct ServeOptions {
    /// How long a new connection may take to send its first complete request head, in either protocol.
    pub header_timeout: Duration,
    /// How long a client may read nothing while an answer waits for it.
    pub write_timeout: Duration,
    /// How long a stopping server waits for requests that have begun.
    pub drain_timeout: Duration,
    pub max_connections: usize,
    /// How many of these connections one address may have. Trusted proxies may have more.
    pub max_connections_per_address: usize,
    pub trusted_proxies: Vec<IpNet>,
    /// Makes the answer to bytes that never become a request.
    pub refusal: Refusal,
}

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
struct ConnectionTimeouts {
    first_request: Duration,
    /// The limit between two requests. It is longer than the 60 s of the usual proxies, because the proxy should be the
    /// side that closes. If the server closed the connection, a request could be on its way at that moment.
    idle: Duration,
    /// How long a client may take none of the bytes that wait for it.
    write: Duration,
    /// From the announcement that the connection ends until the socket is closed, if nothing is going on.
    goodbye: Duration,
}

impl ConnectionTimeouts {
    fn new(first_request: Duration, write: Duration) -> Self {
        let [idle, goodbye] = [75, 2].map(Duration::from_secs);
        Self { first_request, idle, write, goodbye }
    }
}

/// Serves until `stop` is cancelled. Then waits for requests that have begun, but at most for `drain_timeout`.
pub async fn serve<E: Endpoint + 'static>(
    listener: TcpListener,
    endpoint: E,
    options: ServeOptions,
    stop: CancellationToken,
) -> io::Result<()> {
    let timeouts = ConnectionTimeouts::new(options.header_timeout, options.write_timeout);
    serve_with(listener, endpoint, options, timeouts, stop).await
}

async fn serve_with<E: Endpoint + 'static>(
    listener: TcpListener,
    endpoint: E,
    options: ServeOptions,
    timeouts: ConnectionTimeouts,
    stop: CancellationToken,
) -> io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "Listening");
    let ServeOptions { drain_timeout, max_connections, max_connections_per_address, trusted_proxies, refusal, .. } =
        options;
    let endpoint = Arc::new(endpoint);
    let registry = Registry::new(max_connections, max_connections_per_address, trusted_proxies);
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &registry)).await {
        let Accepted { stream, peer, registered } = accepted;
        let (endpoint, refusal, stop) = (endpoint.clone(), refusal.clone(), stop.clone());
        connections.spawn(async move {
            connection::serve(stream, peer, endpoint, timeouts, refusal, &registered, stop).await;
        });
        while connections.try_join_next().is_some() {} // removes the tasks that have ended
    }
    drop(listener); // new connections are now refused at once, so that a load balancer chooses another server
    drain(connections, drain_timeout).await;
    Ok(())
}

struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    registered: Registered,
}

/// Accepts the next connection and waits until there is room for it. Meanwhile no further connection is accepted. New
/// ones wait in the kernel's backlog, where they cost nothing, until another connection ends or becomes idle.
async fn accept(listener: &TcpListener, registry: &Registry) -> Accepted {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match registry.register(peer.ip()).await {
                Some(registered) => return Accepted { stream, peer, registered },
                None => tracing::debug!(client = %peer, "An address has all the connections that it may have"),
            },
            Err(error) => recover(&error).await,
        }
    }
}

/// No error of `accept` ends the server. Either one client has disconnected, or the system is short of a resource for a
/// while.
async fn recover(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::error!(%error, "Could not accept a connection");
    sleep(ACCEPT_BACK_OFF).await;
}

async fn drain(mut connections: JoinSet<()>, limit: Duration) {
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(limit, all).await.is_err() {
        tracing::warn!(connections = connections.len(), "Cut off connections that did not end in time");
        connections.shutdown().await;
    }
}

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once, for an operator who does not want to
/// wait for the drain.
pub async fn stop_signal() {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "Could not listen for signals; the server will stop without a drain");
            return std::future::pending().await;
        }
    };
    let name = next_signal(&mut interrupt, &mut terminate).await.0;
    tracing::info!(signal = name, "Stopping; the same again stops at once");
    tokio::spawn(async move {
        let (_, code) = next_signal(&mut interrupt, &mut terminate).await;
        std::process::exit(code);
    });
}

/// The name of the next signal, and the exit code that shells give to a process that this signal has ended.
async fn next_signal(interrupt: &mut Signal, terminate: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = interrupt.recv() => ("SIGINT", 130),
        _ = terminate.recv() => ("SIGTERM", 143),
    }
}
