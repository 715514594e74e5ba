//! The master keys. One of them is active and encrypts. Older keys still open what they have sealed, until
//! `keys rotate` is finished.
use super::crypto::{Cipher, Key, Sealer, derive_key};
use super::env::Env;
use super::metrics::{KeyUse, Metrics};
use crate::base::error::{Error, Result};
use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The id and the secret of a master key, from the settings.
#[derive(Debug, Clone)]
pub struct MasterKey {
    pub id: String,
    pub secret: SecretString,
}

/// All master keys of a server. A clone is cheap.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    /// The active key comes first.
    masters: Vec<Master>,
    env: Env,
    metrics: Metrics,
}

struct Master {
    id: Arc<str>,
    secret: SecretString,
    /// The cipher that wraps data keys.
    wrapping: Cipher,
}

/// A key in the form in which it is stored, encrypted under a master key.
pub struct Wrapped {
    pub master: String,
    pub bytes: Vec<u8>,
}

impl KeyRing {
    /// Makes a key ring in which `active` encrypts. Fails if there is no key with this id.
    pub fn new(active: &str, keys: &[MasterKey], env: Env, metrics: Metrics) -> anyhow::Result<Self> {
        let mut masters: Vec<Master> = keys
            .iter()
            .map(|MasterKey { id, secret }| Master {
                id: id.as_str().into(),
                secret: secret.clone(),
                wrapping: Cipher::new(&derive_key(secret.expose_secret().as_bytes(), "data keys")),
            })
            .collect();
        let first = masters.iter().position(|master| &*master.id == active);
        masters.swap(0, first.with_context(|| format!("encryption.active: there is no key {active}"))?);
        Ok(Self(Arc::new(Ring { masters, env, metrics })))
    }

    /// The id of the key that encrypts.
    pub fn active_id(&self) -> &str {
        &self.active().id
    }

    fn active(&self) -> &Master {
        &self.0.masters[0] // `new` has put it there
    }

