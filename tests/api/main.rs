//! The integration tests: a real server on a real database, called over HTTP. Which database is in `TEST_DATABASE`
//! (sqlite, postgres, mariadb; `scripts/test` runs all three); every answer that any test receives is held to the API
//! contract.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops")]
mod access_tokens;
mod audit;
mod bad_input;
mod bad_requests;
mod cli;
mod contract;
mod database_tls;
mod faults;
mod hardening;
mod idempotency;
mod isolation;
mod migrations;
mod readme;
mod refresh;
mod registration;
mod schema;
mod sessions;
mod sign_in;
mod support;
mod task_exports;
mod task_lists;
mod task_pages;
mod tasks;
mod tenancy;
