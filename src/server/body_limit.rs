//! Limits how much a client may send, and how long it may take, for bodies with a length and for chunked ones.
//!
//! If a limit is exceeded, the endpoint's own read fails. Whatever error the endpoint makes of that,
//! [`BodyLimit::fault`] tells the edge the cause.
use crate::base::error::Error;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use poem::http::header;
use poem::{Body, Request};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How much is still read from a body that the endpoint has left unread, and for how long. Most clients write first and
/// read later. If the server closed at once, the connection would be reset and the answer lost.
const DRAIN_BYTES: u64 = 32 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The limit of one request's body. The request carries it as data.
#[derive(Clone)]
pub struct BodyLimit(Arc<Mutex<State>>);

struct State {
    max_bytes: u64,
    received: u64,
    /// How many bytes may have arrived at present: see [`BodyLimit::allow`].
    allowed: u64,
    timeout: Duration,
    is_transfer: bool,
    /// When the request began or, for a transfer, when its last bytes arrived.
    clock: Instant,
    /// Whether the endpoint is waiting for the client right now.
    waiting: bool,
    /// Whether the client waits for `100 Continue`, which is sent when the body is first read.
    held_back: bool,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TooLarge,
    TooSlow,
}

impl BodyLimit {
    /// Puts the limit around the request's body.
    pub fn wrap(request: &mut Request, max_bytes: u64, timeout: Duration) -> Self {
        let declared = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = request.take_body();
        let held_back = !body.is_empty() && request.headers().contains_key(header::EXPECT);
        let clock = Instant::now();
        let state = State {
            max_bytes,
            received: 0,
            allowed: u64::MAX,
            timeout,
            clock,
            held_back,
            is_transfer: false,
            waiting: false,
            fault: None,
        };
        let limit = Self(Arc::new(Mutex::new(state)));
        request.set_body(if body.is_empty() {
            body
        } else {
            Body::from_bytes_stream(LimitedBody::new(body, limit.clone(), declared, timeout / 3))
        });
        request.extensions_mut().insert(limit.clone());
        limit
    }

    /// Prepares an upload, before its body is read: sets another size limit, and moves the deadline whenever bytes
    /// arrive.
    pub fn transfer(&self, max_bytes: u64) {
        let mut state = self.lock();
        state.max_bytes = max_bytes;
        state.is_transfer = true;
    }

    /// Lets at most so many more bytes arrive, until the next call. For readers that keep what they read until a part is
    /// complete.
    pub fn allow(&self, more: u64) {
        let mut state = self.lock();
        state.allowed = state.received.saturating_add(more);
    }

    /// Moves the deadline, for work that goes on without the client.
    pub fn go_on(&self) {
        self.lock().clock = Instant::now();
    }

    pub fn deadline(&self) -> Instant {
        let state = self.lock();
        state.clock + state.timeout
    }

    /// The error after the deadline: 408 if the endpoint was waiting for the client, and 503 otherwise.
    pub fn give_up(&self) -> Error {
        if self.lock().waiting {
            self.fail(Fault::TooSlow);
            return Error::RequestTimeout;
        }
        Error::Unavailable(anyhow::anyhow!("the deadline is over"))
    }

    /// Breaks a transfer off because its client is too slow. The edge answers with 408, whatever the endpoint answers.
    pub fn break_off(&self) -> Error {
        self.fail(Fault::TooSlow);
        Error::Unavailable(anyhow::anyhow!("the client is too slow"))
    }

    /// The error to answer with if the client sent too much or too slowly.
    pub fn fault(&self) -> Option<Error> {
        self.lock().fault.map(|fault| match fault {
            Fault::TooLarge => Error::PayloadTooLarge,
            Fault::TooSlow => Error::RequestTimeout,
        })
    }

    /// Whether nobody will read the rest of the body, so that HTTP/1.1 can't go on after the answer.
    pub fn is_abandoned(&self) -> bool {
        let state = self.lock();
        state.held_back || state.fault == Some(Fault::TooSlow)
    }

    fn fail(&self, fault: Fault) -> io::Error {
        self.lock().fault.get_or_insert(fault);
        io::Error::other(format!("{fault:?}"))
    }

    fn admits(&self, bytes: u64) -> bool {
        bytes <= self.lock().max_bytes
    }

    fn admits_received(&self) -> bool {
        let state = self.lock();
        state.received <= state.max_bytes.min(state.allowed)
    }

    /// Records whether the endpoint now waits for the client, or has received what it waited for.
    fn note(&self, waiting: bool) {
        let mut state = self.lock();
        state.held_back = false;
        state.waiting = waiting;
        if state.is_transfer && !waiting {
            state.clock = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // the values are valid even after a panic
    }
}

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

struct LimitedBody {
    /// `None` once the body has ended or failed.
    chunks: Option<Chunks>,
    limit: BodyLimit,
    declared: u64,
    /// How long the client may keep the endpoint waiting for a chunk.
    pause: Duration,
    /// Runs while the endpoint waits for a chunk.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether a transfer has just got a chunk.
    has_just_got: bool,
}

impl LimitedBody {
    fn new(body: Body, limit: BodyLimit, declared: u64, pause: Duration) -> Self {
        Self {
            chunks: Some(body.into_bytes_stream().boxed()),
            limit,
            declared,
            pause,
            timer: None,
            has_just_got: false,
        }
    }

    fn next_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        let next = chunks.as_mut().poll_next(context);
        match &next {
            Poll::Ready(Some(Ok(chunk))) => self.limit.lock().received += chunk.len() as u64,
            Poll::Ready(_) => self.chunks = None,
            Poll::Pending => {}
        }
        self.limit.note(next.is_pending());
        next
    }

    fn is_stalled(&mut self, context: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.pause)));
        timer.as_mut().poll(context).is_ready()
    }

    fn fail(&self, fault: Fault) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(Some(Err(self.limit.fail(fault))))
    }
}

impl Stream for LimitedBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.limit.admits(self.declared) {
            return self.fail(Fault::TooLarge); // before any of the body is read
        }
        // The reader of uploads (multer) reads on until nothing is ready, and keeps all that it has read. So after each
        // piece, nothing is ready once.
        if std::mem::take(&mut self.has_just_got) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.next_chunk(context);
        self.has_just_got = matches!(next, Poll::Ready(Some(Ok(_)))) && self.limit.lock().is_transfer;
        if next.is_ready() {
            self.timer = None;
        } else if self.is_stalled(context) {
            return self.fail(Fault::TooSlow);
        }
        if self.limit.admits_received() { next } else { self.fail(Fault::TooLarge) }
    }
}

/// Runs when the endpoint is done with the body. The rest of the body, if any, is read and discarded, unless it is
/// abandoned.
impl Drop for LimitedBody {
    fn drop(&mut self) {
        self.limit.lock().waiting = false;
        let rest = self.chunks.take().filter(|_| !self.limit.is_abandoned());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(timeout(DRAIN_TIME, drain(rest)));
        }
    }
}

async fn drain(mut rest: Chunks) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(chunk)) = rest.next().await {
        let Some(fewer) = left.checked_sub(chunk.len() as u64) else { return };
        left = fewer;
    }
}
