//! Meetings for calendar programs: one meeting as a file, and the meetings of a person as a feed. The URL of a feed
//! contains a secret.
mod answer;
mod handlers;
mod ical;
mod queries;
mod types;

pub use handlers::{CalendarApi, FeedApi};
pub use queries::{feed_of, revoke};
pub use types::CalendarFeed;

crate::permissions! {
    Read(read): Viewer,
    /// To create and revoke one's own feed.
    Own(people): Viewer,
}
