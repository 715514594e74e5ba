//! Contracts with other companies, whose amounts are encrypted in the database and shown to the callers who may see them alone.
//!
//! It is longer than a plain resource: what is stored is not what is answered, and what is answered not the same to all; its
//! states have rules and a job; what changes has a history; and a row whose amount does not open must still be deletable.
mod demo;
mod expiry;
mod handlers;
pub mod history;
mod queries;
mod rules;
mod types;

pub use expiry::ExpireContracts;
pub use handlers::ContractsApi;
pub use types::Contract;

crate::permissions! {
    /// Contracts and their history, without amounts.
    Read(read): Editor,
    /// Decides what a reader is shown.
    SeeAmounts(read): Admin,
    Write: Admin,
    Delete: Owner,
}
