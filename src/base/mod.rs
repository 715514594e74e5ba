//! The lowest layer: time and ids, formats, keys, errors, and the data that a request carries. It uses no other layer
//! of this crate.
pub mod addresses;
pub mod crypto;
pub mod database_url;
pub mod days;
pub mod env;
pub mod error;
pub mod error_body;
pub mod files;
pub mod formats;
pub mod key_ring;
pub mod metrics;
pub mod money;
pub mod opaque;
pub mod origins;
pub mod password;
pub mod pooler;
pub mod private_files;
pub mod queue;
pub mod request;
pub mod shares;
pub mod smtp;
pub mod terms;
#[cfg(test)]
pub mod test_log;
