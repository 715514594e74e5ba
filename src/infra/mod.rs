//! What the server stands on besides its database: time, randomness, keys, formats.
pub mod crypto;
pub mod formats;
pub mod world;
