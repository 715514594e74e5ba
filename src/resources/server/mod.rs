//! The server about itself: what it is, whether it lives, whether it can work.
mod handlers;
mod readiness;

pub use handlers::ServerApi;
pub use readiness::ReadinessProbe;
