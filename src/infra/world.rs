//! What a program can't compute: the time, and randomness. Injected, so that tests decide both.
use chrono::{DateTime, Utc};
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The sources of time and randomness of one server.
#[derive(Clone)]
pub struct World {
    clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    random: Arc<Filler>,
}

/// Fills a buffer with random bytes.
type Filler = dyn Fn(&mut [u8]) + Send + Sync;

impl World {
    /// The machine's clock and the operating system's generator.
    #[expect(clippy::disallowed_methods, reason = "the one place where the real clock and randomness come in")]
    pub fn real() -> Self {
        Self::new(Utc::now, |bytes| {
            #[expect(clippy::expect_used, reason = "without randomness no secret may be made: stop at once")]
            getrandom::fill(bytes).expect("the operating system gives random bytes");
        })
    }

    pub fn new(
        clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
        random: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self { clock: Arc::new(clock), random: Arc::new(random) }
    }

    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }

    /// A new key, of which there is no other copy.
    pub fn random_key<const N: usize>(&self) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0; N]);
        (self.random)(&mut *key);
        key
    }

    /// A UUID of version 7 (RFC 9562): time-ordered, so that new rows land at the end of an index.
    pub fn uuid(&self) -> Uuid {
        let millis = self.now().timestamp_millis().max(0).unsigned_abs();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random_bytes()).into_uuid()
    }
}
