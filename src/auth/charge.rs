//! Charges the limits of a request, and limits guesses of the secrets that visitors present.
use super::limits::{Limit, Limits, check};
use crate::base::error::Result;
use crate::base::request::LimitReport;
use moka::sync::Cache;
use std::net::IpAddr;
use std::slice;

/// The hashes of the API keys and feed secrets that were right when they were last used in this process. A hash alone
/// gives no access.
pub type ProvenSecrets = Cache<Vec<u8>, ()>;

/// Charges limits for a request, and reports them in the headers of the answer.
#[derive(Clone)]
pub struct Charge {
    limits: Limits,
    proven: ProvenSecrets,
    report: LimitReport,
}

impl Charge {
    /// Called by [`Authenticator::charge`](super::Authenticator::charge), once for a request.
    pub(super) fn new(limits: Limits, proven: ProvenSecrets, report: LimitReport) -> Self {
        Self { limits, proven, report }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes a turn of each limit. Fails with 429 if one is used up.
    pub async fn take(&self, limits: &[Limit]) -> Result<()> {
        let taken = self.limits().take(limits).await?;
        self.report.add(&taken);
        check(&taken)
    }

    /// Whether the secret with this hash was right in this process before.
    pub fn is_proven(&self, hash: &[u8]) -> bool {
        self.proven.contains_key(hash)
    }

    /// Calls `find` to look up a visitor's secret by its hash. A wrong secret costs a turn of the visitor's address.
    /// The turn is taken before the look-up and given back if the secret is right, so that a burst of guesses can't
    /// cause more look-ups than the address has turns. A secret that was right in this process before does not count as
    /// a guess, so that other clients at the same address can't block it.
    pub async fn prove<T>(
        &self,
        ip: Option<IpAddr>,
        hash: Vec<u8>,
        find: impl Future<Output = Result<Option<T>>>,
    ) -> Result<Option<T>> {
        let (limits, proven) = (&self.limits, &self.proven);
        let guess = limits.anonymous(ip);
        let was_right = proven.contains_key(&hash);
        let taken = if was_right { vec![] } else { limits.take(slice::from_ref(&guess)).await? };
        if let Err(used_up) = check(&taken) {
            self.report.add(&taken);
            return Err(used_up);
        }
        let found = find.await;
        match &found {
            Ok(None) if was_right => {
                proven.invalidate(&hash);
                self.take(&[guess]).await?;
            }
            Ok(None) => self.report.add(&taken),
            Ok(Some(_)) if was_right => {}
            Ok(Some(_)) => {
                proven.insert(hash, ());
                limits.give_back(&guess).await?;
            }
            Err(_) if was_right => {}
            Err(_) => limits.give_back(&guess).await?,
        }
        found
    }
}
