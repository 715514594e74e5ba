//! The harness: a server, its tenants, and people who call it.
mod app;
mod behind;
pub mod catalogue;
pub mod contract;
mod database;
pub mod fixtures;
mod mailbox;
mod people;
pub mod proxy;
mod redis;
pub mod rights;
pub mod rows;
pub mod s3;
mod skips;
mod waiting;

pub use app::{TestApp, has_servers, redis_url, shares_redis};
pub use catalogue::Catalogue;
pub use database::{Kind, TestDatabase, database_server, is_pooled};
pub use fixtures::Fixtures;
pub use mailbox::Mailbox;
pub use people::{Answer, BOUNDARY, Call, PASSWORD, Person, Tenant};
pub use redis::redis_call;
pub use skips::{is_for, not_for_this_run};
pub use waiting::until;
