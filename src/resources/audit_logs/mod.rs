//! The audit log has an entry for every change, with its actor, and for every sign-in. This slice only reads it:
//! `db::audit` writes the entries and `db::audit_chain` seals them.
mod handlers;
mod queries;
mod redaction;
mod types;

pub use handlers::AuditApi;
pub use types::AuditEntry;

crate::tag!(Audit);

crate::permissions! {
    Read(read): Admin,
}
