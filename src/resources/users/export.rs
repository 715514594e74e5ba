//! Everything that is held about a person, as NDJSON: one object a line, its kind beside it. Batch by batch, each in a lease
//! of its own, so that nothing is held while a slow client reads.
use super::{Read, audited, queries};
use crate::api::Caller;
use crate::api::export::ndjson_response;
use crate::api::list::Batch;
use crate::auth::sessions::Sessions;
use crate::auth::{Permission, Role};
use crate::base::error::Result;
use crate::db::types::UserId;
use crate::db::{Cost, Db, Email, ReadTx, WriteScope};
use crate::resources::auth::{SessionInfo, all_devices};
use crate::resources::meetings::{action_items, attendees, calendar};
use crate::resources::{api_keys, audit_logs, contracts, invitations, items, meetings, tasks};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use serde_json::{Value, json};
use uuid::Uuid;

/// The kinds of records, in the order of the export. A resource that holds something about people adds itself here.
#[derive(Debug, Clone, Copy)]
enum Kind {
    User,
    Session,
    ApiKey,
    Invitation,
    Item,
    Task,
    Contract,
    Comment,
    Meeting,
    Attendance,
    /// As a guest, by the address that they have proved to be theirs.
    GuestAttendance,
    ActionItem,
    CalendarFeed,
    AuditEntry,
}

const KINDS: [Kind; 14] = [
    Kind::User,
    Kind::Session,
    Kind::ApiKey,
    Kind::Invitation,
    Kind::Item,
    Kind::Task,
    Kind::Contract,
    Kind::Comment,
    Kind::Meeting,
    Kind::Attendance,
    Kind::GuestAttendance,
    Kind::ActionItem,
    Kind::CalendarFeed,
    Kind::AuditEntry,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
            Self::ApiKey => "api_key",
            Self::Invitation => "invitation",
            Self::Item => "item",
            Self::Task => "task",
            Self::Contract => "contract",
            Self::Comment => "comment",
            Self::Meeting => "meeting",
            Self::Attendance | Self::GuestAttendance => "attendance",
            Self::ActionItem => "action_item",
            Self::CalendarFeed => "calendar_feed",
            Self::AuditEntry => "audit_entry",
        }
    }
}

pub struct PersonalData(Body);

impl PersonalData {
    pub async fn stream(db: Db, sessions: Sessions, caller: Caller<Read>) -> Result<Self> {
        // An error here still gets its proper answer.
        let slot = caller.begin_export()?;
        let user = batch(&db, &sessions, &caller, caller.role(), Kind::User, Batch::first()).await?;
        let head = print(Kind::User, user);
        let start = (db, sessions, caller, Some((1, Batch::first())), slot);
        let rest = stream::try_unfold(start, |(db, sessions, caller, place, slot)| async move {
            let Some((index, next)) = place else { return Ok(None) };
            let kind: Kind = KINDS[index];
            let role = caller.recheck().await?;
            let rows = batch(&db, &sessions, &caller, role, kind, next).await?;
            // What is few in number has no id to go on after, and fits.
            let (rows, _, size) = match last_id(kind, &rows) {
                Some(_) => next.size.fit(rows.into_iter()),
                None => (rows, false, next.size),
            };
            let place = match last_id(kind, &rows) {
                Some(last) => Some((index, Batch { after: last, size })),
                None => Some((index + 1, Batch::first())).filter(|(index, _)| *index < KINDS.len()),
            };
            Ok(Some((print(kind, rows), (db, sessions, caller, place, slot))))
        });
        let rest = rest.map_err(|error: crate::base::error::Error| {
            tracing::error!(?error, "An export broke off");
            std::io::Error::other(error)
        });
        Ok(Self(Body::from_bytes_stream(stream::once(async { Ok(head) }).chain(rest))))
    }
}

/// The id to go on after; none where the kind is at its end.
fn last_id(kind: Kind, rows: &[Value]) -> Option<Uuid> {
    match kind {
        Kind::User | Kind::Session | Kind::CalendarFeed => None, // they are few
        Kind::ApiKey
        | Kind::Invitation
        | Kind::Item
        | Kind::Task
        | Kind::Contract
        | Kind::Comment
        | Kind::Meeting
        | Kind::Attendance
        | Kind::GuestAttendance
        | Kind::ActionItem
        | Kind::AuditEntry => rows.last()?["id"].as_str()?.parse().ok(),
    }
}

fn print(kind: Kind, rows: Vec<Value>) -> String {
    rows.into_iter().map(|data| format!("{}\n", json!({"kind": kind.name(), "data": data}))).collect()
}

/// The next rows of a kind, as far as somebody of this role may see them.
async fn batch(
    db: &Db,
    sessions: &Sessions,
    caller: &Caller<Read>,
    role: Role,
    kind: Kind,
    next: Batch,
) -> Result<Vec<Value>> {
    if let Kind::Session = kind {
        let current = caller.session().unwrap_or_else(|_| Uuid::nil().into());
        let devices = all_devices(db, sessions, caller.as_actor()).await?;
        return Ok(values(devices.into_iter().map(|device| SessionInfo::of(device, current)).collect()));
    }
    let user: UserId = caller.as_actor().actor();
    let read = async |tx: &mut ReadTx| {
        Ok(match kind {
            Kind::User => values(vec![queries::find(tx, user).await?]),
            Kind::Session => vec![],
            // What only admins see is not for somebody who was one.
            Kind::ApiKey if role < api_keys::Read::ROLE => vec![],
            Kind::ApiKey => values(api_keys::made_by(tx, user, next).await?),
            Kind::Invitation if role < invitations::Read::ROLE => vec![],
            Kind::Invitation => values(invitations::made_by(tx, user, next).await?),
            Kind::Item => values(items::of_owner(tx, user, next).await?),
            Kind::Task => values(tasks::about(tx, user, next).await?),
            Kind::Contract => values(contracts::made_by(tx, user, next, role).await?),
            Kind::Comment => values(tasks::comments::about(tx, user, next).await?),
            Kind::Meeting => values(meetings::made_by(tx, user, next).await?),
            Kind::Attendance => values(attendees::of_user(tx, user, next).await?),
            // An address that nobody has proved may be a stranger's.
            Kind::GuestAttendance => match queries::verified_forms(tx, user).await?.first() {
                Some(address) => values(attendees::of_guest(tx, &Email::of_stored(address), next).await?),
                None => vec![],
            },
            Kind::ActionItem => values(action_items::about(tx, user, next).await?),
            Kind::CalendarFeed => values(calendar::feed_of(tx, user).await?.into_iter().collect()),
            Kind::AuditEntry => {
                let entries = audit_logs::about(tx, user, next).await?;
                values(entries.into_iter().map(|entry| audited::redact_for(entry, user, role)).collect())
            }
        })
    };
    db.read_at(Cost::Long, caller, read).await
}

fn values<T: ToJSON>(rows: Vec<T>) -> Vec<Value> {
    rows.iter().filter_map(ToJSON::to_json).collect()
}

impl IntoResponse for PersonalData {
    fn into_response(self) -> Response {
        let response = Response::builder().content_type("application/x-ndjson");
        response.header("content-disposition", "attachment; filename=\"personal-data.ndjson\"").body(self.0)
    }
}
impl ApiResponse for PersonalData {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![ndjson_response("Everything that is held about the caller")] }
    }
    fn register(_: &mut Registry) {}
}
