//! Meetings: what people come together for. Attendees, action items, and what calendar programs read are in the folders below.
pub mod action_items;
pub mod attendees;
pub mod calendar;
mod demo;
mod handlers;
mod queries;
mod rules;
mod types;

pub use handlers::MeetingsApi;
pub use queries::store;
pub use types::{Meeting, MeetingInput, MeetingStatus};

use crate::db::Db;

crate::permissions! {
    Read(read): Viewer,
    Write: Editor,
    Delete: Editor if own else Admin,
}

/// All operations on meetings.
pub type Apis =
    (MeetingsApi, attendees::AttendeesApi, action_items::ActionItemsApi, calendar::CalendarApi, calendar::FeedApi);

pub fn apis(db: &Db) -> Apis {
    (
        MeetingsApi { db: db.clone() },
        attendees::AttendeesApi { db: db.clone() },
        action_items::ActionItemsApi { db: db.clone() },
        calendar::CalendarApi { db: db.clone() },
        calendar::FeedApi { db: db.clone() },
    )
}
