//! Users: the people of a tenant. Their own operations come later; sign-in needs them already.
mod queries;
mod types;

pub use queries::{Credentials, credentials, find, insert, set_password};
pub use types::{NewUser, User, UserKind};
