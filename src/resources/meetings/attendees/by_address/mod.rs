//! Attendees who are invited by an address: the user who has proved that it is theirs answers for it, and finds the meeting.
//! Nobody else learns that it is this user's.
use super::queries;
use super::types::Attendee;
use crate::api::list::Batch;
use crate::api::{Owned, Resource};
use crate::base::error::Result;
use crate::db::types::UserId;
use crate::db::{Email, ReadTx};
use crate::resources::users;
use poem_openapi::Object;
use uuid::Uuid;

/// An attendee who is to be changed, and the user who may answer for them.
#[derive(Debug, Clone, Object)]
pub struct Invited {
    pub attendee: Attendee,
    /// `None` for a guest from outside, for whom nobody answers.
    answers: Option<UserId>,
}

impl Invited {
    /// The answer is the invited user's own, or that of the `actor` whose verified address is invited, in one of its `forms`.
    pub fn new(attendee: Attendee, actor: UserId, forms: &[String]) -> Self {
        let is_actors = attendee.email.as_ref().is_some_and(|email| forms.contains(email));
        Self { answers: attendee.user_id.or(is_actors.then_some(actor)), attendee }
    }
}

impl Resource for Invited {
    fn id(&self) -> Uuid {
        self.attendee.id()
    }
    fn version(&self) -> i64 {
        self.attendee.version
    }
    fn location(&self) -> String {
        self.attendee.location()
    }
}

impl Owned for Invited {
    fn owner(&self) -> Option<UserId> {
        self.answers
    }
}

/// The next invitations of a user by the address that they have proved to be theirs. One that they have not proved may be a
/// stranger's.
pub async fn of_guest(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Attendee>> {
    match users::verified_forms(tx, user).await?.first() {
        Some(address) => queries::of_guest(tx, &Email::of_stored(address), next).await,
        None => Ok(vec![]),
    }
}

/// The forms of the address that a reader's search for an attendee is about, too: their own, where they look for themselves.
pub async fn forms_to_find(tx: &mut ReadTx, wanted: Option<UserId>, reader: UserId) -> Result<Vec<String>> {
    match wanted {
        Some(wanted) if wanted == reader => users::verified_forms(tx, reader).await,
        _ => Ok(vec![]),
    }
}
