//! Invitations: who was asked to join, and as what. The token is shown once, and mailed.
mod handlers;
mod queries;
mod types;

pub use handlers::InvitationsApi;
pub use queries::{accept, insert, invalid, made_by};
pub use types::{InvitationInput, NewInvitation};

crate::permissions! {
    Read(read): Admin,
    /// To invite, as nothing above oneself, and to withdraw.
    Write: Admin,
}
