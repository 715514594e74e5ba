//! BizCenter: a multi-tenant business API behind a hand-maintained OpenAPI contract.
//!
//! The modules are layers. Each layer uses only those below it; `tests/api/layers.rs` checks the imports against this
//! order:
//!
//! - [`cli`], [`app`]: the commands, and the wiring.
//! - [`resources`]: one folder for each resource, with its types, handlers and queries.
//! - [`api`]: what all operations share: the caller, the reading of input, and the answers.
//! - [`auth`]: callers and what they may do, as plain functions.
//! - [`services`]: jobs, mail, cache, Redis.
//! - [`db`]: connections, leases, the change feed, audit, migrations, and the queries that no resource owns.
//! - [`server`]: the HTTP server around the operations; it knows none of them.
//! - [`config`]: the settings.
//! - [`contract`]: the contract's document: bundled, compared, linted.
//! - [`base`]: time, ids, formats, keys, errors, and what a request carries.
//!
//! A request goes through `server` (accept loop, edge) to the guard and the extractors of `api`, which let `auth`
//! authenticate the caller. It then goes to the handler in `resources`, which takes a lease of `db` for the queries of
//! its slice.
pub mod api;
pub mod app;
pub mod auth;
pub mod base;
pub mod cli;
pub mod config;
pub mod contract;
pub mod db;
pub mod resources;
pub mod server;
pub mod services;
