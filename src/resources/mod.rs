//! The slices: one folder a resource. Each says in its `mod.rs` what it is, who may do what, and what others may use of it;
//! [`records`] names what all of them are about.
pub mod admin;
pub mod api_keys;
pub mod audit_logs;
pub mod auth;
pub mod contracts;
pub mod feed;
pub mod invitations;
pub mod items;
pub mod meetings;
pub mod records;
pub mod server;
pub mod tasks;
pub mod tenant;
pub mod users;
