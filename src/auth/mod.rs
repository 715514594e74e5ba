//! Authentication and permissions: passwords, tokens, sessions, principals, permissions, limits, and the mails about
//! accounts. All are plain functions and types without HTTP handlers. The operations of sign-in are in
//! `resources::auth`, and the extraction of callers from requests is in `api`.
pub mod access_token;
mod actor;
pub mod attempts;
pub mod authenticator;
pub mod charge;
pub mod common_passwords;
pub mod credentials;
pub mod feeds;
pub mod limits;
pub mod mail_cap;
pub mod mails;
pub mod passwords;
pub mod permissions;
pub mod refresh_token;
pub mod sessions;
pub mod signing;
pub mod slots;
pub mod token_mail;

pub use actor::{Actor, Proven};
pub use authenticator::Authenticator;
pub use charge::Charge;
pub use credentials::Credentials;
pub use permissions::{MayWrite, Permission, Role};
