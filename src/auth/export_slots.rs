//! Limits how many exports may be under way at once, because each one reads and renders rows for as long as its client
//! likes.
use crate::base::error::{Error, Result};
use crate::base::queue::{Claimant, Party};
use crate::base::shares::{Share, Shares};
use std::time::Duration;

const MAX_PER_USER: u64 = 2;
const MAX_PER_TENANT: u64 = 4;

/// The `Retry-After` of a refused export. Most exports are finished by then.
const RETRY_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    User(Claimant),
    Tenant(Party),
    Process,
}

/// The exports that are under way on a server. All clones share one count.
#[derive(Clone)]
pub struct ExportSlots {
    max: u64,
    shares: Shares<Holder>,
}

/// An export that is under way. It ends when this is dropped.
pub struct ExportSlot(#[expect(dead_code, reason = "it is held, not looked at")] Share<Holder>);

impl ExportSlots {
    /// `max` is the number of exports that all users together may have under way.
    pub fn new(max: u64) -> Self {
        Self { max, shares: Shares::default() }
    }

    /// Begins an export. Fails with 429 if the caller or their tenant has too many exports under way, and with 503 if
    /// the server has.
    pub fn begin(&self, claimant: Claimant) -> Result<ExportSlot> {
        let holders = [
            (Holder::User(claimant), MAX_PER_USER),
            (Holder::Tenant(claimant.party), MAX_PER_TENANT),
            (Holder::Process, self.max),
        ];
        self.shares.take(&holders, 1).map(ExportSlot).map_err(|holder| match holder {
            Holder::Process => Error::Unavailable(anyhow::anyhow!("too many exports are under way")),
            Holder::User(_) | Holder::Tenant(_) => Error::RateLimited { retry_after: RETRY_AFTER },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn users_tenants_and_the_server_have_bounds() {
        let slots = ExportSlots::new(5);
        let begin = |tenant, user| {
            let party = Party::Tenant(Uuid::from_u128(tenant));
            slots.begin(Claimant { party, user: Some(Uuid::from_u128(user)) })
        };
        let is_limited = |result: Result<ExportSlot>| matches!(result, Err(Error::RateLimited { .. }));
        let first = [begin(1, 1).unwrap(), begin(1, 1).unwrap()];
        assert!(is_limited(begin(1, 1)), "a third of one user");
        let _second = [begin(1, 2).unwrap(), begin(1, 3).unwrap()];
        assert!(is_limited(begin(1, 4)), "a fifth of one tenant");
        let _third = begin(2, 5).unwrap();
        assert!(matches!(begin(2, 5), Err(Error::Unavailable(_))), "a sixth of the server");
        drop(first);
        assert!(begin(1, 1).is_ok());
    }
}
