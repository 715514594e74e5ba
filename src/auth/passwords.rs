//! Passwords, hashed by bcrypt on threads of their own: at most one a core, so that a storm of sign-ins does not slow
//! the other requests. Turns go round over tenants and visitors' addresses, so that one of them does not hold up the others'
//! sign-ins.
use crate::base::env::Env;
use crate::base::error::{Detail, Error, Result};
use crate::base::metrics::QueueGauges;
use crate::base::password::Password;
use crate::base::queue::{Claimant, FairQueue};
use anyhow::anyhow;
use std::sync::{Arc, OnceLock};

/// bcrypt reads no more than this of a password.
pub const MAX_BYTES: usize = 72;

/// How many may wait for each core; at bcrypt's usual cost the last one waits for about 8 s. More are answered 503 at once
/// rather than after the deadline.
const QUEUE_PER_CORE: usize = 32;

/// Refuses a password that is longer, rather than cut it: the end of a password counts.
pub fn check_password(password: &Password, member: &str, problems: &mut Detail) {
    if password.bytes() > MAX_BYTES {
        problems.add(member, format!("must have at most {MAX_BYTES} bytes in UTF-8"));
    }
}

#[derive(Clone)]
pub struct Passwords {
    /// The exponent of bcrypt's work.
    cost: u32,
    queue: FairQueue,
    /// How many may wait for a turn.
    places: usize,
    env: Env,
    nobodys: Arc<OnceLock<String>>,
}

/// A hash that a password turned out to be right for.
pub struct Checked {
    pub hash: String,
    /// It is of the password as it was typed, and from before passwords were normalised.
    is_of_typed: bool,
}

impl Passwords {
    pub fn new(cost: u32, env: Env, gauges: QueueGauges) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let queue = FairQueue::new(cores, cores, gauges);
        Self { cost, queue, places: cores * QUEUE_PER_CORE, env, nobodys: Arc::default() }
    }

    /// The password must have at most [`MAX_BYTES`]: none is cut.
    pub async fn hash(&self, claimant: Claimant, password: &Password) -> Result<String> {
        if password.bytes() > MAX_BYTES {
            return Err(Error::Internal(anyhow!("a password of more than {MAX_BYTES} bytes was to be hashed")));
        }
        let (cost, salt, password) = (self.cost, self.env.random_bytes(), password.clone());
        self.on_a_thread(claimant, move || hash(password.exposed(), cost, salt)).await?
    }

    /// The hash to put in the place of the one that was checked, where that has another cost or is not of the normalised
    /// password. One that is too long when it is normalised keeps its hash.
    pub async fn renewed(&self, claimant: Claimant, password: &Password, checked: &Checked) -> Result<Option<String>> {
        let is_current = !checked.is_of_typed && cost_of(&checked.hash)? == self.cost;
        match is_current || password.bytes() > MAX_BYTES {
            true => Ok(None),
            false => self.hash(claimant, password).await.map(Some),
        }
    }

    /// Returns the hash if this is its password. Without a hash, or with a cheaper one, the check takes as long as otherwise: its
    /// time must not tell whether there is an account. A password that was typed in another form than NFKC gets a second try in
    /// that form, because older hashes are of it. So the number of tries depends on nothing but what was typed.
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
            let typed = password.as_typed().filter(|typed| typed.len() <= MAX_BYTES); // longer ones were refused
            let tries = [(Some(password.exposed().as_str()), false), (typed, true)];
            for (text, is_of_typed) in tries.into_iter().filter_map(|(text, is_of_typed)| Some((text?, is_of_typed))) {
                let fits = bcrypt::verify(text, &hash).map_err(|error| Error::Internal(error.into()))?;
                if fits && is_known && text.len() <= MAX_BYTES {
                    return Ok(Some(Checked { hash, is_of_typed }));
                }
                // Each step doubles the time: the steps up to a cost take, together with the last, as long as that cost.
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

fn hash(password: &str, cost: u32, salt: [u8; 16]) -> Result<String> {
    let parts = bcrypt::hash_with_salt(password, cost, salt);
    Ok(parts.map_err(|error| Error::Internal(error.into()))?.format_for_version(bcrypt::Version::TwoB))
}

#[cfg(test)]
mod tests;
