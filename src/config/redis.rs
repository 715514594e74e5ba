//! `[redis]`: what several servers share; without it, the database does.
use super::reader::{Read, Reader};
use bb8_redis::RedisConnectionManager;
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
        let url = url(reader);
        let pool_size = reader.number("redis.pool_size", 1..=1000);
        // Within a second, so that a request survives a Redis that is silent.
        let timeout = reader.milliseconds("redis.timeout_ms", 50..=800);
        Ok(Self { url: url?, pool_size: pool_size?, timeout: timeout? })
    }

    pub(super) fn for_tests() -> Self {
        Self { url: None, pool_size: 10, timeout: Duration::from_millis(500) }
    }
}

/// Checked by what connects later on, too: the database, say, must be a number.
fn url(reader: &mut Reader) -> Read<Option<SecretString>> {
    const PATH: &str = "redis.url";
    let Some(url) = reader.optional_url(PATH, &["redis", "rediss"])? else { return Ok(None) };
    match RedisConnectionManager::new(url.as_str()) {
        Ok(_) => Ok(Some(String::from(url).into())),
        Err(error) => Err(reader.report(PATH, format!("can't be used: {error}"))),
    }
}
