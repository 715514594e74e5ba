//! Replaces the answers that hyper makes by itself, to bytes that are not HTTP and to heads that are too large, with
//! our own.
//!
//! hyper passes such requests to no service. It writes a bare status and closes the connection. Therefore these answers
//! are recognized when they are written. Over HTTP/1.1, one answer follows the other. An answer that is written while
//! no request has begun since the last flush is hyper's own. Over HTTP/2, hyper's own 431 to a head of more than
//! [`super::connection::MAX_HTTP2_HEAD`] bytes stays bare, because it is a frame among others.
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use poem::Response;
use poem::http::StatusCode;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Makes the answer to bytes that never become a request, from its status and the address of the client.
pub type Refusal = Arc<dyn Fn(StatusCode, IpAddr) -> Response + Send + Sync>;

/// How many bytes are still read from a client that was refused, and for how long. Most clients write first and read
/// later. If the server closed at once, the connection would be reset and the answer lost.
const DRAIN_BYTES: usize = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Counts the requests of a connection. Clones share the counts.
#[derive(Clone, Default)]
pub struct Requests(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// A request that was passed to the endpoint. It ends when this is dropped.
pub struct Begun(Requests);

impl Requests {
    pub fn begin(&self) -> Begun {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Begun(self.clone())
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }

    fn ended(&self) -> usize {
        self.0.ended.load(Ordering::SeqCst)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// A connection on which our answers replace hyper's own.
pub struct OwnAnswers<S> {
    stream: S,
    requests: Requests,
    refusal: Refusal,
    client: IpAddr,
    /// The number of requests that had begun, and ended, when everything written was last flushed.
    flushed: usize,
    /// Whether a line has ended in the bytes that were read since then. If none has ended, it is the request line that
    /// is too long.
    line_ended: bool,
    /// The part of our answer that is not written yet.
    words: Bytes,
    /// Set once a request was refused.
    draining: Option<Draining>,
}

struct Draining {
    read: usize,
    time: Pin<Box<Sleep>>,
}

impl<S> OwnAnswers<S> {
    pub fn new(stream: S, requests: Requests, refusal: Refusal, client: IpAddr) -> Self {
        let (flushed, line_ended, words, draining) = (0, false, Bytes::new(), None);
        Self { stream, requests, refusal, client, flushed, line_ended, words, draining }
    }

    /// Puts our answer in the place of these bytes if hyper made them by itself. Returns whether it did.
    fn reword(&mut self, written: &[u8]) -> bool {
        let Some(status) = self.own_status(written) else { return false };
        let is_request_line = status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && !self.line_ended;
        let status = if is_request_line { StatusCode::URI_TOO_LONG } else { status };
        self.words = printed((self.refusal)(status, self.client), date_line(written));
        self.draining = Some(Draining { read: 0, time: Box::pin(sleep(DRAIN_TIME)) });
        true
    }

    fn own_status(&self, written: &[u8]) -> Option<StatusCode> {
        if self.requests.begun() != self.flushed || !written.starts_with(b"HTTP/1.") {
            return None;
        }
        let status = StatusCode::from_bytes(written.get(9..12)?).ok()?;
        status.is_client_error().then_some(status)
    }
}

/// The `Date` line that hyper wrote.
fn date_line(head: &[u8]) -> Option<&[u8]> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.find(|line| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"date:")))
}

/// Renders the whole answer as HTTP/1.1.
fn printed(response: Response, date_line: Option<&[u8]>) -> Bytes {
    let (parts, body) = response.into_parts();
    // The body is in memory, so that it is available at once.
    let body = body.into_bytes().now_or_never().and_then(Result::ok).unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let length = body.len();
    let line =
        format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\ncontent-length: {length}\r\n", parts.status.as_u16());
    let mut text = line.into_bytes();
    for (name, value) in &parts.headers {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    if let Some(line) = date_line {
        text.extend([line, b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    text.extend(&body);
    text.into()
}

impl<S: AsyncWrite + Unpin> OwnAnswers<S> {
    fn poll_words(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.words.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.words))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.words.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> OwnAnswers<S> {
    /// Reads on and discards the bytes, so that the client comes to read its answer.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(draining) = &mut self.draining else { return Poll::Ready(()) };
        let mut bytes = [0; 8 * 1024];
        while draining.read < DRAIN_BYTES && draining.time.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => draining.read += buffer.filled().len(),
                _ => break, // the client is gone
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OwnAnswers<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if !self.line_ended {
            self.line_ended = buffer.filled()[before..].contains(&b'\n');
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for OwnAnswers<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_words(context))?;
        if self.reword(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_words(context))?;
        let head = slices.iter().find(|slice| !slice.is_empty());
        if head.is_some_and(|head| self.reword(head)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_words(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        let (ended, begun) = (self.requests.ended(), self.requests.begun());
        if ended == begun && begun != self.flushed {
            (self.flushed, self.line_ended) = (begun, false); // the next request may begin
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_words(context))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        ready!(self.poll_drain(context));
        Poll::Ready(Ok(()))
    }
}
