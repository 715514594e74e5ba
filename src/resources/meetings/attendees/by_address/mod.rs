//! Who is invited by an address: the user who has proved that it is theirs answers for it, and finds the meeting. Nobody else
//! learns whose it is.
use super::types::Attendee;
use crate::auth::Owned;
use crate::db::ReadTx;
use crate::db::types::UserId;
use crate::error::Result;
use crate::http::Resource;
use crate::resources::users;
use poem_openapi::Object;
use uuid::Uuid;

/// An attendee who is to be changed, and the user who may answer for them.
#[derive(Debug, Clone, Object)]
pub struct Invited {
    pub attendee: Attendee,
    answers: UserId,
}

impl Invited {
    /// The answer is the invited user's own, or that of the `actor` whose verified `address` is invited. One from outside is
    /// nobody's.
    pub fn new(attendee: Attendee, actor: UserId, address: Option<&str>) -> Self {
        let is_actors = address.is_some() && attendee.email.as_deref() == address;
        let by_address = if is_actors { actor } else { Uuid::nil().into() };
        Self { answers: attendee.user_id.unwrap_or(by_address), attendee }
    }
}

impl Resource for Invited {
    const PATH: &'static str = Attendee::PATH;

    fn id(&self) -> Uuid {
        self.attendee.id()
    }
    fn version(&self) -> i64 {
        self.attendee.version
    }
}

impl Owned for Invited {
    fn owner(&self) -> UserId {
        self.answers
    }
}

/// The address that a reader's search for an attendee is about, too: their own, where it is themselves whom they look for.
pub async fn address_to_find(tx: &mut ReadTx, wanted: Option<UserId>, reader: UserId) -> Result<Option<String>> {
    match wanted {
        Some(wanted) if wanted == reader => users::verified_address(tx, reader).await,
        _ => Ok(None),
    }
}
