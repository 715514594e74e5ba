//! What every operation shares: how it takes its input, how it answers, how it fails; and the server around it.
pub mod body;
pub mod body_limit;
pub mod client_ip;
pub mod compression;
pub mod cors;
pub mod edge;
pub mod error;
pub mod export;
pub mod guard;
pub mod headers;
pub mod json;
pub mod negotiate;
pub mod paths;
pub mod query;
pub mod response;
pub mod scalars;
pub mod schema;
pub mod security;
pub mod serve;

pub use body::{Form, Input, Json, OptionalJson, Patch};
pub use error::Also;
pub use export::Export;
pub use guard::Guarded;
pub use headers::{IdempotencyKey, IfMatch, IfNoneMatch};
pub use query::Query;
pub use response::{Created, Deleted, Found, Listed, Resource, Saved, Told};
