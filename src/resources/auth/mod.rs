//! Sign-in: registration, tokens, sessions, passwords.
mod answers;
mod handlers;
mod presented;
mod queries;
mod sign_in;
mod types;

pub use handlers::AuthApi;
pub use sign_in::{SignIn, SignInOptions, Tenancy};

crate::permissions! {
    /// One's own profile and sessions.
    Read(read): Viewer,
    /// To end one's own sessions, to change one's own password.
    Own: Viewer,
}
