//! Fair queues. A queue decides which request gets the next turn if more requests wait than there are turns.
//!
//! Turns go round-robin over the parties, and within a party over its users. A party is a tenant, or an address for
//! visitors. However many requests a party sends, it gets its next turn only after the other waiting parties got
//! theirs. A queue can also limit how many turns one party holds at once, and how many requests wait.
use crate::base::formats::subscriber;
use crate::base::metrics::QueueGauges;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use uuid::Uuid;

/// One of the parties among which turns are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// All users of a tenant whose token or key was verified.
    Tenant(Uuid),
    /// All visitors from one IPv4 address or one IPv6 network. `None` if the address is not known.
    Address(Option<IpAddr>),
    /// The server's own work: jobs, and the operator's commands.
    Server,
}

/// The user or visitor for whom a turn is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claimant {
    pub party: Party,
    /// `None` where the party has no users.
    pub user: Option<Uuid>,
}

impl Claimant {
    /// A caller who is not authenticated yet. The user name in the request does not count, because the waiting time
    /// would then reveal whether such a user exists.
    pub fn visitor(ip: Option<IpAddr>) -> Self {
        Self { party: Party::Address(ip.map(subscriber)), user: None }
    }

    /// The operator's commands.
    pub fn server() -> Self {
        Self { party: Party::Server, user: None }
    }
}

/// Hands out a fixed number of turns. Clones share the queue.
#[derive(Clone)]
pub struct FairQueue(Arc<Inner>);

struct Inner {
    capacity: usize,
    per_party: usize,
    gauges: QueueGauges,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    taken_by: HashMap<Party, usize>,
    /// The parties with waiting requests, each once. The first one is next.
    order: VecDeque<Party>,
    waiting: HashMap<Party, Waiting>,
    /// The number of waiting requests of all parties.
    waiting_count: usize,
    tickets: u64,
}

/// The waiting requests of one party. `order` has each of their users once, and the first one is next.
#[derive(Default)]
struct Waiting {
    order: VecDeque<Option<Uuid>>,
    requests: HashMap<Option<Uuid>, VecDeque<Request>>,
}

impl Waiting {
    fn len(&self) -> usize {
        self.requests.values().map(VecDeque::len).sum()
    }
}

struct Request {
    ticket: u64,
    answer: oneshot::Sender<Turn>,
}

/// The right to proceed. When it is dropped, the turn goes to the next request.
pub struct Turn {
    queue: FairQueue,
    party: Party,
}

/// Removes a request from the queue if its future is dropped while it waits.
struct Withdrawal<'a> {
    queue: &'a FairQueue,
    claimant: Claimant,
    ticket: u64,
}

impl FairQueue {
    /// A queue with `capacity` turns, of which one party may hold at most `per_party`. Each is raised to 1 if it is 0.
    pub fn new(capacity: usize, per_party: usize, gauges: QueueGauges) -> Self {
        let (capacity, per_party) = (capacity.max(1), per_party.max(1));
        Self(Arc::new(Inner { capacity, per_party, gauges, state: Mutex::default() }))
    }

    /// Waits for a turn. The request leaves the queue if the future is dropped.
    pub async fn turn(&self, claimant: Claimant) -> Turn {
        match self.request(claimant, usize::MAX).await {
            Some(turn) => turn,
            None => std::future::pending().await, // does not happen: only a withdrawn request loses its sender
        }
    }

    /// Like [`Self::turn`], but at most `places` requests can wait. If there is one more, the party with the most
    /// waiting requests loses its latest one, which gets `None`. A party that fills the queue thus keeps no other party
    /// out. Either all requests to a queue use this function or none does: a removed request of [`Self::turn`] would
    /// wait for ever.
    pub async fn turn_among(&self, claimant: Claimant, places: usize) -> Option<Turn> {
        self.request(claimant, places).await
    }

    async fn request(&self, claimant: Claimant, places: usize) -> Option<Turn> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.state().push(claimant, answer);
        let _withdrawal = Withdrawal { queue: self, claimant, ticket };
        self.hand_out();
        self.state().crop(places, claimant);
        answered.await.ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner) // no panic can leave a change half done
    }

    /// Gives free turns to the next requests. Turns are sent after the state is unlocked: a turn is dropped if its
    /// request is gone, and dropping it locks the state.
    fn hand_out(&self) {
        let mut granted = vec![];
        let mut state = self.state();
        while state.taken < self.0.capacity
            && let Some((party, answer)) = state.next(self.0.per_party)
        {
            granted.push((answer, Turn { queue: self.clone(), party }));
        }
        self.show(&state);
        drop(state);
        for (answer, turn) in granted {
            drop(answer.send(turn));
        }
    }

    fn show(&self, state: &State) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.0.gauges.taken.set(count(state.taken));
        self.0.gauges.taken_by_one.set(count(state.taken_by.values().copied().max().unwrap_or_default()));
        self.0.gauges.waiting.set(count(state.waiting_count));
    }
}

