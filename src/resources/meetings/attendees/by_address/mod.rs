//! Attendees who are invited by e-mail address. The user who has verified the address can answer the invitation and
//! finds the meeting. Nobody else learns that the address belongs to this user.
use super::queries;
use super::types::Attendee;
use crate::api::list::Batch;
use crate::api::{Owned, Resource};
use crate::base::error::Result;
use crate::db::types::UserId;
use crate::db::{Email, ReadTx};
use crate::resources::users;
use poem_openapi::Object;
use serde::Serialize;
use uuid::Uuid;

/// An attendee that is to be changed, and the user who may answer the invitation.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Invited {
    pub attendee: Attendee,
    /// `None` for a guest from outside of the tenant. Editors answer for such guests.
    answers: Option<UserId>,
}

impl Invited {
    /// The invited user may answer. If one of the `forms` of the actor's verified address is invited, the `actor` may
    /// answer.
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

/// The next invitations of a user by the e-mail address that the user has verified. An address that is not verified may
/// be a stranger's.
pub async fn of_guest(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Attendee>> {
    match users::verified_forms(tx, user).await?.first() {
        Some(address) => queries::of_guest(tx, &Email::of_stored(address), next).await,
        None => Ok(vec![]),
    }
}

/// The forms of the address that a filter by attendee also looks for. These are the forms of the reader's verified
/// address if readers look for themselves. For other users there are none.
pub async fn forms_to_find(tx: &mut ReadTx, wanted: Option<UserId>, reader: UserId) -> Result<Vec<String>> {
    match wanted {
        Some(wanted) if wanted == reader => users::verified_forms(tx, reader).await,
        _ => Ok(vec![]),
    }
}
