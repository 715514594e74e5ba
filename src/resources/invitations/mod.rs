//! Invitations to join a tenant in a given role, by e-mail address. The token is shown once, and mailed.
mod handlers;
mod queries;
mod types;

use crate::auth::{Permission, Role};

pub use handlers::InvitationsApi;
pub use queries::{accept, delete_all, insert, invalid, withdraw_all};
pub use types::{Invitation, InvitationId, InvitationInput, NewInvitation};

crate::tag!(Invitations);

crate::permissions! {
    Read(read): Admin,
    /// To invite people, in no role above one's own.
    Write(people): Admin,
    Withdraw: Admin,
}

/// Whether a user with this role may invite people as `role`, or withdraw such an invitation. An invitation is valid
/// only while this is true for its inviter.
fn may_invite(inviter: Role, role: Role) -> bool {
    inviter >= Write::ROLE && inviter >= role
}
