//! `[redis]`: what several servers share; without it, the database does.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{Number, Optional, ValueType, milliseconds, read_url};
use bb8_redis::RedisConnectionManager;
use secrecy::SecretString;
use std::time::Duration;

settings! {
    /// `[redis]`: what several servers share; without it, the database does.
    #[derive(Debug, Clone)]
    pub struct RedisConfig {
        /// redis://user:password@host:6379/0, or rediss://… for TLS: what several servers share is kept there, under names
        /// that begin with bc: (the README says which rights its user needs). Without it, the database does that. Special
        /// characters in a password must be percent-encoded.
        pub url: Option<SecretString> = setting("redis.url", Optional(RedisUrl))
            .named(&["REDIS_URL"])
            .example("redis://localhost:6379"),

        /// How many scripts each server runs in Redis at once, and how many connections it may open ({range}). Others
        /// wait.
        pub pool_size: u32 = setting("redis.pool_size", Number(1..=1000)).default(10),

        // Within a second, so that a request survives a Redis that is silent.
        /// How many milliseconds one command may take ({range}).
        pub timeout: Duration = setting("redis.timeout_ms", milliseconds(50..=800)).default(500),
    }
}

/// A URL of Redis. The client that connects later checks it here too. For example, the database must be a number.
struct RedisUrl;

impl ValueType<SecretString> for RedisUrl {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<SecretString> {
        let url = read_url(reader, path, &["redis", "rediss"])?;
        match RedisConnectionManager::new(url.as_str()) {
            Ok(_) => Ok(String::from(url).into()),
            Err(error) => Err(reader.report(path, format!("can't be used: {error}"))),
        }
    }

    fn is_secret(&self) -> bool {
        true
    }
}
