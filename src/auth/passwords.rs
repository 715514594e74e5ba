//! Hashes and checks passwords with bcrypt. This runs on threads of its own, at most one for each core, so that many
//! sign-ins at once do not slow the other requests. Tenants and visitors' addresses take turns, so that one of them
//! does not delay the sign-ins of the others.
use crate::base::env::Env;
use crate::base::error::{Detail, Error, Result};
use crate::base::metrics::QueueGauges;
use crate::base::password::Password;
use crate::base::queue::{Claimant, FairQueue};
use anyhow::anyhow;
use std::sync::{Arc, OnceLock};

/// bcrypt ignores the bytes of a password after this length.
pub const MAX_BYTES: usize = 72;

/// How many requests may wait for each core. At bcrypt's usual cost the last of them waits for about 8 s. Further
/// requests are answered 503 at once instead of after the deadline.
const QUEUE_PER_CORE: usize = 32;

/// Refuses a password of more than [`MAX_BYTES`]. It is not cut, because passwords that differ only at the end would
/// then be equal.
pub fn check_password(password: &Password, member: &str, problems: &mut Detail) {
    if password.bytes() > MAX_BYTES {
        problems.add(member, format!("must have at most {MAX_BYTES} bytes in UTF-8"));
    }
}

#[derive(Clone)]
pub struct Passwords {
    /// The cost factor of bcrypt: the work doubles with each step.
    cost: u32,
    queue: FairQueue,
    /// How many may wait for a turn.
    places: usize,
    env: Env,
    /// The hash that is checked when there is no account, so that the check takes as long as with one.
    nobodys: Arc<OnceLock<String>>,
}

/// A stored hash, after a password was found to match it.
pub struct Checked {
    pub hash: String,
    /// Whether the hash is of the password as it was typed. Such a hash is from before passwords were normalised.
    is_of_typed: bool,
}

impl Passwords {
    pub fn new(cost: u32, env: Env, gauges: QueueGauges) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let queue = FairQueue::new(cores, cores, gauges);
        Self { cost, queue, places: cores * QUEUE_PER_CORE, env, nobodys: Arc::default() }
    }

    /// Hashes a password. The password must have at most [`MAX_BYTES`], because it is never cut.
    pub async fn hash(&self, claimant: Claimant, password: &Password) -> Result<String> {
        if password.bytes() > MAX_BYTES {
            return Err(Error::Internal(anyhow!("a password of more than {MAX_BYTES} bytes was to be hashed")));
        }
        let (cost, salt, password) = (self.cost, self.env.random_bytes(), password.clone());
        self.on_a_thread(claimant, move || hash(password.exposed(), cost, salt)).await?
    }

    /// Returns a new hash to store, if the checked hash has another cost or is not of the normalised password. If the
    /// normalised password is too long, returns `None`, and the account keeps its hash.
    pub async fn renewed(&self, claimant: Claimant, password: &Password, checked: &Checked) -> Result<Option<String>> {
        let is_current = !checked.is_of_typed && cost_of(&checked.hash)? == self.cost;
        match is_current || password.bytes() > MAX_BYTES {
            true => Ok(None),
            false => self.hash(claimant, password).await.map(Some),
        }
    }

    /// Returns the hash if the password matches it. The time of the check must not reveal whether there is an account,
    /// so the check takes equally long without a hash, or with one of a lower cost. A password that was not typed in
    /// NFKC is also tried as it was typed, because older hashes are of that form. The number of tries therefore depends
    /// only on what was typed.
    pub async fn verify(
        &self,
        claimant: Claimant,
        password: &Password,
        against: Option<String>,
    ) -> Result<Option<Checked>> {
        let (cost, salt, nobodys) = (self.cost, self.env.random_bytes(), self.nobodys.clone());
        let password = password.clone();
        let work = move || -> Result<Option<Checked>> {
            let is_known = against.is_some();
            let hash = match against {
                Some(hash) => hash,
                None => match nobodys.get() {
                    Some(hash) => hash.clone(),
                    None => {
                        let made = hash("nobody's password", cost, salt)?;
                        nobodys.get_or_init(|| made).clone()
                    }
                },
            };
            // Longer passwords were refused, so that no hash is of one.
            let typed = password.as_typed().filter(|typed| typed.len() <= MAX_BYTES);
            let tries = [(Some(password.exposed().as_str()), false), (typed, true)];
            for (text, is_of_typed) in tries.into_iter().filter_map(|(text, is_of_typed)| Some((text?, is_of_typed))) {
                let fits = bcrypt::verify(text, &hash).map_err(|error| Error::Internal(error.into()))?;
                if fits && is_known && text.len() <= MAX_BYTES {
                    return Ok(Some(Checked { hash, is_of_typed }));
                }
                // The work doubles with each step of the cost. The check above, plus one hash at each cost from that of
                // the stored hash to just below the current cost, therefore takes as long as one check at the current
                // cost.
                for missing in cost_of(&hash)?..cost {
                    self::hash(text, missing, salt)?;
                }
            }
            Ok(None)
        };
        self.on_a_thread(claimant, work).await?
    }

    async fn on_a_thread<R: Send + 'static>(
        &self,
        claimant: Claimant,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R> {
        let turn = self.queue.turn_among(claimant, self.places).await;
        let turn = turn.ok_or_else(|| Error::Unavailable(anyhow!("too many passwords wait to be checked")))?;
        let work = move || {
            let result = work();
            drop(turn); // the work keeps its turn to the end, even if its request has been dropped
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.into()))
    }
}

fn cost_of(hash: &str) -> Result<u32> {
    let parts: bcrypt::HashParts = hash.parse().map_err(|error: bcrypt::BcryptError| Error::Internal(error.into()))?;
    Ok(parts.get_cost())
}

fn hash(password: &str, cost: u32, salt: [u8; 16]) -> Result<String> {
    let parts = bcrypt::hash_with_salt(password, cost, salt);
    Ok(parts.map_err(|error| Error::Internal(error.into()))?.format_for_version(bcrypt::Version::TwoB))
}

#[cfg(test)]
mod tests;
