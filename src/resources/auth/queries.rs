//! A user's own sessions in the database. The queries for the rotation of tokens are in `db::sessions`.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{SessionFilter, SessionInfo, SessionSort};
use crate::api::DataSubject;
use crate::api::list::List;
use crate::auth::sessions::Device;
use crate::base::error::Result;
use crate::db::deadline::InTime;
use crate::db::schema::{sessions, users};
use crate::db::types::{Instant, SessionId, TenantId, UserId};
use crate::db::{Any, ReadTx, RunQueryDsl};
use crate::paged;
use diesel::dsl::exists;
use diesel::prelude::*;
use uuid::Uuid;

/// The user's sessions that can still be used, not yet sorted.
fn open(tenant: TenantId, user: UserId, now: Instant) -> sessions::BoxedQuery<'static, Any> {
    let of_user = sessions::tenant_id.eq(tenant).and(sessions::user_id.eq(user));
    let is_open = sessions::ended_at.is_null().and(sessions::expires_at.gt(now));
    let of_this_epoch = users::table
        .filter(users::tenant_id.eq(sessions::tenant_id).and(users::id.eq(sessions::user_id)))
        .filter(users::session_epoch.le(sessions::epoch));
    sessions::table.filter(of_user).filter(is_open).filter(exists(of_this_epoch)).into_boxed()
}

type Row = (SessionId, Option<String>, Option<String>, Instant, Instant, Instant);

#[diesel::dsl::auto_type(no_type_alias)]
fn columns() -> _ {
    (
        sessions::id,
        sessions::device_name,
        sessions::ip,
        sessions::created_at,
        sessions::rotated_at,
        sessions::expires_at,
    )
}

fn device((id, device_name, ip, created_at, last_used_at, expires_at): Row) -> Device {
    Device { id, device_name, ip, created_at, last_used_at, expires_at }
}

pub async fn list(tx: &mut ReadTx, user: UserId, list: &List<SessionFilter>) -> Result<(Vec<Device>, Option<i64>)> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let (rows, total): (Vec<Row>, _) = paged!(tx, list, open(tenant, user, now).filter(InTime), columns(), (sessions::id, SessionId), {
        SessionSort::CreatedAt => (sessions::created_at, Instant),
    });
    Ok((rows.into_iter().map(device).collect(), total))
}

/// The devices on which a person is signed in, the latest first.
pub async fn sessions_of(person: &DataSubject) -> Result<Vec<SessionInfo>> {
    let user = person.user();
    let devices = match person.sessions.devices(&person.actor).await? {
        Some(devices) => devices,
        None => person.db.read(&person.actor, async |tx: &mut ReadTx| all(tx, user).await).await?,
    };
    let current = person.session.unwrap_or_else(|| Uuid::nil().into());
    Ok(devices.into_iter().map(|device| SessionInfo::of(device, current)).collect())
}

/// The latest thousand sessions of a user that can still be used.
async fn all(tx: &mut ReadTx, user: UserId) -> Result<Vec<Device>> {
    let open = open(tx.tenant(), user, tx.now()).order((sessions::created_at.desc(), sessions::id.desc()));
    let rows: Vec<Row> = open.limit(1000).select(columns()).load(tx).await?;
    Ok(rows.into_iter().map(device).collect())
}
