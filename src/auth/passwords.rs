//! Passwords, hashed by bcrypt on threads of their own: at most one a core, so that a storm of sign-ins does not slow
//! the other requests.
use crate::error::{Error, Result};
use crate::infra::world::World;
use secrecy::{ExposeSecret, SecretString};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// bcrypt reads no more than this of a password.
pub const MAX_BYTES: usize = 72;

/// How many may wait for each core; at bcrypt's usual cost the last one waits for about 8 s. More are answered 503 at once
/// rather than after the deadline.
const QUEUE_PER_CORE: usize = 32;

#[derive(Clone)]
pub struct Passwords {
    /// The exponent of bcrypt's work.
    cost: u32,
    turns: Arc<Semaphore>,
    /// Who may wait for a turn.
    queue: Arc<Semaphore>,
    world: World,
    nobodys: Arc<OnceLock<String>>,
}

impl Passwords {
    pub fn new(cost: u32, world: World) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (turns, queue) = (Semaphore::new(cores), Semaphore::new(cores * QUEUE_PER_CORE));
        Self { cost, turns: Arc::new(turns), queue: Arc::new(queue), world, nobodys: Arc::default() }
    }

    pub async fn hash(&self, password: SecretString) -> Result<String> {
        let (cost, salt) = (self.cost, self.world.random_bytes());
        self.on_a_thread(move || hash(&password, cost, salt)).await?
    }

    /// The hash of this password at today's cost, where the one that it was checked against has another.
    pub async fn renewed(&self, password: SecretString, checked: &str) -> Result<Option<String>> {
        match cost_of(checked)? == self.cost {
            true => Ok(None),
            false => self.hash(password).await.map(Some),
        }
    }

    /// Whether it is the password of this hash. Without a hash, or with one that was cheaper, it takes as long, and is
    /// `false`: how long an answer takes must not tell who has an account.
    pub async fn verify(&self, password: SecretString, against: Option<String>) -> Result<bool> {
        let (cost, salt, nobodys) = (self.cost, self.world.random_bytes(), self.nobodys.clone());
        self.on_a_thread(move || {
            let is_known = against.is_some();
            let against = match against {
                Some(hash) => hash,
                None => match nobodys.get() {
                    Some(hash) => hash.clone(),
                    None => {
                        let made = hash(&SecretString::from("nobody's password"), cost, salt)?;
                        nobodys.get_or_init(|| made).clone()
                    }
                },
            };
            let text = password.expose_secret();
            let fits = bcrypt::verify(text, &against).map_err(|error| Error::Internal(error.into()))?;
            let is_right = fits && is_known && text.len() <= MAX_BYTES;
            if !is_right {
                // Each step doubles the time: the steps up to a cost take, together with the last, as long as that cost.
                for missing in cost_of(&against)?..cost {
                    hash(&password, missing, salt)?;
                }
            }
            Ok(is_right)
        })
        .await?
    }

    async fn on_a_thread<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R> {
        let full = |error: tokio::sync::TryAcquireError| Error::Unavailable(error.into());
        let _place = self.queue.try_acquire().map_err(full)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|error| Error::Internal(error.into()))?;
        let work = move || {
            let result = work();
            drop(turn); // also where nobody waits for the result any more
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.into()))
    }
}

fn cost_of(hash: &str) -> Result<u32> {
    let parts: bcrypt::HashParts = hash.parse().map_err(|error: bcrypt::BcryptError| Error::Internal(error.into()))?;
    Ok(parts.get_cost())
}

fn hash(password: &SecretString, cost: u32, salt: [u8; 16]) -> Result<String> {
    let parts = bcrypt::hash_with_salt(password.expose_secret(), cost, salt);
    Ok(parts.map_err(|error| Error::Internal(error.into()))?.format_for_version(bcrypt::Version::TwoB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let passwords = Passwords::new(4, World::real());
        let secret = |text: &str| SecretString::from(text);
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$2b$04$"));
        assert!(passwords.verify(secret("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(secret("correct horsE"), Some(hash)).await.unwrap());
        assert!(!passwords.verify(secret("nobody's password"), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_renewed() {
        let secret = || SecretString::from("correct horse");
        let (old, new) = (Passwords::new(4, World::real()), Passwords::new(5, World::real()));
        let hash = old.hash(secret()).await.unwrap();
        assert_eq!(old.renewed(secret(), &hash).await.unwrap(), None);
        assert!(new.verify(secret(), Some(hash.clone())).await.unwrap());
        let renewed = new.renewed(secret(), &hash).await.unwrap().unwrap();
        assert!(renewed.starts_with("$2b$05$") && old.verify(secret(), Some(renewed)).await.unwrap());
        assert!(!new.verify(SecretString::from("wrong"), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn what_bcrypt_would_cut_off_is_not_ignored() {
        let passwords = Passwords::new(4, World::real());
        let hash = passwords.hash(SecretString::from("x".repeat(72))).await.unwrap();
        assert!(passwords.verify(SecretString::from("x".repeat(72)), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(SecretString::from("x".repeat(73)), Some(hash)).await.unwrap());
    }
}
