//! The types of invitations in the contract of the API.
use super::Read;
use crate::api::Input;
use crate::api::scalars::Email;
use crate::auth::Role;
use crate::db::Any;
use crate::db::schema::invitations;
use crate::db::types::{Instant, UserId};
use diesel::prelude::*;
use poem_openapi::Object;
use serde::Serialize;

#[derive(Debug, Clone, Object)]
pub struct InvitationInput {
    #[oai(validator(max_length = 254))]
    pub email: Email,
    pub role: Role,
}

impl Input for InvitationInput {}

/// An invitation as stored.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = invitations, check_for_backend(Any))]
pub struct Stored {
    pub id: InvitationId,
    pub email: String,
    pub role: Role,
    pub invited_by: Option<UserId>,
    pub created_at: Instant,
    pub expires_at: Instant,
}

/// An invitation as it is returned to clients.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: String,
    pub role: Role,
    /// Null if an operator made the invitation.
    #[oai(nullable)]
    pub invited_by: Option<UserId>,
    pub created_at: Instant,
    pub expires_at: Instant,
    pub version: i64,
}

impl From<Stored> for Invitation {
    fn from(Stored { id, email, role, invited_by, created_at, expires_at }: Stored) -> Self {
        Self { id, email, role, invited_by, created_at, expires_at, version: 1 } // it never changes
    }
}

crate::resource!(Invitation, record);

crate::record! {
    Invitation {
        id: new InvitationId, kind: "invitation", table: invitations, href: "/api/v1/invitations/{id}", read_by: Read,
        title: email until expires_at,
        people: [invited_by = Owner],
        held: [if Read |tx, person, next| super::queries::made_by(tx, person.user(), next)],
    }
}

/// An invitation with its token, which is shown once.
#[derive(Debug, Clone, Object, Serialize)]
pub struct NewInvitation {
    #[oai(flatten)]
    #[serde(flatten)]
    pub invitation: Invitation,
    /// The token, which is shown only once, and mailed.
    pub token: String,
}

crate::shown_once!(NewInvitation, invitation);
crate::plain_list!(InvitationFilter of Invitation);
