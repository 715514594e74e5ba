//! What the server stands on besides its database: time, randomness, keys, formats, files, Redis, caches, mail, jobs, metrics.
pub mod addresses;
pub mod cache;
pub mod crypto;
pub mod database_url;
pub mod days;
pub mod env;
pub mod formats;
pub mod jobs;
pub mod key_ring;
pub mod mail;
pub mod mail_text;
pub mod metrics;
pub mod money;
pub mod password;
pub mod private_files;
pub mod redis;
pub mod shares;
#[cfg(test)]
pub mod test_log;
