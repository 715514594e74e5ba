//! Sign-in: registration, tokens, sessions, passwords.
mod answers;
mod grant;
mod handlers;
mod mails;
mod presented;
mod queries;
mod recovery;
mod registration;
mod sign_in;
mod sign_out;
mod types;

pub use handlers::AuthApi;
pub use mails::EmailTemplates;
pub use recovery::SendReset;
pub use registration::Tenancy;
pub use sign_in::{MAX_CONCURRENT_LOGIN_AUDITS, SignIn, SignInOptions};
pub use types::{SessionInfo, check_password};

crate::permissions! {
    /// One's own profile and sessions.
    Read(read): Viewer,
    /// The list of one's own sessions.
    Sessions(read, people): Viewer,
    /// To end one's own sessions, to change one's own password.
    Own(people): Viewer,
}
