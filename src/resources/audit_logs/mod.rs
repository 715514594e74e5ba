//! The audit log: every change, with its actor, and every sign-in. Read only; `db::audit` writes it, `db::audit_chain` seals it.
mod handlers;
mod queries;
mod redaction;
mod types;

pub use handlers::AuditApi;
pub use types::AuditEntry;

crate::permissions! {
    Read(read): Admin,
}