    /// The ids of all keys. The id of the active key comes first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.masters.iter().map(|master| &*master.id)
    }

    /// A value by which a key is recognized. It is derived from the key and does not reveal it. `None` if there is no
    /// such key.
    pub fn check_value(&self, id: &str) -> Option<[u8; 32]> {
        let master = self.0.masters.iter().find(|master| &*master.id == id)?;
        Some(*derive_key(master.secret.expose_secret().as_bytes(), &format!("check value of {id}")))
    }

    pub fn env(&self) -> &Env {
        &self.0.env
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The keys for one purpose, derived from each master key. That of the active key comes first.
    pub fn derived(&self, purpose: &str) -> Vec<Key> {
        let derive = |master: &Master| derive_key(master.secret.expose_secret().as_bytes(), purpose);
        self.0.masters.iter().map(derive).collect()
    }

    /// A sealer for one purpose.
    pub fn sealer(&self, purpose: &str) -> Sealer {
        let ciphers = self.derived(purpose).iter().map(Cipher::new).collect();
        Sealer::new(ciphers, self.active().id.clone(), self.0.env.clone(), self.0.metrics.clone())
    }

    /// Encrypts a key under the active master key. `bound_to` names the owner of the key.
    pub fn wrap(&self, key: &Key, bound_to: &[u8]) -> Result<Wrapped> {
        let Master { id, wrapping, .. } = self.active();
        self.0.metrics.key_uses.get_or_create(&KeyUse { key: id.to_string() }).inc();
        Ok(Wrapped { master: id.to_string(), bytes: wrapping.seal(&self.0.env, &key[..], bound_to)? })
    }

    pub fn unwrap(&self, wrapped: &Wrapped, bound_to: &[u8]) -> Result<Key> {
        self.open(wrapped, bound_to).map_err(|why| {
            self.0.metrics.unsealing_failures.inc();
            let master = &wrapped.master;
            tracing::error!(key.id = %master, why, "A data key can't be opened");
            Error::Internal(anyhow::anyhow!("a data key under the master key {master} {why}"))
        })
    }

    /// Whether [`Self::unwrap`] would succeed. A failure is neither logged nor counted.
    pub fn opens(&self, wrapped: &Wrapped, bound_to: &[u8]) -> bool {
        self.open(wrapped, bound_to).is_ok()
    }

    fn open(&self, Wrapped { master, bytes }: &Wrapped, bound_to: &[u8]) -> Result<Key, &'static str> {
        let by = self.0.masters.iter().find(|known| *known.id == **master);
        let by = by.ok_or("can't be read: the settings have no such key")?;
        let opened = by.wrapping.open(bytes, bound_to);
        let opened = opened.ok_or("does not open: it was changed, or the key has another secret")?;
        let mut key = Zeroizing::new([0; 32]);
        if opened.len() != key.len() {
            return Err("has another length");
        }
        key.copy_from_slice(&opened);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(active: &str, keys: &[(&str, &str)]) -> anyhow::Result<KeyRing> {
        let key = |(id, secret): &(&str, &str)| MasterKey { id: (*id).to_owned(), secret: (*secret).into() };
        KeyRing::new(active, &keys.iter().map(key).collect::<Vec<_>>(), Env::real(), Metrics::default())
    }

    #[test]
    fn a_wrapped_key_opens_under_its_master_key_for_its_owner() {
        let key = Zeroizing::new([7; 32]);
        let wrapped = ring("a", &[("a", "one")]).unwrap().wrap(&key, b"tenant").unwrap();
        assert_eq!(wrapped.master, "a");
        let later = ring("b", &[("a", "one"), ("b", "two")]).unwrap();
        assert_eq!(*later.unwrap(&wrapped, b"tenant").unwrap(), *key);
        assert!(later.unwrap(&wrapped, b"another").is_err());
        assert!(ring("b", &[("b", "two")]).unwrap().unwrap(&wrapped, b"tenant").is_err(), "its master key is gone");
        assert!(ring("a", &[("a", "two")]).unwrap().unwrap(&wrapped, b"tenant").is_err(), "another secret");
        assert_eq!(later.wrap(&key, b"tenant").unwrap().master, "b");
    }

    #[test]
    fn a_key_is_known_again_by_its_check_value_and_nothing_else_is() {
        let ring_of = |keys: &[(&str, &str)]| ring("a", keys).unwrap();
        let value = ring_of(&[("a", "one")]).check_value("a").unwrap();
        assert_eq!(ring_of(&[("a", "one"), ("b", "two")]).check_value("a"), Some(value), "the same at each start");
        assert_ne!(ring_of(&[("a", "two")]).check_value("a"), Some(value), "another secret");
        assert_ne!(ring_of(&[("a", "two"), ("b", "one")]).check_value("b"), Some(value), "another id");
        assert_eq!(ring_of(&[("a", "one")]).check_value("b"), None);
        for purpose in ["data keys", "stored answers"] {
            assert_ne!(*derive_key(b"one", purpose), value, "it is no key");
        }
        assert_eq!(ring("b", &[("a", "one"), ("b", "two")]).unwrap().ids().collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn the_active_key_must_be_there() {
        let error = ring("c", &[("a", "one"), ("b", "two")]).err().unwrap().to_string();
        assert_eq!(error, "encryption.active: there is no key c");
    }

    #[test]
    fn uses_are_counted_and_secrets_are_not_shown() {
        let ring = ring("a", &[("a", "hunter2")]).unwrap();
        ring.wrap(&Zeroizing::new([7; 32]), b"").unwrap();
        ring.sealer("tests").seal(b"", b"").unwrap();
        assert!(ring.metrics().print().unwrap().contains("bizcenter_key_uses_total{key=\"a\"} 2"));
        let key = MasterKey { id: "a".to_owned(), secret: "hunter2".into() };
        assert!(!format!("{key:?}").contains("hunter2"));
    }
}
