//! BizCenter: a multi-tenant business API behind a hand-maintained OpenAPI contract.
//!
//! A request goes down these layers and never back up: [`http`] (accept loop, edge, guard) → [`auth`] (who, and may
//! they?) → a handler in [`resources`] → a lease of [`db`] → the slice's queries.
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod contract;
pub mod db;
pub mod error;
pub mod http;
pub mod infra;
mod list;
pub mod resources;
mod schema;
