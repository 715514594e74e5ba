//! The harness: a server, its tenants, and people who call it.
mod app;
pub mod contract;
mod database;
mod people;
pub mod rows;

pub use app::{TestApp, TestClock};
pub use database::{Kind, TestDatabase};
pub use people::{Answer, Call, Person, Tenant};
