//! Keys and ciphers. One secret of the settings becomes one key for each purpose (HKDF-SHA-256, RFC 5869).
use crate::error::{Error, Result};
use crate::infra::world::World;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 12;
/// Which form the bytes have: AES-256-GCM with a random 96-bit nonce before the ciphertext.
const FORMAT: u8 = 1;

/// A key for one purpose; the same secret and purpose always give the same key.
pub fn derive_key(secret: &[u8], purpose: &str) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    #[expect(clippy::expect_used, reason = "HKDF-SHA-256 gives up to 8,160 bytes")]
    Hkdf::<Sha256>::new(None, secret).expand(purpose.as_bytes(), &mut *key).expect("32 bytes");
    key
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Encrypts what must not be readable in the database.
#[derive(Clone)]
pub struct Sealer {
    cipher: Arc<Aes256Gcm>,
    world: World,
}

impl Sealer {
    pub fn new(key: &[u8; 32], world: World) -> Self {
        Self { cipher: Arc::new(Aes256Gcm::new(key.into())), world }
    }

    /// `bound_to` names the row that the value belongs to: moved elsewhere, it does not open.
    pub fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = self.world.random_bytes();
        let sealed = self.cipher.encrypt(Nonce::from_slice(&nonce), Payload { msg: plain, aad: bound_to });
        let sealed = sealed.map_err(|_| Error::Internal(anyhow::anyhow!("encryption failed")))?;
        Ok([&[FORMAT][..], &nonce, &sealed].concat())
    }

    pub fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let broken = || Error::Internal(anyhow::anyhow!("a sealed value does not open: it was moved or changed"));
        let [FORMAT, rest @ ..] = sealed else { return Err(broken()) };
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or_else(broken)?;
        let plain = self.cipher.decrypt(Nonce::from_slice(nonce), Payload { msg: sealed, aad: bound_to });
        plain.map(Zeroizing::new).map_err(|_| broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&derive_key(b"a secret", "tests"), World::real())
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
}
