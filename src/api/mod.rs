//! The parts that all operations share: extraction of the caller and the input, answers, and their declaration in the
//! contract.
pub mod authorize;
pub mod body;
pub mod cached_list;
pub mod caller;
pub mod demo;
pub mod export;
pub mod guard;
pub mod headers;
pub mod json;
pub mod list;
pub mod optional_session;
pub mod pages;
pub mod query;
pub mod record;
pub mod resource;
pub mod response;
pub mod scalars;
pub mod schema;
mod tags;
pub mod verified;
pub mod visitor;

pub use crate::base::error_body::Also;
pub use authorize::{Authorized, Locked, NextOwner};
pub use body::{Form, Input, Json, OptionalJson, Patch};
pub use cached_list::CachedList;
pub use caller::Caller;
pub use export::Export;
pub use guard::Guarded;
pub use headers::{IdempotencyKey, IfMatch, IfNoneMatch};
pub use query::Query;
pub use record::{DataSubject, Record, Records};
pub use resource::{Owned, Resource};
pub use response::{Accepted, Answer, Created, Deleted, Found, Listed, Saved};
pub use verified::{Verification, VerifiedCaller};
pub use visitor::Visitor;
