//! API keys: how programs come in. Each acts as a service account of its own. It is good only while the user who made
//! it is served, and has no lower role than the key.
mod handlers;
mod queries;
mod types;

pub use handlers::ApiKeysApi;
pub use queries::delete_all;
pub use types::ApiKey;

crate::permissions! {
    Read(read): Admin,
    /// To make keys, of no role above one's own. A key that made keys would outlive being deleted.
    Write(people): Admin,
    Delete: Admin,
}
