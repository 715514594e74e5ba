//! The integration tests: a real server on a real database, called over HTTP. Which database is in
//! `BIZCENTER_TEST_DATABASE` (sqlite, postgres, mariadb; `scripts/test` runs all three); every answer that any test
//! receives is held to the API contract.
#![expect(clippy::unwrap_used, reason = "a test that can't go on stops")]
mod cli;
mod contract;
mod isolation;
mod migrations;
mod readme;
mod schema;
mod support;
mod tasks;
mod tenancy;
