//! `[redis]`: what several servers share; without it, the database does.
use super::reader::{Read, Reader};
use secrecy::SecretString;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://…` or `rediss://…` (TLS), password included; none where there is no Redis.
    pub url: Option<SecretString>,
    /// How many connections may be open at once.
    pub pool_size: u32,
    /// How long one command may take.
    pub timeout: Duration,
}

impl RedisConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let url = reader.optional_url("redis.url", &["redis", "rediss"]);
        let pool_size = reader.number("redis.pool_size", 1..=1000);
        // Within a second, so that a request survives a Redis that is silent.
        let timeout = reader.milliseconds("redis.timeout_ms", 50..=800);
        Ok(Self { url: url?.map(|url| String::from(url).into()), pool_size: pool_size?, timeout: timeout? })
    }

    pub(super) fn for_tests() -> Self {
        Self { url: None, pool_size: 10, timeout: Duration::from_millis(500) }
    }
}
