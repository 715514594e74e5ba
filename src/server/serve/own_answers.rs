//! What hyper answers by itself, to what is no HTTP and to heads that are too large, in our words.
//!
//! hyper gives such requests to nobody: it writes a bare status, and closes. So it is noticed where it is written. Over HTTP/1.1
//! one answer follows the other, and what is written while no request has begun since the last one was flushed is hyper's own.
//! Over HTTP/2 its own 431, to a head of more than [`super::connection::MAX_HTTP2_HEAD`], stays bare: it is a frame among others.
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

/// Makes the answer to what never became a request, from its status and the address of its client.
pub type Refusal = Arc<dyn Fn(StatusCode, IpAddr) -> Response + Send + Sync>;

/// What is read on from a client that was refused, and for how long: most clients write first and read later, and closing on
/// them would reset the connection, answer included.
const DRAIN_BYTES: usize = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Counts the requests of a connection. A clone counts the same ones.
#[derive(Clone, Default)]
pub struct Requests(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// A request that the endpoint was given; it ends when this is dropped.
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

/// A connection on which our words stand instead of hyper's own answers.
pub struct OwnAnswers<S> {
    stream: S,
    requests: Requests,
    refusal: Refusal,
    client: IpAddr,
    /// How many requests had begun, and ended, when all that was written was flushed.
    flushed: usize,
    /// Whether a line has ended in what was read since: if none has, it is the request line that is too long.
    line_ended: bool,
    /// Our words, as far as they are not written yet.
    words: Bytes,
    /// Once something was refused.
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

    /// Puts our words in the place of these bytes, if they are an answer that hyper made by itself.
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

/// The `Date` that hyper wrote.
fn date_line(head: &[u8]) -> Option<&[u8]> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.find(|line| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"date:")))
}

/// The whole answer as HTTP/1.1 has it.
fn printed(response: Response, date_line: Option<&[u8]>) -> Bytes {
    let (parts, body) = response.into_parts();
    // It has been made in memory, so that it is there at once.
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
    /// Reads on, so that the client comes to read its answer.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(draining) = &mut self.draining else { return Poll::Ready(()) };
        let mut bytes = [0; 8 * 1024];
        while draining.read < DRAIN_BYTES && draining.time.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => draining.read += buffer.filled().len(),
                _ => break, // it is gone
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
