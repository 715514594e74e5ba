//! The heads of chains, and the key that signs checkpoints.
use crate::base::crypto::Key;
use crate::base::formats::parse_uuid;
use crate::db::types::TenantId;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The end of a tenant's chain: the number of sealed rows, and the hash of the last one. It prints as `41:9f86d0…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: i64,
    pub hash: Hash,
}

impl Head {
    pub const EMPTY: Self = Self { seq: 0, hash: [0; 32] };

    /// Parses the printed form.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hex) = text.split_once(':')?;
        let bytes = hex.is_ascii().then_some(hex.as_bytes())?;
        if bytes.len() != 64 {
            return None;
        }
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let hash: Vec<u8> = bytes.chunks(2).map(byte).collect::<Option<_>>()?;
        Some(Self { seq: seq.parse().ok().filter(|seq| *seq >= 0)?, hash: hash.try_into().ok()? })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The head of a tenant's chain, as it is logged when rows are sealed. It prints as `<tenant>:41:9f86d0…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    pub tenant: TenantId,
    pub head: Head,
}

impl KnownHead {
    /// Parses the printed form.
    pub fn parse(text: &str) -> Option<Self> {
        let (tenant, head) = text.split_once(':')?;
        Some(Self { tenant: parse_uuid(tenant)?.into(), head: Head::parse(head)? })
    }
}

impl fmt::Display for KnownHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tenant, self.head)
    }
}

/// The keys for checkpoints. The active key signs; signatures by older keys are still accepted. None of the keys is
/// stored in the database.
#[derive(Clone)]
pub struct CheckpointKey(Arc<[Key]>);

impl CheckpointKey {
    /// `keys` must begin with the active key.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys.into())
    }

    pub(super) fn sign(&self, tenant: TenantId, head: Head) -> Hash {
        mac(&self.0[0], tenant, head).finalize().into_bytes().into() // a key ring always has an active key
    }

    pub(super) fn has_signed(&self, tenant: TenantId, head: Head, signature: &[u8]) -> bool {
        self.0.iter().any(|key| mac(key, tenant, head).verify_slice(signature).is_ok())
    }
}

fn mac(key: &Key, tenant: TenantId, head: Head) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(&key[..]).expect("any length");
    mac.update(tenant.0.as_bytes());
    mac.update(&head.seq.to_be_bytes());
    mac.update(&head.hash);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn heads_are_read_as_they_print() {
        let head = Head { seq: 41, hash: [0x9f; 32] };
        assert_eq!(Head::parse(&head.to_string()), Some(head));
        let known = KnownHead { tenant: Uuid::from_u128(1).into(), head };
        assert_eq!(KnownHead::parse(&known.to_string()), Some(known));
        for text in ["", "1", "1:", "1:00", &format!("-1:{}", "0".repeat(64)), &format!("1:{}", "x".repeat(64))] {
            assert_eq!(Head::parse(text), None, "{text}");
        }
    }
}
