//! What a transaction keeps of the data keys that it has locked.
use super::types::TenantId;
use crate::base::crypto::Cipher;
use std::collections::HashMap;

/// The data keys of a tenant in a transaction that has locked them. It reads them only once, and stores at its end how
/// often the newest one was used.
pub struct LockedKeys {
    pub tenant: TenantId,
    /// The number of the newest data key, and how often it was used. The number is 0 if there is no key yet.
    pub head: (i32, i64),
    pub ciphers: HashMap<i32, Cipher>,
    /// Whether this transaction has changed the head.
    pub is_used: bool,
}
