//! The types of attendees in the contract of the API.
use crate::api::Input;
use crate::api::list::Filter;
use crate::api::scalars::Email;
use crate::base::error::Detail;
use crate::db::Any;
use crate::db::schema::meeting_attendees;
use crate::db::types::{Instant, UserId};
use crate::resources::meetings::MeetingId;
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

crate::text_enum! {
    /// Whether an attendee will come.
    #[derive(Default)]
    pub enum Rsvp {
        Yes = "yes",
        No = "no",
        Maybe = "maybe",
        /// The attendee has not answered yet.
        #[default]
        None = "none",
    }
}

/// The user or the address to invite.
#[derive(Debug, Clone, Object)]
pub struct NewAttendee {
    #[oai(nullable)]
    pub user_id: Option<UserId>,
    /// The e-mail address of a person outside of the tenant. The address of a user invites that user if the caller may
    /// see addresses, and a guest otherwise.
    #[oai(nullable, validator(max_length = 254))]
    pub email: Option<Email>,
}

impl Input for NewAttendee {
    fn check(&self, problems: &mut Detail) {
        match (&self.user_id, &self.email) {
            (Some(_), Some(_)) => problems.add("email", "must be absent with `user_id`"),
            (None, None) => problems.add("user_id", "is required, unless `email` is given"),
            _ => {}
        }
    }
}

/// The answer to an invitation.
#[derive(Debug, Clone, Object)]
pub struct AttendeeInput {
    pub rsvp: Rsvp,
}

impl Input for AttendeeInput {}

/// An attendee as stored and as returned to clients.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = meeting_attendees, check_for_backend(Any))]
pub struct Attendee {
    pub id: AttendeeId,
    pub meeting_id: MeetingId,
    /// Null if the attendee was invited by e-mail address.
    #[oai(nullable)]
    pub user_id: Option<UserId>,
    /// Null if the attendee is a user.
    #[oai(nullable)]
    pub email: Option<String>,
    pub rsvp: Rsvp,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

crate::resource!(Attendee, record);

crate::record! {
    Attendee {
        id: new AttendeeId, kind: "attendee", table: meeting_attendees, href: "/api/v1/meetings/{parent}/attendees/{id}",
        read_by: super::Read,
        parent: meeting_id of "meeting",
        title: email or name of user_id,
        people: [user_id = Invited],
        held: [
            as "attendance" |tx, person, next| super::queries::of_user(tx, person.user(), next),
            as "attendance" |tx, person, next| super::by_address::of_guest(tx, person.user(), next),
        ],
    }
}

/// Attendees have no filters.
#[derive(Debug, Clone, Object)]
pub struct AttendeeFilter {}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum AttendeeSort {
    #[default]
    CreatedAt,
}

impl Filter for AttendeeFilter {
    type Item = Attendee;
    type Column = AttendeeSort;
    const IS_PLAIN: bool = true;
}
