//! Invitations: the addresses that were asked to join, and in which role. The token is shown once, and mailed.
mod handlers;
mod queries;
mod types;

use crate::auth::{Permission, Role};

pub use handlers::InvitationsApi;
pub use queries::{accept, delete_all, insert, invalid, withdraw_all};
pub use types::{Invitation, InvitationInput, NewInvitation};

crate::permissions! {
    Read(read): Admin,
    /// To invite, as nothing above oneself.
    Write(people): Admin,
    Withdraw: Admin,
}

/// Whether somebody in this role may invite as `role`, or withdraw such an invitation. One that was made is good while its
/// inviter still may.
fn may_invite(inviter: Role, role: Role) -> bool {
    inviter >= Write::ROLE && inviter >= role
}
