//! What changed in a contract: one entry a member, written with the change.
mod handlers;
mod queries;
mod types;

pub use handlers::HistoryApi;
pub use queries::{delete_of, record};
