//! The audit log in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{AuditEntry, AuditFilter, AuditSort, Stored};
use crate::api::list::{Batch, List, Page};
use crate::base::error::Result;
use crate::base::formats::parse_uuid;
use crate::db::schema::audit_logs;
use crate::db::search::like;
use crate::db::sql::text_or;
use crate::db::types::{AnyId, AuditId, Instant, UserId};
use crate::db::{Any, ReadTx, RunQueryDsl};
use crate::{batch, narrowed, paged};
use diesel::prelude::*;

/// The rows that match the filters and the search of a list, not yet sorted. A search for an id finds the actions of
/// the user with this id and the changes to the record with this id. Any other text is searched in the changes.
fn matching(tx: &ReadTx, list: &List<AuditFilter>) -> audit_logs::BoxedQuery<'static, Any> {
    let AuditFilter { action, subject_kind, subject_id, actor_id, created_after, created_before } = list.filter.clone();
    let id = list.q.as_deref().and_then(parse_uuid).map(AnyId::from);
    let text = list.q.as_deref().filter(|_| id.is_none()).map(|text| tx.pattern(&in_json(text)));
    narrowed!(
        audit_logs::table.filter(audit_logs::tenant_id.eq(tx.tenant())).into_boxed(),
        action => audit_logs::action.eq(action),
        subject_kind => audit_logs::subject_kind.eq(subject_kind),
        subject_id => audit_logs::subject_id.eq(subject_id),
        actor_id => audit_logs::actor_id.eq(actor_id),
        created_after => audit_logs::at.gt(created_after),
        created_before => audit_logs::at.lt(created_before),
        id => audit_logs::subject_id.eq(id)
            .or(audit_logs::actor_id.eq(id))
            .or(audit_logs::id.eq(id))
            .or(text_or(audit_logs::request_id, "").eq(id.0.to_string())),
        text => like(audit_logs::changes, text),
    )
}

/// A text as it is written in the stored JSON: with quotation marks, backslashes and line breaks escaped.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).to_owned()
}

pub async fn list(tx: &mut ReadTx, list: &List<AuditFilter>) -> Result<Page<AuditEntry>> {
    let columns = Stored::as_select();
    let (rows, total): (Vec<Stored>, _) = paged!(tx, list, matching(tx, list), columns, (audit_logs::id, AuditId), {
        AuditSort::CreatedAt => (audit_logs::at, Instant),
    });
    Ok(list.page(rows.into_iter().map(AuditEntry::from).collect(), total))
}

/// The next entries with a person as actor or as subject, in the order of their ids. The IP addresses of other actors
/// are left out.
pub async fn about(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<AuditEntry>> {
    let of_user = audit_logs::actor_id.eq(user).or(audit_logs::subject_id.eq(AnyId::from(user.0)));
    let rows = audit_logs::table.filter(audit_logs::tenant_id.eq(tx.tenant()));
    let rows = batch!(rows, of_user, next, (audit_logs::id, AuditId));
    let rows: Vec<Stored> = rows.select(Stored::as_select()).load(tx).await?;
    let seen = |row: Stored| Stored { ip: row.ip.filter(|_| row.actor_id == user), ..row };
    Ok(rows.into_iter().map(seen).map(AuditEntry::from).collect())
}
