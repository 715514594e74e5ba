//! Who calls, and what they may do: the mechanism. The operations of sign-in are in `resources::auth`.
pub mod access_token;
pub mod attempts;
pub mod authorize;
pub mod caller;
pub mod common_passwords;
pub mod export_slots;
pub mod limits;
pub mod mail_cap;
pub mod opaque;
pub mod optional_session;
pub mod passwords;
pub mod permissions;
pub mod refresh_token;
pub mod sessions;
pub mod signing;
pub mod verified;
pub mod visitor;

pub use authorize::{Authorized, Locked, NextOwner, Owned};
pub use caller::{Actor, Authenticator, Caller};
pub use permissions::{MayWrite, Permission, Role};
pub use verified::{Verification, VerifiedCaller};
pub use visitor::Visitor;
