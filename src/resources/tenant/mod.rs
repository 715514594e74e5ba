//! One's own tenant: its settings, and its end.
mod handlers;
mod queries;
mod removal;
mod types;

pub use handlers::TenantApi;
pub use queries::{RegistrationPolicy, currency_or_own, founded, insert, lock_shared, name, timezone, today};
pub use removal::RemoveTenant;
pub use types::{NewTenant, Tenant};

crate::permissions! {
    Read(read): Viewer,
    /// The settings, and to delete all of it.
    Own: Owner,
    /// To let anybody join.
    OpenRegistration(people): Owner,
}
