//! `[encryption]`: the key of what is stored sealed.
use super::reader::{Read, Reader};
use super::weak::{self, Measure};
use secrecy::SecretString;

#[derive(Debug, Clone)]
pub struct EncryptionConfig {
    /// What the sealing keys are derived from; 32 characters at least.
    pub key: SecretString,
}

impl EncryptionConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        Ok(Self { key: weak::secret(reader, "encryption.key", Measure::Characters)? })
    }

    pub(super) fn for_tests() -> Self {
        Self { key: "the encryption key of all the tests".into() }
    }
}
