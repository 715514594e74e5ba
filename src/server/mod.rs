//! The HTTP server around the operations. It accepts connections, limits what clients may ask for, and completes every
//! answer. It knows none of the operations.
pub mod body_limit;
pub mod client_ip;
pub mod coding;
pub mod compression;
pub mod copies;
pub mod cors;
pub mod edge;
pub mod head_limit;
pub mod negotiate;
pub mod old_paths;
pub mod pack;
pub mod paths;
pub mod pieces;
pub mod security;
pub mod serve;
pub mod unsent;
