//! The registry: all kinds of records, one line each, in the order of a personal export.
//!
//! Each kind is declared beside its types, by `record!`. This list determines the personal export, the seed, the
//! rotation of keys, references, the roles that read audit entries, and what the tests expect. A change of a record
//! that is not named here does not compile, because its id is not `Registered`.
use super::meetings::{action_items, attendees, calendar};
use super::tasks::comments;
use super::{api_keys, audit_logs, auth, contracts, invitations, items, meetings, tasks, tenant, users};
use crate::api::record::{Kind, Record, Records};
use crate::db::registered::{Registered, Token};

macro_rules! records {
    ($($name:ident: $($path:ident)::+),+ $(,)?) => {
        /// The type of each record, by the name of its kind.
        pub mod of {
            $(pub type $name = super::$($path)::+;)+
        }

        /// All kinds of records.
        pub const RECORDS: Records = Records::new(&[$(Kind::of::<of::$name>()),+]);

        $(impl Registered for <of::$name as Record>::Id {
            const TOKEN: Token = Token::of_the_registry();
        })+

        /// Gives the names of all kinds to a macro.
        macro_rules! for_all_records {
            ($macro:ident) => {
                $macro! { $($name),+ }
            };
        }
        pub(super) use for_all_records;
    };
}

records! {
    User: users::User,
    Session: auth::SessionInfo,
    ApiKey: api_keys::ApiKey,
    Invitation: invitations::Invitation,
    Item: items::Item,
    Task: tasks::Task,
    Contract: contracts::Contract,
    Comment: comments::Comment,
    Meeting: meetings::Meeting,
    Attendee: attendees::Attendee,
    ActionItem: action_items::ActionItem,
    CalendarFeed: calendar::CalendarFeed,
    Tenant: tenant::Tenant,
    AuditEntry: audit_logs::AuditEntry,
}

#[cfg(test)]
mod tests;
