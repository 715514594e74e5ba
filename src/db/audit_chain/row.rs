//! The rows of a chain, and their hashes.
use super::head::{Hash, Head};
use crate::db::schema::audit_logs as logs;
use crate::db::types::{AnyId, AuditId, Instant, TenantId, UserId};
use diesel::prelude::*;
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = logs, check_for_backend(crate::db::Any))]
pub struct Row {
    pub id: AuditId,
    pub at: Instant,
    pub actor_id: UserId,
    pub action: String,
    pub subject_kind: String,
    pub subject_id: AnyId,
    pub changes: String,
    pub ip: Option<String>,
    pub request_id: Option<String>,
    pub seq: Option<i64>,
    pub hash: Option<Vec<u8>>,
}

impl Row {
    /// The head of the chain after this row, if the chain before it ends at `before`. In the hash, each part is
    /// preceded by its length, so that two different rows never have the same bytes.
    pub fn sealed(&self, tenant: TenantId, before: Head) -> Head {
        let Self { id, at, actor_id, action, subject_kind, subject_id, changes, ip, request_id, seq: _, hash: _ } =
            self;
        let seq = before.seq + 1;
        let mut digest = Sha256::new();
        digest.update(before.hash);
        let micros = at.0.timestamp_micros();
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        part(&seq.to_be_bytes());
        part(tenant.0.as_bytes());
        part(id.0.as_bytes());
        part(&micros.to_be_bytes());
        part(actor_id.0.as_bytes());
        part(action.as_bytes());
        part(subject_kind.as_bytes());
        part(subject_id.0.as_bytes());
        part(changes.as_bytes());
        for optional in [ip, request_id] {
            part(&[u8::from(optional.is_some())]);
            part(optional.as_deref().unwrap_or_default().as_bytes());
        }
        Head { seq, hash: Hash::from(digest.finalize()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Duration};
    use uuid::Uuid;

    fn row() -> Row {
        Row {
            id: Uuid::from_u128(1).into(),
            at: DateTime::from_timestamp_micros(1_800_000_000_000_001).unwrap().into(),
            actor_id: Uuid::from_u128(2).into(),
            action: "update".into(),
            subject_kind: "task".into(),
            subject_id: Uuid::from_u128(3).into(),
            changes: r#"{"title":["a","b"]}"#.into(),
            ip: Some("192.0.2.1".into()),
            request_id: None,
            seq: None,
            hash: None,
        }
    }

    #[test]
    fn every_member_and_its_place_are_in_the_hash() {
        let tenant = Uuid::from_u128(9).into();
        let sealed = row().sealed(tenant, Head::EMPTY);
        assert_eq!(sealed.seq, 1);
        let other = |change: fn(&mut Row)| {
            let mut row = row();
            change(&mut row);
            row.sealed(tenant, Head::EMPTY).hash
        };
        let changed = [
            other(|row| row.id = Uuid::from_u128(5).into()),
            other(|row| row.at = (row.at.0 + Duration::microseconds(1)).into()),
            other(|row| row.actor_id = Uuid::from_u128(5).into()),
            other(|row| row.action = "delete".into()),
            other(|row| row.subject_kind = "user".into()),
            other(|row| row.subject_id = Uuid::from_u128(5).into()),
            other(|row| row.changes.push(' ')),
            other(|row| row.ip = None),
            other(|row| row.request_id = Some(String::new())),
            row().sealed(Uuid::from_u128(8).into(), Head::EMPTY).hash,
            row().sealed(tenant, Head { seq: 1, ..Head::EMPTY }).hash,
            row().sealed(tenant, Head { hash: [1; 32], ..Head::EMPTY }).hash,
        ];
        assert!(changed.iter().all(|hash| *hash != sealed.hash));
        let distinct: std::collections::HashSet<_> = changed.iter().collect();
        assert_eq!(distinct.len(), changed.len());
    }
}
