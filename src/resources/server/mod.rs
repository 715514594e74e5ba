//! Information about the server itself: its name and status, its public keys, and probes for liveness and readiness.
mod handlers;
mod readiness;

pub use handlers::ServerApi;
pub use readiness::ReadinessProbe;

crate::tag!(Server);
