//! API keys, with which programs use the API. Each key acts as a service account of its own. A key is valid only while
//! the user who made it may be served and has no lower role than the key.
mod handlers;
mod queries;
mod types;

pub use handlers::ApiKeysApi;
pub use queries::delete_all;
pub use types::ApiKey;

crate::tag!(ApiKeys);

crate::permissions! {
    Read(read): Admin,
    /// To create keys, of no role above one's own. A key that created keys would outlive its deletion.
    Write(people): Admin,
    Delete: Admin,
}
