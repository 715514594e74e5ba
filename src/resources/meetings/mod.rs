//! Meetings. Their attendees, their action items, and the files for calendar programs are in the folders below.
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
pub use types::{Meeting, MeetingId, MeetingInput, MeetingStatus};

crate::tag!(Meetings);

crate::permissions! {
    Read(read): Viewer,
    Write: Editor,
    Delete: Editor if own else Admin,
}