impl State {
    fn push(&mut self, claimant: Claimant, answer: oneshot::Sender<Turn>) -> u64 {
        let Claimant { party, user } = claimant;
        self.tickets += 1;
        let waiting = self.waiting.entry(party).or_insert_with(|| {
            self.order.push_back(party);
            Waiting::default()
        });
        let requests = waiting.requests.entry(user).or_insert_with(|| {
            waiting.order.push_back(user);
            VecDeque::new()
        });
        requests.push_back(Request { ticket: self.tickets, answer });
        self.waiting_count += 1;
        self.tickets
    }

    /// Removes the next request from the queue and counts its turn as taken.
    fn next(&mut self, per_party: usize) -> Option<(Party, oneshot::Sender<Turn>)> {
        let has_share = |party: &Party| self.taken_by.get(party).is_none_or(|taken| *taken < per_party);
        let party = self.order.remove(self.order.iter().position(has_share)?)?;
        let waiting = self.waiting.get_mut(&party)?;
        let user = waiting.order.pop_front()?;
        let requests = waiting.requests.get_mut(&user)?;
        let request = requests.pop_front()?;
        self.waiting_count -= 1;
        if requests.is_empty() {
            waiting.requests.remove(&user);
        } else {
            waiting.order.push_back(user);
        }
        if waiting.requests.is_empty() {
            self.waiting.remove(&party);
        } else {
            self.order.push_back(party);
        }
        self.taken += 1;
        *self.taken_by.entry(party).or_default() += 1;
        Some((party, request.answer))
    }

    /// Removes waiting requests until `places` are left. `newcomer` sent the last one.
    fn crop(&mut self, places: usize, newcomer: Claimant) {
        while self.waiting_count > places {
            let Some((claimant, ticket)) = self.latest_of_most(newcomer) else { return };
            self.withdraw(claimant, ticket);
        }
    }

    /// The latest request of the user with the most waiting requests, in the party with the most waiting requests.
    /// Where others have as many as the newcomer, the newcomer's request is chosen.
    fn latest_of_most(&self, newcomer: Claimant) -> Option<(Claimant, u64)> {
        let parties = self.waiting.iter();
        let (party, waiting) = parties.max_by_key(|(party, waiting)| (waiting.len(), **party == newcomer.party))?;
        let users = waiting.requests.iter();
        let (user, requests) = users.max_by_key(|(user, requests)| (requests.len(), **user == newcomer.user))?;
        Some((Claimant { party: *party, user: *user }, requests.back()?.ticket))
    }

    /// Removes a request, if it still waits.
    fn withdraw(&mut self, claimant: Claimant, ticket: u64) {
        let Claimant { party, user } = claimant;
        let Some(waiting) = self.waiting.get_mut(&party) else { return };
        let Some(requests) = waiting.requests.get_mut(&user) else { return };
        let before = requests.len();
        requests.retain(|request| request.ticket != ticket);
        self.waiting_count -= before - requests.len();
        if requests.is_empty() {
            waiting.requests.remove(&user);
            waiting.order.retain(|other| *other != user);
        }
        if waiting.requests.is_empty() {
            self.waiting.remove(&party);
            self.order.retain(|other| *other != party);
        }
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.withdraw(self.claimant, self.ticket);
        self.queue.show(&state);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.taken -= 1;
        if let Some(taken) = state.taken_by.get_mut(&self.party) {
            *taken -= 1;
            if *taken == 0 {
                state.taken_by.remove(&self.party);
            }
        }
        drop(state);
        self.queue.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    fn claimant(tenant: u128, user: u128) -> Claimant {
        Claimant { party: Party::Tenant(Uuid::from_u128(tenant)), user: Some(Uuid::from_u128(user)) }
    }

    /// A request that waits in the queue already.
    fn asked(queue: &FairQueue, tenant: u128, user: u128) -> BoxFuture<'static, Turn> {
        let queue = queue.clone();
        let mut turn = async move { queue.turn(claimant(tenant, user)).await }.boxed();
        assert!((&mut turn).now_or_never().is_none(), "it did not have to wait");
        turn
    }

    /// The order in which these requests of (tenant, user) get the only turn.
    async fn order(requests: &[(u128, u128)]) -> Vec<(u128, u128)> {
        let queue = FairQueue::new(1, 1, QueueGauges::default());
        let held = queue.turn(claimant(99, 99)).await;
        let mut waiting: Vec<_> =
            requests.iter().map(|(tenant, user)| ((*tenant, *user), asked(&queue, *tenant, *user))).collect();
        drop(held);
        let mut order = vec![];
        while !waiting.is_empty() {
            let ready = waiting.iter_mut().position(|(_, turn)| {
                turn.now_or_never().map(drop).is_some() // the turn is dropped and goes to the next request
            });
            order.push(waiting.remove(ready.unwrap()).0);
        }
        order
    }

    #[tokio::test]
    async fn turns_go_round_over_tenants_and_within_them_over_users() {
        let asked = [(1, 1), (1, 1), (1, 1), (1, 2), (2, 1), (3, 1), (2, 1)];
        assert_eq!(order(&asked).await, [(1, 1), (2, 1), (3, 1), (1, 2), (2, 1), (1, 1), (1, 1)]);
    }

