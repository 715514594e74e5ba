//! Keys and ciphers. A key for each purpose is derived from one secret in the settings (HKDF-SHA-256, RFC 5869).
use crate::base::env::Env;
use crate::base::error::{Error, Result};
use crate::base::metrics::{KeyUse, Metrics};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use zeroize::{ZeroizeOnDrop, Zeroizing};

const NONCE_BYTES: usize = 12;
/// The first byte of a sealed value, which names its format: AES-256-GCM with a random 96-bit nonce before the
/// ciphertext.
const FORMAT: u8 = 1;

/// The bytes of a key. They are wiped from memory when they are dropped.
pub type Key = Zeroizing<[u8; 32]>;

/// Derives the key for one purpose. The same secret and purpose always give the same key.
pub fn derive_key(secret: &[u8], purpose: &str) -> Key {
    let mut key = Zeroizing::new([0; 32]);
    #[expect(clippy::expect_used, reason = "HKDF-SHA-256 gives up to 8,160 bytes")]
    Hkdf::<Sha256>::new(None, secret).expand(purpose.as_bytes(), &mut *key).expect("32 bytes");
    key
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The SHA-256 in hexadecimal digits. It is used in names that must not reveal the bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hexadecimal(&sha256(bytes))
}

/// Bytes in hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// AES-256-GCM under one key (NIST SP 800-38D). The key schedule is wiped from memory when the cipher is dropped.
#[derive(Clone)]
pub struct Cipher(Arc<Aes256Gcm>);

/// Proves that the key schedule is wiped. Without the feature `zeroize` of `aes` in `Cargo.toml`, the cipher would
/// leave its keys in memory, and this function would not compile.
const _: fn() = || {
    fn is_wiped<T: ZeroizeOnDrop>() {}
    is_wiped::<aes::Aes256>();
};

impl Cipher {
    pub fn new(key: &Key) -> Self {
        Self(Arc::new(Aes256Gcm::new((&**key).into())))
    }

    /// Returns a random nonce and the ciphertext. `bound_to` names what the value belongs to. It is needed to open the
    /// value, so that a value that is moved elsewhere does not open.
    pub fn seal(&self, env: &Env, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = env.random_bytes();
        let sealed = self.0.encrypt(Nonce::from_slice(&nonce), Payload { msg: plain, aad: bound_to });
        let sealed = sealed.map_err(|_| Error::Internal(anyhow::anyhow!("encryption failed")))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Returns `None` if the value was sealed with another key or another `bound_to`, or was changed since.
    pub fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        let plain = self.0.decrypt(Nonce::from_slice(nonce), Payload { msg: sealed, aad: bound_to });
        plain.map(Zeroizing::new).ok()
    }
}

/// Encrypts values that the server stores for itself. It seals with the active key, and opens what any of the keys has
/// sealed.
#[derive(Clone)]
pub struct Sealer {
    /// The cipher of the active key comes first.
    ciphers: Arc<[Cipher]>,
    key_id: Arc<str>,
    env: Env,
    metrics: Metrics,
}

impl Sealer {
    pub(super) fn new(ciphers: Arc<[Cipher]>, key_id: Arc<str>, env: Env, metrics: Metrics) -> Self {
        Self { ciphers, key_id, env, metrics }
    }

    /// `bound_to` names the row that the value belongs to. A value that is moved to another row does not open.
    pub fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>> {
        let active = self.ciphers.first().ok_or_else(|| Error::Internal(anyhow::anyhow!("there is no key")))?;
        self.metrics.key_uses.get_or_create(&KeyUse { key: self.key_id.to_string() }).inc();
        Ok([&[FORMAT][..], &active.seal(&self.env, plain, bound_to)?].concat())
    }

    pub fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let plain = match sealed {
            [FORMAT, rest @ ..] => self.ciphers.iter().find_map(|cipher| cipher.open(rest, bound_to)),
            _ => None,
        };
        plain.ok_or_else(|| Error::Internal(anyhow::anyhow!("a sealed value does not open: it was moved or changed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key_ring::{KeyRing, MasterKey};

    fn ring(active: &str, ids: &[&str]) -> KeyRing {
        let key = |id: &&str| MasterKey { id: (*id).to_owned(), secret: format!("the secret of {id}").into() };
        let keys: Vec<_> = ids.iter().map(key).collect();
        KeyRing::new(active, &keys, Env::real(), Metrics::default()).unwrap()
    }

    fn sealer() -> Sealer {
        ring("a", &["a"]).sealer("tests")
    }

    #[test]
    fn opens_what_it_sealed_for_the_same_row_only() {
        let sealed = sealer().seal(b"1234.50", b"row 1").unwrap();
        assert_eq!(sealer().open(&sealed, b"row 1").unwrap().as_slice(), b"1234.50");
        assert!(sealer().open(&sealed, b"row 2").is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = sealer().seal(b"1234.50", b"row").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(sealer().open(&changed, b"row").is_err(), "byte {index}");
        }
        assert!(sealer().open(&[], b"row").is_err());
        assert!(sealer().open(&[FORMAT, 1, 2], b"row").is_err());
    }

    #[test]
    fn equal_values_look_different_and_purposes_have_their_own_keys() {
        assert_ne!(sealer().seal(b"x", b"").unwrap(), sealer().seal(b"x", b"").unwrap());
        assert_ne!(*derive_key(b"a secret", "one"), *derive_key(b"a secret", "two"));
    }

    #[test]
    fn a_new_key_opens_what_the_old_one_sealed_while_both_are_there() {
        let old = sealer().seal(b"x", b"row").unwrap();
        let both = ring("b", &["a", "b"]).sealer("tests");
        assert_eq!(both.open(&old, b"row").unwrap().as_slice(), b"x");
        let new = both.seal(b"y", b"row").unwrap();
        assert_eq!(ring("b", &["b"]).sealer("tests").open(&new, b"row").unwrap().as_slice(), b"y");
        assert!(sealer().open(&new, b"row").is_err(), "the active key seals");
        assert!(ring("b", &["b"]).sealer("tests").open(&old, b"row").is_err(), "the old key is gone");
    }
}
