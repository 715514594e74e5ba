//! The history of a contract. It has one entry for each changed member, written together with the change.
mod handlers;
mod queries;
mod types;

pub use handlers::HistoryApi;
pub use queries::{delete_of, record};
