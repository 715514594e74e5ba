//! One's own sessions in the database. What rotation needs is in `db::sessions`.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{SessionFilter, SessionInfo, SessionSort};
use crate::db::types::{Instant, SessionId, TenantId, UserId};
use crate::db::{Any, ReadTx};
use crate::error::Result;
use crate::list::{List, Page};
use crate::paged;
use crate::schema::sessions;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// The user's sessions that can still be used, in no order yet.
fn open(tenant: TenantId, user: UserId, now: Instant) -> sessions::BoxedQuery<'static, Any> {
    let of_user = sessions::tenant_id.eq(tenant).and(sessions::user_id.eq(user));
    let is_open = sessions::ended_at.is_null().and(sessions::expires_at.gt(now));
    sessions::table.filter(of_user).filter(is_open).into_boxed()
}

pub async fn list(
    tx: &mut ReadTx,
    user: UserId,
    current: SessionId,
    list: &List<SessionFilter>,
) -> Result<Page<SessionInfo>> {
    type Row = (SessionId, Option<String>, Option<String>, Instant, Instant, Instant);
    let (tenant, now) = (tx.tenant(), tx.now());
    let columns = (
        sessions::id,
        sessions::device_name,
        sessions::ip,
        sessions::created_at,
        sessions::rotated_at,
        sessions::expires_at,
    );
    let (rows, total): (Vec<Row>, _) = paged!(tx, list, open(tenant, user, now), columns, (sessions::id, SessionId), {
        SessionSort::CreatedAt => (sessions::created_at, Instant),
    });
    let session = |(id, device_name, ip, created_at, last_used_at, expires_at): Row| SessionInfo {
        id,
        device_name,
        ip,
        created_at,
        last_used_at,
        expires_at,
        is_current: id == current,
    };
    Ok(list.page(rows.into_iter().map(session).collect(), total))
}
