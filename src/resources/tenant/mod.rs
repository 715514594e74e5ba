//! The caller's own tenant: its settings and its deletion.
mod handlers;
mod queries;
mod removal;
mod types;

pub use handlers::TenantApi;
pub use queries::{RegistrationPolicy, currency_or_own, founded, insert, lock_shared, name, timezone, today};
pub use removal::{RemoveTenant, RemoveTenants};
pub use types::{NewTenant, Tenant};

crate::tag!(Tenant);

crate::permissions! {
    Read(read): Viewer,
    /// To change the settings and to delete the tenant.
    Own: Owner,
    /// To open the tenant for registration.
    OpenRegistration(people): Owner,
}
