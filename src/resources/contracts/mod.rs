//! Contracts with other companies. Their amounts are encrypted in the database, and only callers with [`SeeAmounts`]
//! see them.
//!
//! This slice is longer than that of a plain resource. The stored form differs from the returned form, which depends on
//! the caller. The states of a contract have rules and a job. Changes have a history. A contract whose amount can't be
//! decrypted must still be deletable.
mod demo;
mod expiry;
mod handlers;
pub mod history;
mod queries;
mod rules;
mod types;

pub use expiry::ExpireContracts;
pub use handlers::ContractsApi;
pub use types::{Contract, ContractId};

crate::tag!(Contracts);

crate::permissions! {
    /// To read contracts and their history, without amounts.
    Read(read): Editor,
    /// Decides whether a reader sees amounts.
    SeeAmounts(read): Admin,
    Write: Admin,
    Delete: Owner,
}
