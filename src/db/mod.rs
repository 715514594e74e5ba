//! One connection type over three databases, and the leases that bind it to a tenant.
//!
//! A lease is one transaction. It is taken for a [`Scope`], which knows the tenant with the rows that it may touch, or
//! for the [`System`]. It ends with the work that it is taken for:
//! `db.read(&caller, async |tx| queries::find(tx, id).await)`. Never take a second lease while holding one.
//!
//! Queries run on the lease: `query.load(tx)`. A slice changes rows with [`WriteTx::changed`], which also writes the
//! audit row and calls the subscribers of the [`Feed`]. A statement that is not a change of its own is run by
//! [`WriteTx::execute_unaudited`], with the reason.
pub mod any;
pub mod api_keys;
pub mod audit;
pub mod audit_chain;
pub mod cache_versions;
mod calendar_feeds;
mod change;
pub mod connect;
pub mod data_keys;
pub mod deadline;
pub mod directory;
mod email;
pub mod enums;
pub mod error;
pub mod failures;
mod feed;
pub mod idempotency;
mod inserts;
pub mod jobs;
pub mod key_checks;
mod lease;
mod locked_keys;
pub mod migrations;
pub mod one_time_tokens;
mod ordered;
pub mod page;
mod pg;
mod pooler;
pub mod principals;
pub mod registered;
pub mod removal;
pub mod roles;
pub mod rotation;
mod row_security;
pub mod schema;
pub mod scope;
pub mod search;
pub mod search_terms;
pub mod sessions;
pub mod sql;
mod sqlite_files;
mod statistics;
pub mod stored_objects;
mod table_statement;
pub mod tables;
pub mod titles;
mod tls;
mod transactions;
pub mod types;

pub use any::{Any, AnyConnection};
pub use audit::{AuditAction as Action, Audited, Changes};
pub use change::{AnyRecord, Change, Statement, Statements};
pub use data_keys::{Place, SealedColumn, Unsealer};
pub use email::Email;
pub use feed::{Feed, Gone};
pub use idempotency::Once;
pub use inserts::insert_many;
use lease::Execute;
pub use lease::{Cost, Db, DbOptions, ReadTx, RunQueryDsl, SendAsyncFn, WriteTx};
pub use principals::Principal;
pub use registered::Registered;
pub use scope::{Author, OperatorScope, Origin, Scope, System, WriteScope};
pub use tables::Table;
pub use types::Sealed;
