//! Limits how many exports, uploads and downloads may be under way at once, because each of them takes as long as its
//! client likes.
use crate::base::error::{Error, Result};
use crate::base::queue::{Claimant, Party};
use crate::base::shares::{Share, Shares};
use std::time::Duration;

/// The `Retry-After` of what is refused. Most of what is under way is finished by then.
const RETRY_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    User(Claimant),
    Tenant(Party),
    Process,
}

/// How many may be under way at once.
#[derive(Debug, Clone, Copy)]
pub struct MostAtOnce {
    pub of_user: u64,
    pub of_tenant: u64,
    pub of_all: u64,
}

/// What is under way on a server, of one kind. All clones share one count.
#[derive(Clone)]
pub struct Slots {
    what: &'static str,
    most: MostAtOnce,
    shares: Shares<Holder>,
}

/// An export, an upload or a download that is under way. It ends when this is dropped.
pub struct Slot(#[expect(dead_code, reason = "it is held, not looked at")] Share<Holder>);

/// The slots of each kind.
#[derive(Clone)]
pub struct AllSlots {
    pub exports: Slots,
    pub uploads: Slots,
    pub downloads: Slots,
}

impl AllSlots {
    /// The greatest numbers of exports, uploads and downloads that all users together may have under way.
    pub fn new(exports: u64, uploads: u64, downloads: u64) -> Self {
        Self {
            exports: Slots::new("exports", MostAtOnce { of_user: 2, of_tenant: 4, of_all: exports }),
            uploads: Slots::new("uploads", MostAtOnce { of_user: 6, of_tenant: 12, of_all: uploads }),
            downloads: Slots::new("downloads", MostAtOnce { of_user: 12, of_tenant: 48, of_all: downloads }),
        }
    }
}

impl Slots {
    /// `what` names the kind in the log.
    pub fn new(what: &'static str, most: MostAtOnce) -> Self {
        Self { what, most, shares: Shares::default() }
    }

    /// Begins one. Fails with 429 if the caller or their tenant has too many under way, and with 503 if the server has.
    pub fn begin(&self, claimant: Claimant) -> Result<Slot> {
        let MostAtOnce { of_user, of_tenant, of_all } = self.most;
        let holders =
            [(Holder::User(claimant), of_user), (Holder::Tenant(claimant.party), of_tenant), (Holder::Process, of_all)];
        self.shares.take(&holders, 1).map(Slot).map_err(|holder| match holder {
            Holder::Process => Error::Unavailable(anyhow::anyhow!("too many {} are under way", self.what)),
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
        let slots = AllSlots::new(5, 1, 1).exports;
        let begin = |tenant, user| {
            let party = Party::Tenant(Uuid::from_u128(tenant));
            slots.begin(Claimant { party, user: Some(Uuid::from_u128(user)) })
        };
        let is_limited = |result: Result<Slot>| matches!(result, Err(Error::RateLimited { .. }));
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
