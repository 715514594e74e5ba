//! What a person may see today of the audit entries about them. An entry says what was true when it was written, and they may
//! have been an admin then.
use super::queries;
use super::types::AuditEntry;
use crate::api::list::Batch;
use crate::api::{DataSubject, Records};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::ReadTx;
use crate::db::audit::Subject;
use crate::db::types::UserId;

/// The next entries about a person, as they may see them.
pub async fn about(tx: &mut ReadTx, person: &DataSubject, next: Batch) -> Result<Vec<AuditEntry>> {
    let entries = queries::about(tx, person.user(), next).await?;
    Ok(entries.into_iter().map(|entry| redact_for(entry, person.user(), person.role, person.records)).collect())
}

/// The entry without what changed, where somebody of this role could not read the record now. Everything about the person's own
/// account is theirs. A kind that is not registered is nobody's to read.
fn redact_for(entry: AuditEntry, person: UserId, role: Role, records: Records) -> AuditEntry {
    let is_own_account = entry.subject_kind == UserId::KIND && entry.subject_id.0 == person.0;
    let is_readable = records.kind(&entry.subject_kind).is_some_and(|kind| role >= kind.role);
    match is_own_account || is_readable {
        true => entry,
        false => AuditEntry { changes: Default::default(), ..entry },
    }
}
