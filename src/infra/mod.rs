//! What the server stands on besides its database: time, randomness, keys.
pub mod crypto;
pub mod world;
