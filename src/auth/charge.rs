//! Charges the limits of a request, and looks up the secrets that visitors bring.
use super::limits::{Limit, Limits, check};
use crate::base::error::Result;
use crate::base::request::LimitReport;
use moka::sync::Cache;
use std::net::IpAddr;
use std::slice;

/// The hashes of API keys and feeds' secrets that were right when they were last used here. They open nothing by themselves.
pub type ProvenSecrets = Cache<Vec<u8>, ()>;

/// Charges limits for a request, and has the answer say so.
#[derive(Clone)]
pub struct Charge {
    limits: Limits,
    proven: ProvenSecrets,
    report: LimitReport,
}

impl Charge {
    /// [`Authenticator::charge`](super::Authenticator::charge) makes one for a request.
    pub(super) fn new(limits: Limits, proven: ProvenSecrets, report: LimitReport) -> Self {
        Self { limits, proven, report }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// 429 where a limit is used up.
    pub async fn take(&self, limits: &[Limit]) -> Result<()> {
        let taken = self.limits().take(limits).await?;
        self.report.add(&taken);
        check(&taken)
    }

    /// Whether the secret of this hash was right here before.
    pub fn is_proven(&self, hash: &[u8]) -> bool {
        self.proven.contains_key(hash)
    }

    /// Has `find` look up the secret that a visitor brought, by its hash. A guess costs a turn of the visitor's address. It
    /// is taken before the database is asked, so that a burst of guesses asks no more often than the address has turns, and
    /// given back where the secret is right. One that was right here before is no guess: others behind its address don't
    /// stop it.
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
