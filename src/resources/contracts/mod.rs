//! Contracts with other companies, whose amounts are encrypted in the database and shown to whom it concerns alone.
mod expiry;
mod handlers;
pub mod history;
mod queries;
mod rules;
mod types;

pub use expiry::{ExpireContracts, expire_all};
pub use handlers::ContractsApi;
pub use queries::{made_by, store};
pub use types::{Contract, ContractInput, ContractStatus, Terms};

crate::permissions! {
    /// Contracts and their history, without amounts.
    Read(read): Editor,
    /// Decides what a reader is shown.
    SeeAmounts(read): Admin,
    Write: Admin,
    Delete: Owner,
}
