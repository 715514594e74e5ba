//! The registry: all kinds of records, one line each, in the order of a personal export.
//!
//! A kind is declared beside its types, by `record!`. What follows from the list: personal export, seed, rotation of keys,
//! references, the roles that read audit entries, and what the tests expect. A change of a record that is not named here does not
//! compile, as `Registered` says.
use super::meetings::{action_items, attendees, calendar};
use super::tasks::comments;
use super::{api_keys, audit_logs, auth, contracts, invitations, items, meetings, tasks, tenant, users};
use crate::api::record::{Kind, Record, Records};
use crate::db::registered::{Registered, Token};

macro_rules! records {
    ($($record:ty),+ $(,)?) => {
        /// All kinds of records.
        pub const RECORDS: Records = Records::new(&[$(Kind::of::<$record>()),+]);

        $(impl Registered for <$record as Record>::Id {
            const TOKEN: Token = Token::of_the_registry();
        })+
    };
}

records! {
    users::User,
    auth::SessionInfo,
    api_keys::ApiKey,
    invitations::Invitation,
    items::Item,
    tasks::Task,
    contracts::Contract,
    comments::Comment,
    meetings::Meeting,
    attendees::Attendee,
    action_items::ActionItem,
    calendar::CalendarFeed,
    tenant::Tenant,
    audit_logs::AuditEntry,
}

#[cfg(test)]
mod tests;
