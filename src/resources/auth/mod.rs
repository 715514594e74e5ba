//! Sign-in: registration, tokens, sessions, passwords.
mod answers;
mod grant;
mod handlers;
mod presented;
mod queries;
mod recovery;
mod registration;
mod sign_in;
mod sign_out;
mod tokens;
mod types;

pub use handlers::AuthApi;
pub use registration::{AddedBy, Registration, Tenancy};
pub use tokens::{TokenIssuer, TokenOptions};
pub use types::SessionInfo;

crate::tag!(Auth);

crate::permissions! {
    /// To read one's own profile and sessions.
    Read(read): Viewer,
    /// To list one's own sessions.
    Sessions(read, people): Viewer,
    /// To end one's own sessions, and to change one's own password.
    Own(people): Viewer,
}
