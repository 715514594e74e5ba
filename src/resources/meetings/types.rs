//! The types of meetings in the contract of the API, and the rules that a schema can't express.
use crate::api::Input;
use crate::api::list::Filter;
use crate::base::error::Detail;
use crate::db::Any;
use crate::db::schema::meetings;
use crate::db::types::{Day, Instant, UserId};
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

crate::text_enum! {
    #[derive(Default)]
    pub enum MeetingStatus {
        #[default]
        Scheduled = "scheduled",
        InProgress = "in_progress",
        Completed = "completed",
        Cancelled = "cancelled",
    }
}

/// The members of a meeting that clients write. POST and PUT take the whole object, PATCH takes any of its members.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = meetings, check_for_backend(Any))]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct MeetingInput {
    #[oai(validator(min_length = 1, max_length = 200))]
    pub title: String,
    #[oai(nullable, validator(max_length = 20000))]
    pub agenda: Option<String>,
    #[oai(nullable, validator(max_length = 20000))]
    pub minutes: Option<String>,
    #[oai(nullable, validator(max_length = 200))]
    pub location: Option<String>,
    #[oai(default)]
    pub status: MeetingStatus,
    pub starts_at: Instant,
    pub ends_at: Instant,
}

impl Input for MeetingInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("title", &self.title);
        // The times are compared as they are stored, in microseconds.
        if Instant::from(self.starts_at.0) >= Instant::from(self.ends_at.0) {
            problems.add("ends_at", "must be after `starts_at`");
        }
    }
}

/// A meeting as stored and as returned to clients.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = meetings, check_for_backend(Any))]
pub struct Meeting {
    pub id: MeetingId,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub input: MeetingInput,
    pub created_by: UserId,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

impl Meeting {
    /// A new meeting in its first version.
    pub fn new(id: MeetingId, input: MeetingInput, created_by: UserId, now: Instant) -> Self {
        Self { id, input, created_by, version: 1, created_at: now, updated_at: now }
    }

    /// The next version of this meeting.
    pub fn changed(&self, input: MeetingInput, now: Instant) -> Self {
        Self { input, version: self.version + 1, updated_at: now, ..self.clone() }
    }
}

crate::resource!(Meeting, record, owner: created_by);

crate::record! {
    Meeting {
        id: new MeetingId, kind: "meeting", table: meetings, href: "/api/v1/meetings/{id}", read_by: super::Read,
        title: title in input,
        text: [title in input = High, agenda in input = Medium, location in input = Medium, minutes in input = Low],
        people: [created_by = Owner],
        held: [|tx, person, next| super::queries::made_by(tx, person.user(), next)],
        demo: super::demo::DEMO,
    }
}

/// The filters of a list of meetings. Each member is a query parameter.
#[derive(Debug, Clone, Object)]
pub struct MeetingFilter {
    pub status: Option<MeetingStatus>,
    /// Meetings that start on this day or later, in the tenant's time zone.
    pub from_date: Option<Day>,
    /// Meetings that start on this day or earlier.
    pub to_date: Option<Day>,
    /// Meetings to which this user is invited.
    pub attendee: Option<UserId>,
}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum MeetingSort {
    Title,
    Status,
    StartsAt,
    #[default]
    CreatedAt,
    UpdatedAt,
}

impl Filter for MeetingFilter {
    type Item = Meeting;
    type Column = MeetingSort;
}
