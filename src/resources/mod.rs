//! The slices, with one folder for each resource. The `mod.rs` of each slice describes the resource, declares its
//! permissions, and lists what other slices may use. [`records`] names the records of all slices.
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
