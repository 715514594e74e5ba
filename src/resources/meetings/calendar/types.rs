//! The types of a person's calendar feed in the contract of the API, and of the events in a calendar.
use crate::api::Resource;
use crate::db::Any;
use crate::db::schema::{calendar_feeds, meetings};
use crate::db::types::{CalendarFeedId, Instant, UserId};
use crate::resources::meetings::MeetingId;
use crate::resources::meetings::attendees::Rsvp;
use crate::resources::meetings::types::MeetingStatus;
use diesel::prelude::*;
use poem_openapi::Object;
use serde::Serialize;
use uuid::Uuid;

/// A calendar feed without its URL, which is shown only once.
#[derive(Debug, Clone, Object, Serialize)]
pub struct CalendarFeed {
    pub id: CalendarFeedId,
    pub created_at: Instant,
    pub version: i64,
}

impl From<Stored> for CalendarFeed {
    fn from(Stored { id, created_at }: Stored) -> Self {
        Self { id, created_at, version: 1 } // it never changes
    }
}

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = calendar_feeds, check_for_backend(Any))]
pub struct Stored {
    pub id: CalendarFeedId,
    pub created_at: Instant,
}

crate::resource!(CalendarFeed, record, {
    /// The tag is the id, because all callers get their own feeds under the same URL, and a new feed has a new id.
    fn tag(&self) -> String {
        self.id.to_string()
    }
});

crate::record! {
    CalendarFeed {
        id: CalendarFeedId, kind: "calendar_feed", table: calendar_feeds, href: "/api/v1/users/me/calendar",
        read_by: super::Read,
        held: [|tx, person| async { super::feed_of(tx, person.user()).await.map(Vec::from_iter) }],
    }
}

/// A feed with its URL, which is shown only once.
#[derive(Debug, Clone, Object, Serialize)]
pub struct NewCalendarFeed {
    #[oai(flatten)]
    #[serde(flatten)]
    pub feed: CalendarFeed,
    /// A path on this server. Every client that knows it can read the feed.
    pub url: String,
}

impl Resource for NewCalendarFeed {
    const IS_CONFIDENTIAL: bool = true;

    fn id(&self) -> Uuid {
        self.feed.id()
    }
    fn version(&self) -> i64 {
        self.feed.version
    }
    fn tag(&self) -> String {
        self.feed.tag()
    }
    fn location(&self) -> String {
        self.feed.location()
    }
}

/// The data of a meeting in a feed. A client that knows the URL of the feed sees no more than this.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = meetings, check_for_backend(Any))]
pub struct Facts {
    pub id: MeetingId,
    pub title: String,
    pub location: Option<String>,
    pub status: MeetingStatus,
    pub starts_at: Instant,
    pub ends_at: Instant,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

/// A meeting in a calendar.
#[derive(Debug)]
pub struct Event {
    pub facts: Facts,
    pub agenda: Option<String>,
    /// The id and the name of a user.
    pub organizer: Option<(UserId, String)>,
    pub guests: Vec<Guest>,
}

impl From<Facts> for Event {
    fn from(facts: Facts) -> Self {
        Self { facts, agenda: None, organizer: None, guests: vec![] }
    }
}

/// An attendee: a user with id and name, or an e-mail address.
#[derive(Debug)]
pub struct Guest {
    pub user: Option<(UserId, String)>,
    pub email: Option<String>,
    pub rsvp: Rsvp,
    pub updated_at: Instant,
}
