//! Sends bodies in small frames, and ends a stream if its client takes no frame for too long.
//!
//! hyper asks a body for its next frame once the previous one is on its way. A client that reads nothing (over HTTP/2:
//! that grants no window) keeps the last frame waiting, and with it everything that is rendered behind it. Over HTTP/2,
//! hyper then does not even poll the body, so that the body can't notice this itself. Therefore the clock is watched
//! from outside, by the task that serves the stream.
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The largest frame, in bytes. This is the limit of HTTP/2 if the two sides have agreed on no other (RFC 9113, 6.5.2).
pub const MAX_FRAME: usize = 16 * 1024;

tokio::task_local! {
    /// The clock of the stream that the current task serves.
    static CLOCK: FrameClock;
}

/// The time since which a frame waits for the client, or `None` if no frame waits. Clones share the clock.
#[derive(Clone, Default)]
pub struct FrameClock(Arc<Mutex<Option<Instant>>>);

impl FrameClock {
    fn state(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // the value is valid even after a panic
    }

    fn start(&self) {
        *self.state() = Some(Instant::now());
    }

    fn stop(&self) {
        *self.state() = None;
    }

    /// Resolves once a frame has waited for `limit`.
    async fn overdue(&self, limit: Duration) {
        let mut next = Instant::now() + limit;
        loop {
            sleep_until(next).await;
            let now = Instant::now();
            next = self.state().unwrap_or(now) + limit;
            if next <= now {
                return;
            }
        }
    }

    /// Runs the future that serves a stream, or a connection with one stream at a time. Returns `None` if a frame has
    /// waited for too long; the future is then dropped.
    pub async fn watch<T>(self, limit: Duration, serving: impl Future<Output = T>) -> Option<T> {
        let watched = CLOCK.scope(self.clone(), serving);
        tokio::select! {
            biased;
            done = watched => Some(done),
            () = self.overdue(limit) => None,
        }
    }
}

/// Starts hyper's tasks. Over HTTP/2, each task serves one stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamExecutor {
    /// How long a frame may wait for the client.
    pub frame_limit: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let limit = self.frame_limit;
        tokio::spawn(async move {
            if FrameClock::default().watch(limit, stream).await.is_none() {
                tracing::debug!("A client did not take its answer: the stream is ended");
            }
        });
    }
}

/// A body in frames of at most [`MAX_FRAME`] bytes. It uses the clock of the task that has created it.
pub struct FramedBody<B> {
    body: B,
    /// The part of the body's last frame that is not sent yet.
    rest: Bytes,
    /// Whether a part of that frame has been sent already.
    is_split: bool,
    clock: FrameClock,
}

impl<B> FramedBody<B> {
    pub fn new(body: B) -> Self {
        let clock = CLOCK.try_with(Clone::clone).unwrap_or_default();
        clock.start(); // the clock runs until hyper asks for the first frame
        Self { body, rest: Bytes::new(), is_split: false, clock }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for FramedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.clock.stop();
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(MAX_FRAME);
        let mut frame = self.rest.split_to(length);
        if self.rest.is_empty() && self.is_split {
            // This last part may wait in hyper's buffer after this body is dropped. As a slice, it would keep the whole
            // original frame in memory.
            frame = Bytes::copy_from_slice(&frame);
        }
        self.is_split = !self.rest.is_empty();
        self.clock.start();
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl<B> Drop for FramedBody<B> {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use tokio::time::sleep;

    #[tokio::test]
    async fn frames_are_small_and_nothing_is_lost() {
        let text: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut body = FramedBody::new(Full::new(Bytes::from(text.clone())));
        let (mut read, mut last) = (vec![], None);
        while !body.is_end_stream() {
            let left = (text.len() - read.len()) as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!((1..=MAX_FRAME).contains(&frame.len()));
            read.extend_from_slice(&frame);
            last = Some(frame);
        }
        drop(body);
        let last = last.unwrap().try_into_mut().unwrap();
        assert!(last.capacity() <= MAX_FRAME, "the last frame keeps {} bytes alive", last.capacity());
        assert_eq!(read, text);
    }

    #[tokio::test]
    async fn the_clock_runs_only_while_a_frame_waits() {
        let limit = Duration::from_millis(200);
        let serving = async {
            let events = futures_util::stream::unfold((), |()| async {
                sleep(Duration::from_millis(500)).await; // quiet for longer than a frame may wait
                Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from("event"))), ()))
            });
            let mut body = FramedBody::new(Box::pin(http_body_util::StreamBody::new(events)));
            for _ in 0..2 {
                body.frame().await;
                sleep(limit / 2).await;
            }
            body.frame().await;
            std::future::pending::<()>().await;
        };
        let (began, clock) = (Instant::now(), FrameClock::default());
        assert!(clock.watch(limit, serving).await.is_none(), "nobody took the last event");
        let waited = began.elapsed();
        assert!((Duration::from_millis(1900)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
    }
}
