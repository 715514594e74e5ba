//! The time and randomness, which a program can't compute. Both are injected, so that tests can set them.
use chrono::{DateTime, Utc};
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// A clock that shows what `now` returns.
    pub fn new(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The current time in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

/// Makes ids, keys and other random bytes.
#[derive(Clone)]
pub struct IdGenerator(Arc<Fill>);

/// Fills a buffer with random bytes.
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

impl IdGenerator {
    /// A generator whose random bytes come from `fill`.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }

    /// A new key of `N` random bytes. There is no other copy of it, and it is wiped from memory when it is dropped.
    pub fn key<const N: usize>(&self) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0; N]);
        (self.0)(&mut *key);
        key
    }

    /// A UUID of version 7 (RFC 9562) for this time. Such UUIDs are ordered by time, so that new rows are added at the
    /// end of an index.
    pub fn uuid(&self, now: DateTime<Utc>) -> Uuid {
        let millis = now.timestamp_millis().max(0).unsigned_abs();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }
}

/// The clock and the generator of one server.
#[derive(Clone)]
pub struct Env {
    clock: Clock,
    ids: IdGenerator,
}

impl Env {
    /// The machine's clock and the operating system's generator.
    #[expect(clippy::disallowed_methods, reason = "the one place where the real clock and randomness come in")]
    pub fn real() -> Self {
        Self::new(Utc::now, |bytes| {
            #[expect(clippy::expect_used, reason = "without randomness no secret may be made: stop at once")]
            getrandom::fill(bytes).expect("the operating system gives random bytes");
        })
    }

    /// An environment with this clock and this source of random bytes.
    pub fn new(
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
        fill: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self { clock: Clock::new(now), ids: IdGenerator::new(fill) }
    }

    /// The current time in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// `N` random bytes.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        self.ids.bytes()
    }

    /// A new key of `N` random bytes, see [`IdGenerator::key`].
    pub fn random_key<const N: usize>(&self) -> Zeroizing<[u8; N]> {
        self.ids.key()
    }

    /// A new UUID of version 7, see [`IdGenerator::uuid`].
    pub fn uuid(&self) -> Uuid {
        self.ids.uuid(self.clock.now())
    }
}
