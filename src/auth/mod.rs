//! Who calls, and what they may do: the mechanism. The operations of sign-in are in `resources::auth`.
pub mod access_token;
pub mod caller;
pub mod grant;
pub mod passwords;
pub mod permissions;
pub mod refresh_token;
pub mod session;

pub use caller::{Actor, Authenticator, Caller};
pub use grant::{Granted, Locked, Owned};
pub use permissions::{MayWrite, Permission, Role};