    #[tokio::test]
    async fn a_party_at_its_share_waits_though_there_are_turns() {
        let gauges = QueueGauges::default();
        let queue = FairQueue::new(4, 2, gauges.clone());
        let held = [queue.turn(claimant(1, 1)).await, queue.turn(claimant(1, 2)).await];
        let mut third = asked(&queue, 1, 3);
        assert_eq!(gauges.waiting.get(), 1);
        let others = [queue.turn(claimant(2, 1)).await, queue.turn(claimant(3, 1)).await];
        assert_eq!((gauges.taken.get(), gauges.taken_by_one.get()), (4, 2));
        drop(others);
        assert!((&mut third).now_or_never().is_none());
        drop(held);
        assert!(third.now_or_never().is_some());
        assert_eq!((gauges.taken.get(), gauges.taken_by_one.get(), gauges.waiting.get()), (0, 0, 0));
    }

    #[tokio::test]
    async fn who_gives_up_is_passed_over() {
        let gauges = QueueGauges::default();
        let queue = FairQueue::new(1, 1, gauges.clone());
        let held = queue.turn(claimant(1, 1)).await;
        let (gone, mut next) = (asked(&queue, 2, 1), asked(&queue, 3, 1));
        assert_eq!(gauges.waiting.get(), 2);
        drop(gone);
        assert_eq!(gauges.waiting.get(), 1);
        drop(held);
        assert!((&mut next).now_or_never().is_some());
        let state = queue.state();
        assert!(state.order.is_empty() && state.waiting.is_empty() && state.taken_by.is_empty() && state.taken == 0);
    }

    #[tokio::test]
    async fn a_turn_that_was_sent_to_nobody_goes_on() {
        let queue = FairQueue::new(1, 1, QueueGauges::default());
        let held = queue.turn(claimant(1, 1)).await;
        let (first, second) = (asked(&queue, 2, 1), asked(&queue, 3, 1));
        drop(held); // the turn is on its way to the first
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_fills_the_places_loses_one_to_a_newcomer() {
        let queue = FairQueue::new(1, 1, QueueGauges::default());
        let held = queue.turn_among(claimant(9, 9), 3).await.unwrap();
        let asked = |tenant: u128, user: u128| {
            let queue = queue.clone();
            let mut turn = async move { queue.turn_among(claimant(tenant, user), 3).await }.boxed();
            assert!((&mut turn).now_or_never().is_none(), "it has to wait");
            turn
        };
        let [first, second, mut third] = [asked(1, 1), asked(1, 2), asked(1, 2)];
        assert!(queue.turn_among(claimant(1, 2), 3).await.is_none(), "a party that has all places gets no more");
        let mut other = asked(2, 1);
        assert!((&mut third).now_or_never().unwrap().is_none(), "the latest of who has most made room");
        assert!(queue.turn_among(claimant(2, 1), 3).await.is_none(), "nor does another that has as many");
        drop(held);
        drop(first.await.unwrap());
        drop((&mut other).now_or_never().unwrap().unwrap());
        drop(second.await.unwrap());
    }

    proptest! {
        /// The bounds hold whatever is requested, withdrawn and given back. At the end every request that is left gets
        /// its turn.
        #[test]
        fn bounds_hold_and_nobody_is_forgotten(steps in prop::collection::vec((0_u128..4, 0_u128..3, 0_u8..4), 1..80)) {
            let queue = FairQueue::new(3, 2, QueueGauges::default());
            let (mut waiting, mut held): (Vec<BoxFuture<'static, Turn>>, Vec<Turn>) = (vec![], vec![]);
            let settle = |waiting: &mut Vec<BoxFuture<'static, Turn>>, held: &mut Vec<Turn>| {
                let mut index = 0;
                while index < waiting.len() {
                    match (&mut waiting[index]).now_or_never() {
                        Some(turn) => {
                            held.push(turn);
                            drop(waiting.swap_remove(index));
                        }
                        None => index += 1,
                    }
                }
            };
            for (tenant, user, kind) in steps {
                match kind {
                    0 if !held.is_empty() => drop(held.swap_remove(0)),
                    1 if !waiting.is_empty() => drop(waiting.swap_remove(0)),
                    _ => {
                        let queue = queue.clone();
                        waiting.push(async move { queue.turn(claimant(tenant, user)).await }.boxed());
                    }
                }
                settle(&mut waiting, &mut held);
                prop_assert!(held.len() <= 3);
                for tenant in 0..4 {
                    let of_tenant = held.iter().filter(|turn| turn.party == claimant(tenant, 0).party).count();
                    prop_assert!(of_tenant <= 2);
                }
                prop_assert_eq!(queue.state().taken, held.len());
            }
            for _ in 0..200 {
                held.clear();
                settle(&mut waiting, &mut held);
            }
            prop_assert!(waiting.is_empty(), "{} wait for ever", waiting.len());
        }
    }
}
