//! The people who are invited to a meeting: users of the tenant, and people outside of it by e-mail address.
mod by_address;
mod handlers;
mod queries;
mod types;

pub use by_address::forms_to_find;
pub use handlers::AttendeesApi;
pub use queries::{anonymize_guest, delete_all, store};
pub use types::{Attendee, AttendeeId, Rsvp};

crate::permissions! {
    Read(read): Viewer,
    /// To invite people and to withdraw invitations.
    Write: Editor,
    /// To answer an invitation. Users answer for themselves alone, and editors answer for people outside of the tenant.
    Answer: Viewer if own else Editor,
}
