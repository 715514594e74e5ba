//! The harness: a server, its tenants, and people who call it.
mod app;
mod behind;
pub mod contract;
mod database;
mod mailbox;
mod people;
pub mod proxy;
mod redis;
pub mod rows;
mod skips;

pub use app::{TestApp, has_servers, redis_url, shares_redis};
pub use database::{Kind, TestDatabase, database_server, is_pooled};
pub use mailbox::Mailbox;
pub use people::{Answer, Call, Person, Tenant};
pub use redis::redis_call;
pub use skips::{is_for, not_for_this_run};
