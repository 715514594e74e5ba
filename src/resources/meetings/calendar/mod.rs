//! Meetings as calendar programs read them: one as a file, and a person's own as a feed, found by a secret in its address.
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
    /// One's own feed.
    Own(people): Viewer,
}
