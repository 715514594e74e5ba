//! `[audit]`: how long the audit log is kept.
use super::declare::{setting, settings};
use super::types::Number;

settings! {
    /// `[audit]`: how long the audit log is kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct AuditConfig {
        /// How many days entries of the audit log are kept ({range}).
        pub retention_days: u32 = setting("audit.retention_days", Number(1..=36_500)).default(90),
    }
}
