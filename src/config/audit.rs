//! `[audit]`: how long the audit log is kept.
use super::reader::{Read, Reader};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditConfig {
    /// How many days an entry is kept.
    pub retention_days: u32,
}

impl AuditConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        Ok(Self { retention_days: reader.number("audit.retention_days", 1..=36_500)? })
    }

    pub(super) fn for_tests() -> Self {
        Self { retention_days: 90 }
    }
}
