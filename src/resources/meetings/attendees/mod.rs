//! The people who are asked to come to a meeting: users, and people outside by their address.
mod by_address;
mod handlers;
mod queries;
mod types;

pub use by_address::forms_to_find;
pub use handlers::AttendeesApi;
pub use queries::{anonymize_guest, delete_all, store};
pub use types::{Attendee, Rsvp};

crate::permissions! {
    Read(read): Viewer,
    /// To invite, and to take back an invitation.
    Write: Editor,
    /// Users answer for themselves alone; somebody has to answer for those outside.
    Answer: Viewer if own else Editor,
}
