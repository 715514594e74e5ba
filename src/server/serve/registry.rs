//! Keeps the open connections by address, and decides which one is closed to make room for a new one.
use super::activity::Activity;
use crate::base::formats::subscriber;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often the registry checks whether a connection has become idle while all are busy.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Clones share the same connections.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    max: usize,
    max_per_address: usize,
    /// The limit for one address does not apply to these proxies, because their connections are those of many clients.
    trusted_proxies: Vec<IpNet>,
    state: Mutex<State>,
    /// Notified when a connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct State {
    count: usize,
    last_id: u64,
    by_address: HashMap<IpAddr, HashMap<u64, Entry>>,
}

struct Entry {
    activity: Activity,
    close: CancellationToken,
}

/// The place of an open connection. Dropping this frees the place.
pub struct Registered {
    registry: Registry,
    address: IpAddr,
    id: u64,
    pub activity: Activity,
    /// Cancelled when the connection has to make room for another.
    pub close: CancellationToken,
}

enum Room {
    Here(Registered),
    /// Not yet: an idle connection is being closed, or all connections are busy.
    Later,
    /// Not for this address: all connections that it may have are busy.
    Never,
}

impl Registry {
    /// `max` limits all connections together, and `max_per_address` those of one address that is not a trusted proxy.
    pub fn new(max: usize, max_per_address: usize, trusted_proxies: Vec<IpNet>) -> Self {
        let (state, ended) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner {
            max: max.max(1),
            max_per_address: max_per_address.max(1),
            trusted_proxies,
            state,
            ended,
        }))
    }

    /// Returns a place for a new connection. If all places are taken, the connection that has been idle for longest is
    /// closed. If the address has all the connections that it may have, one of these is closed instead. Returns `None`
    /// if all of these are busy: the new connection must then be turned away. If all connections of the server are
    /// busy, waits until one is not.
    pub async fn register(&self, ip: IpAddr) -> Option<Registered> {
        loop {
            let ended = self.0.ended.notified();
            match self.room(ip) {
                Room::Here(registered) => return Some(registered),
                Room::Never => return None,
                Room::Later => {
                    let _ = timeout(LOOK_AGAIN, ended).await;
                }
            }
        }
    }

    fn room(&self, ip: IpAddr) -> Room {
        let Inner { max, max_per_address, trusted_proxies, .. } = &*self.0;
        let address = subscriber(ip);
        let is_trusted = trusted_proxies.iter().any(|range| range.contains(&ip.to_canonical()));
        let mut state = self.state();
        if let Some(own) = state.by_address.get(&address).filter(|own| !is_trusted && own.len() >= *max_per_address) {
            return if close_quietest(own.values()) { Room::Later } else { Room::Never };
        }
        if state.count >= *max {
            close_quietest(state.by_address.values().flat_map(HashMap::values));
            return Room::Later;
        }
        state.count += 1;
        state.last_id += 1;
        let (id, activity, close) = (state.last_id, Activity::new(), CancellationToken::new());
        let entry = Entry { activity: activity.clone(), close: close.clone() };
        state.by_address.entry(address).or_default().insert(id, entry);
        Room::Here(Registered { registry: self.clone(), address, id, activity, close })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner) // no code that holds the lock can panic
    }
}

/// Closes the connection that has been without a request for longest, unless one is being closed already. Returns false
/// if all connections are busy.
fn close_quietest<'a>(entries: impl Iterator<Item = &'a Entry>) -> bool {
    let quiet = entries.filter_map(|entry| Some((!entry.close.is_cancelled(), entry.activity.quiet_since()?, entry)));
    let quietest = quiet.min_by_key(|(is_staying, since, _)| (*is_staying, *since));
    quietest.inspect(|(.., entry)| entry.close.cancel()).is_some()
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        state.count -= 1;
        if let Some(own) = state.by_address.get_mut(&self.address) {
            own.remove(&self.id);
            if own.is_empty() {
                state.by_address.remove(&self.address);
            }
        }
        drop(state);
        self.registry.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::sleep;

    const ADA: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    async fn registered(registry: &Registry, ip: IpAddr) -> Registered {
        sleep(Duration::from_millis(2)).await; // so that one is older than the other
        registry.register(ip).now_or_never().flatten().expect("a place")
    }

    /// Stands in for the task of a connection, which ends when `close` is cancelled.
    fn serve(registered: Registered) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { registered.close.cancelled().await })
    }

    #[tokio::test]
    async fn the_one_at_rest_for_longest_makes_room() {
        let registry = Registry::new(3, 3, vec![]);
        let busy = registered(&registry, ADA).await;
        let _request = busy.activity.begin();
        let (first, second) = (registered(&registry, ADA).await, registered(&registry, ADA).await);
        drop(first.activity.begin()); // a request on the first, after the second was opened
        let (first, second) = (serve(first), serve(second));
        let newcomer = registry.register(BOB).await.unwrap();
        assert!(second.is_finished() && !first.is_finished() && !busy.close.is_cancelled());
        drop(newcomer);
    }

    #[tokio::test]
    async fn one_newcomer_costs_one_connection_however_long_that_takes_to_close() {
        let registry = Registry::new(2, 2, vec![]);
        let (slow, other) = (registered(&registry, ADA).await, registered(&registry, ADA).await);
        assert!(timeout(LOOK_AGAIN * 3, registry.register(BOB)).await.is_err());
        slow.activity.touch(); // the connection is closing, and looks as if it had just become idle
        assert!(timeout(LOOK_AGAIN * 3, registry.register(BOB)).await.is_err());
        assert!(slow.close.is_cancelled() && !other.close.is_cancelled());
    }

    #[tokio::test]
    async fn an_address_makes_room_among_its_own_and_is_turned_away_where_they_are_busy() {
        let registry = Registry::new(10, 2, vec!["192.0.2.2/32".parse().unwrap()]);
        let (first, second) = (registered(&registry, ADA).await, registered(&registry, ADA).await);
        let request = second.activity.begin();
        let first = serve(first);
        let third = registry.register(ADA).await.unwrap();
        assert!(first.is_finished());
        let also_busy = third.activity.begin();
        assert!(registry.register(ADA).await.is_none());
        for _ in 0..5 {
            std::mem::forget(registered(&registry, BOB).await); // a trusted proxy
        }
        drop((request, also_busy));
        assert!(registry.register(ADA).now_or_never().is_none(), "one of its own is being closed");
    }

    #[tokio::test]
    async fn where_all_are_busy_newcomers_wait() {
        let registry = Registry::new(1, 1, vec![]);
        let only = registered(&registry, ADA).await;
        let request = only.activity.begin();
        assert!(timeout(LOOK_AGAIN * 3, registry.register(BOB)).await.is_err());
        drop(request);
        let only = serve(only);
        assert!(timeout(LOOK_AGAIN * 20, registry.register(BOB)).await.is_ok());
        assert!(only.is_finished());
    }
}
