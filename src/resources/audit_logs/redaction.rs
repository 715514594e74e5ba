//! What a person may see today of the audit entries about them. An entry says what was true when it was written, and they may
//! have been an admin then.
use super::SeeAddresses;
use crate::auth::{Permission, Role};
use crate::db::audit::Subject;
use crate::db::types::{
    ActionItemId, ApiKeyId, AttendeeId, CalendarFeedId, CommentId, ContractId, InvitationId, ItemId, MeetingId,
    SessionId, TaskId, TenantId, UserId,
};
use crate::resources::audit_logs::AuditEntry;
use crate::resources::meetings::{action_items, attendees, calendar};
use crate::resources::tasks::comments;
use crate::resources::{api_keys, auth, contracts, invitations, items, meetings, tasks, tenant};

/// The kinds that entries are about, and the least role that reads such a record.
const READERS: [(&str, Role); 13] = [
    (TenantId::KIND, tenant::Read::ROLE),
    (UserId::KIND, SeeAddresses::ROLE),
    (SessionId::KIND, auth::Read::ROLE), // of sessions, the entries are the person's own alone
    (TaskId::KIND, tasks::Read::ROLE),
    (CommentId::KIND, comments::Read::ROLE),
    (ItemId::KIND, items::Read::ROLE),
    (ContractId::KIND, contracts::Read::ROLE),
    (MeetingId::KIND, meetings::Read::ROLE),
    (AttendeeId::KIND, attendees::Read::ROLE),
    (ActionItemId::KIND, action_items::Read::ROLE),
    (CalendarFeedId::KIND, calendar::Read::ROLE),
    (InvitationId::KIND, invitations::Read::ROLE),
    (ApiKeyId::KIND, api_keys::Read::ROLE),
];

/// The entry without what changed, where somebody of this role could not read the record now. Everything about the person's own
/// account is theirs. A kind that is not listed is nobody's to read.
pub fn redact_for(entry: AuditEntry, person: UserId, role: Role) -> AuditEntry {
    let is_own_account = entry.subject_kind == UserId::KIND && entry.subject_id.0 == person.0;
    let reads = |(kind, least): &(&str, Role)| *kind == entry.subject_kind && role >= *least;
    match is_own_account || READERS.iter().any(reads) {
        true => entry,
        false => AuditEntry { changes: Default::default(), ..entry },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::audit_logs;

    #[test]
    fn every_kind_of_the_log_has_its_readers_and_who_reads_the_log_reads_all() {
        let kinds = include_str!("../../db/types.rs")
            .lines()
            .filter_map(|line| line.split_once("Id is \"")?.1.split('"').next());
        let kinds: Vec<_> = kinds.collect();
        assert_eq!(kinds.len(), READERS.len(), "{kinds:?}");
        for kind in kinds {
            let (_, least) =
                READERS.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("who reads {kind}?"));
            assert!(*least <= audit_logs::Read::ROLE, "an admin finds in the log what they can't read: {kind}");
        }
    }
}
