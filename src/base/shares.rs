//! Counts how much of a resource each holder uses, for example bytes, connections or exports. An amount that exceeds a
//! holder's share is refused.
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The amounts in use, by holder. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Shares<K>(Arc<Mutex<HashMap<K, u64>>>);

/// An amount in use. It is given back when it is dropped.
#[derive(Debug)]
pub struct Share<K: Hash + Eq> {
    of: Shares<K>,
    holders: Vec<K>,
    amount: u64,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// Takes an amount for all these holders at once. Each holder comes with the most that it may use. If a holder has
    /// not enough left, nothing is taken, and that holder is the error. A holder that uses nothing may take one amount
    /// that is larger than its share.
    pub fn take(&self, holders: &[(K, u64)], amount: u64) -> Result<Share<K>, K> {
        let mut in_use = self.lock();
        let is_full = |(holder, max): &&(K, u64)| {
            let used = in_use.get(holder).copied().unwrap_or_default();
            used > 0 && used.saturating_add(amount) > *max
        };
        if let Some((holder, _)) = holders.iter().find(is_full) {
            return Err(holder.clone());
        }
        let holders: Vec<K> = holders.iter().map(|(holder, _)| holder.clone()).collect();
        for holder in &holders {
            *in_use.entry(holder.clone()).or_default() += amount;
        }
        drop(in_use);
        Ok(Share { of: self.clone(), holders, amount })
    }

    /// The amount that a holder uses.
    pub fn in_use(&self, holder: &K) -> u64 {
        self.lock().get(holder).copied().unwrap_or_default()
    }
}

impl<K> Shares<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // a panic leaves no number half changed
    }
}

impl<K: Hash + Eq> Share<K> {
    /// Reduces the amount to `amount` and gives the rest back. A larger `amount` changes nothing.
    pub fn shrink(&mut self, amount: u64) {
        let less = self.amount.saturating_sub(amount);
        self.amount -= less;
        let mut in_use = self.of.lock();
        for holder in &self.holders {
            if let Some(used) = in_use.get_mut(holder) {
                *used -= less;
                if *used == 0 {
                    in_use.remove(holder);
                }
            }
        }
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_a_share_is_refused_and_names_whose() {
        let shares = Shares::default();
        let of = |user| [(user, 10), ("all", 25)];
        let first = shares.take(&of("ada"), 8).unwrap();
        assert_eq!(shares.take(&of("ada"), 3).unwrap_err(), "ada");
        let second = shares.take(&of("ada"), 2).unwrap();
        let _bob = shares.take(&of("bob"), 10).unwrap();
        assert_eq!(shares.take(&of("eve"), 6).unwrap_err(), "all");
        assert_eq!((shares.in_use(&"eve"), shares.in_use(&"all")), (0, 20), "nothing of it was taken");
        drop((first, second));
        assert_eq!(shares.in_use(&"ada"), 0);
        let mut whole = shares.take(&of("ada"), 10).unwrap();
        whole.shrink(4);
        whole.shrink(7);
        assert_eq!((shares.in_use(&"ada"), shares.in_use(&"all")), (4, 14));
        drop(whole);
        assert_eq!((shares.in_use(&"ada"), shares.in_use(&"all")), (0, 10));
        assert!(!shares.lock().contains_key("ada"));
    }

    #[test]
    fn one_larger_amount_may_pass_alone() {
        let shares = Shares::default();
        let large = shares.take(&[("ada", 10)], 1000).unwrap();
        assert!(shares.take(&[("ada", 10)], 1).is_err());
        drop(large);
        assert!(shares.take(&[("ada", 10)], 1).is_ok());
    }
}
