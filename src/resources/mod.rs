//! The slices, with one folder for each resource. The `mod.rs` of each slice describes the resource, declares its
//! permissions, and lists what other slices may use.
//!
//! This file is the registry: the modules, the kinds of records and the APIs, one line each.
pub mod admin;
pub mod api_keys;
pub mod audit_logs;
pub mod auth;
pub mod contracts;
pub mod feed;
pub mod files;
pub mod invitations;
pub mod items;
pub mod meetings;
mod registry;
pub mod search;
pub mod server;
pub mod tasks;
pub mod tenant;
pub mod users;

// The kinds of records, in the order of a personal export.
registry::records! {
    User: users::User,
    Session: auth::SessionInfo,
    ApiKey: api_keys::ApiKey,
    Invitation: invitations::Invitation,
    Item: items::Item,
    Task: tasks::Task,
    Contract: contracts::Contract,
    Comment: tasks::comments::Comment,
    Meeting: meetings::Meeting,
    Attendee: meetings::attendees::Attendee,
    ActionItem: meetings::action_items::ActionItem,
    File: files::File,
    CalendarFeed: meetings::calendar::CalendarFeed,
    Tenant: tenant::Tenant,
    AuditEntry: audit_logs::AuditEntry,
}

// The APIs. Their members are filled with the parts of the server that have the same names.
registry::apis! {
    server::ServerApi { readiness, env, access_tokens, environment, started_at },
    auth::AuthApi { db, credentials, tokens, registration, templates },
    users::UsersApi { db, sessions, credentials, mail_cap, templates, records },
    tenant::TenantApi { db, sessions, verification },
    invitations::InvitationsApi { db, verification, mail_cap, templates, invitation_lifetime },
    api_keys::ApiKeysApi { db, sessions, verification },
    admin::AdminApi { db, sessions, templates, invitation_lifetime },
    audit_logs::AuditApi { db },
    items::ItemsApi { db, cache },
    tasks::TasksApi { db },
    contracts::ContractsApi { db },
    contracts::history::HistoryApi { db },
    tasks::comments::TaskCommentsApi { db },
    meetings::MeetingsApi { db },
    meetings::attendees::AttendeesApi { db },
    meetings::action_items::ActionItemsApi { db },
    meetings::calendar::CalendarApi { db },
    meetings::calendar::FeedApi { db },
    files::FilesApi { db, storage, uploads },
    files::uploads::DirectUploadsApi { uploads },
    search::SearchApi { db },
}
