//! The types of audit entries in the contract of the API.
use crate::api::list::Filter;
use crate::db::schema::audit_logs;
use crate::db::types::{AnyId, AuditId, Instant, UserId};
use crate::db::{Action, Any};
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// An audit entry as stored.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = audit_logs, check_for_backend(Any))]
pub struct Stored {
    pub id: AuditId,
    pub at: Instant,
    pub actor_id: UserId,
    pub action: Action,
    pub subject_kind: String,
    pub subject_id: AnyId,
    pub changes: String,
    pub ip: Option<String>,
    pub request_id: Option<String>,
    pub seq: Option<i64>,
}

/// An audit entry as it is returned to clients.
#[derive(Debug, Clone, Object, Serialize)]
pub struct AuditEntry {
    pub id: AuditId,
    pub created_at: Instant,
    pub actor_id: UserId,
    pub action: Action,
    pub subject_kind: String,
    pub subject_id: AnyId,
    /// Maps the name of each changed member to `[before, after]`.
    pub changes: BTreeMap<String, Vec<Value>>,
    #[oai(nullable)]
    pub ip: Option<String>,
    #[oai(nullable)]
    pub request_id: Option<String>,
    /// The position of the entry in the sealed chain. Null until the entry is sealed.
    #[oai(nullable)]
    pub seq: Option<i64>,
}

impl From<Stored> for AuditEntry {
    fn from(stored: Stored) -> Self {
        let Stored { id, at, actor_id, action, subject_kind, subject_id, changes, ip, request_id, seq } = stored;
        let changes = serde_json::from_str(&changes).unwrap_or_else(|error| {
            tracing::error!(%error, audit.id = %id, "The changes of an audit row can't be read");
            BTreeMap::new()
        });
        Self { id, created_at: at, actor_id, action, subject_kind, subject_id, changes, ip, request_id, seq }
    }
}

crate::record! {
    AuditEntry {
        id: AuditId, kind: "audit_entry", table: audit_logs, href: "/api/v1/audit-logs", read_by: super::Read,
        held: [|tx, person, next| super::redaction::about(tx, person, next)],
    }
}

#[derive(Debug, Clone, Object)]
pub struct AuditFilter {
    pub action: Option<Action>,
    #[oai(validator(max_length = 20))]
    pub subject_kind: Option<String>,
    pub subject_id: Option<AnyId>,
    pub actor_id: Option<UserId>,
    pub created_after: Option<Instant>,
    pub created_before: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum AuditSort {
    #[default]
    CreatedAt,
}

impl Filter for AuditFilter {
    type Item = AuditEntry;
    type Column = AuditSort;
}
