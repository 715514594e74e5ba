//! Callers, and what they may do: passwords, tokens, sessions, principals, permissions and limits, as plain functions, and the mails
//! about accounts. The operations of sign-in are in `resources::auth`, and the arguments of handlers are in `api`.
pub mod access_token;
mod actor;
pub mod attempts;
pub mod authenticator;
pub mod charge;
pub mod common_passwords;
pub mod credentials;
pub mod export_slots;
pub mod feeds;
pub mod limits;
pub mod mail_cap;
pub mod mails;
pub mod passwords;
pub mod permissions;
pub mod refresh_token;
pub mod sessions;
pub mod signing;
pub mod token_mail;

pub use actor::{Actor, Proven};
pub use authenticator::Authenticator;
pub use charge::Charge;
pub use credentials::Credentials;
pub use permissions::{MayWrite, Permission, Role};
