//! One connection, from its first byte to its last.
use super::ConnectionTimeouts;
use super::frames::{FrameClock, FramedBody, MAX_FRAME, StreamExecutor};
use super::own_answers::{OwnAnswers, Refusal, Requests};
use super::registry::Registered;
use super::write_limit::WriteLimit;
use crate::server::head_limit::MAX_HEAD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Twice the limit of the edge, which refuses larger heads with the API's error body. Beyond this limit, hyper answers
/// with a bare 431.
pub const MAX_HTTP2_HEAD: u32 = 128 * 1024;
/// The number of streams at once. Each of them may have one frame waiting in the connection's own buffer.
const MAX_HTTP2_STREAMS: u32 = 100;
/// The time for closing a connection if another one needs its place. It is long enough for a request that was already
/// on its way.
const QUICK_GOODBYE: Duration = Duration::from_millis(100);
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Serves a connection until it ends. Closes it if `stop` is cancelled, or `registered.close`, because another
/// connection needs its place.
pub async fn serve<E: Endpoint + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    endpoint: Arc<E>,
    timeouts: ConnectionTimeouts,
    refusal: Refusal,
    registered: &Registered,
    stop: CancellationToken,
) {
    let speaking = speak(stream, peer, endpoint, timeouts, refusal, registered, stop);
    // Over HTTP/1.1, the task of the connection also serves the streams, one at a time. Therefore the clock is watched
    // here too.
    if FrameClock::default().watch(timeouts.write, speaking).await.is_none() {
        tracing::debug!(client = %peer, "A client did not take its answer: the connection is closed");
    }
}

/// Speaks HTTP until the client leaves, one of the limits is exceeded, or the connection has to end (see [`serve`]).
///
/// hyper's own header timeout begins only once hyper knows the protocol, and nothing limits the time before that: a
/// client that sends nothing, or half of the HTTP/2 preface, would stay for ever. Therefore the limits are kept here,
/// over the whole connection.
async fn speak<E: Endpoint + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    endpoint: Arc<E>,
    timeouts: ConnectionTimeouts,
    refusal: Refusal,
    registered: &Registered,
    stop: CancellationToken,
) {
    let Registered { activity, close, .. } = registered;
    let Ok(local) = stream.local_addr() else { return }; // the client is gone already
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "Could not set TCP_NODELAY");
    }
    let requests = Requests::default();
    let stream = WriteLimit::new(stream, timeouts.write, activity.clone());
    let io = TokioIo::new(OwnAnswers::new(stream, requests.clone(), refusal, peer.ip()));
    let service = service_fn(|request| {
        let ongoing = (activity.begin(), requests.begin());
        let answer = answer(endpoint.clone(), request, local, peer);
        async move {
            // The body owns `ongoing`, because a request is over only once the last byte of its answer is handed over.
            let held = move |error| {
                let _ = &ongoing;
                error
            };
            Ok::<_, Infallible>(answer.await.map(|body| FramedBody::new(body.map_err(held))))
        }
    });
    let builder = builder(timeouts);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut leaving = false;
    loop {
        let goodbye = if close.is_cancelled() { QUICK_GOODBYE } else { timeouts.goodbye };
        let (before, since) = if leaving { (goodbye, goodbye) } else { (timeouts.first_request, timeouts.idle) };
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                return ended.unwrap_or_else(|error| tracing::debug!(%error, client = %peer, "Connection failed"));
            }
            () = stop.cancelled(), if !leaving => {}
            () = close.cancelled(), if !leaving => {}
            () = activity.quiet_for(before, since) => {
                if leaving || !activity.has_begun() {
                    return;
                }
            }
        }
        // Requests that have begun go on. Over HTTP/2, the client learns that this connection takes no new ones.
        leaving = true;
        activity.touch();
        connection.as_mut().graceful_shutdown();
    }
}

async fn answer<E: Endpoint>(
    endpoint: Arc<E>,
    request: hyper::Request<Incoming>,
    local: SocketAddr,
    peer: SocketAddr,
) -> hyper::Response<impl hyper::body::Body<Data = bytes::Bytes, Error = std::io::Error> + Send> {
    let (local, peer) = (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(peer)));
    endpoint.get_response((request, local, peer, Scheme::HTTP).into()).await.into()
}

fn builder(timeouts: ConnectionTimeouts) -> Builder<StreamExecutor> {
    let mut builder = Builder::new(StreamExecutor { frame_limit: timeouts.write });
    // This timer also runs between requests, so it must be as long as a connection may be idle.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeouts.idle).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .max_send_buf_size(MAX_FRAME)
        .max_header_list_size(MAX_HTTP2_HEAD)
        .max_pending_accept_reset_streams(20) // rapid reset, CVE-2023-44487
        .max_local_error_reset_streams(100); // its variant, in which the client makes the server reset streams
    builder
}
