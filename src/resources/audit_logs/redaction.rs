//! Removes from audit entries about a person what the person may not see today. The person may have been an admin when
//! an entry was written.
use super::queries;
use super::types::AuditEntry;
use crate::api::list::Batch;
use crate::api::{DataSubject, Records};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::ReadTx;
use crate::db::audit::Subject;
use crate::db::types::UserId;

/// The next entries about a person, as the person may see them.
pub async fn about(tx: &mut ReadTx, person: &DataSubject, next: Batch) -> Result<Vec<AuditEntry>> {
    let entries = queries::about(tx, person.user(), next).await?;
    Ok(entries.into_iter().map(|entry| redact_for(entry, person.user(), person.role, person.records)).collect())
}

/// Removes the changes from the entry if this role may not read the record now. Entries about the person's own account
/// keep their changes. Nobody may read a kind that is not registered.
fn redact_for(entry: AuditEntry, person: UserId, role: Role, records: Records) -> AuditEntry {
    let is_own_account = entry.subject_kind == UserId::KIND && entry.subject_id.0 == person.0;
    let is_readable = records.kind(&entry.subject_kind).is_some_and(|kind| role >= kind.role);
    match is_own_account || is_readable {
        true => entry,
        false => AuditEntry { changes: Default::default(), ..entry },
    }
}
