//! The slices: one folder a resource. Each says in its `mod.rs` what it is, who may do what, and what others may use of it.
pub mod auth;
pub mod server;
pub mod tasks;
pub mod tenants;
pub mod users;
