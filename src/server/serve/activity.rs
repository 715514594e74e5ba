//! Tracks whether a connection is busy. The time limits for quiet connections depend on this.
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

#[derive(Clone)]
pub struct Activity(Arc<watch::Sender<State>>);

#[derive(Clone, Copy)]
struct State {
    /// The number of requests with an answer that is not fully handed over, and of writes that wait for the client.
    ongoing: usize,
    has_begun: bool,
    quiet_since: Instant,
}

/// Something that the limits for quiet connections must not cut off. It ends when this is dropped.
pub struct Ongoing(Activity);

impl Activity {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State { ongoing: 0, has_begun: false, quiet_since: Instant::now() })))
    }

    pub fn begin(&self) -> Ongoing {
        self.0.send_modify(|state| {
            state.ongoing += 1;
            state.has_begun = true;
        });
        Ongoing(self.clone())
    }

    /// The time since which nothing has been going on, or `None` while something is.
    pub fn quiet_since(&self) -> Option<Instant> {
        let state = self.0.borrow();
        (state.ongoing == 0).then_some(state.quiet_since)
    }

    pub fn has_begun(&self) -> bool {
        self.0.borrow().has_begun
    }

    /// Starts the clock of [`Self::quiet_for`] again.
    pub fn touch(&self) {
        self.0.send_modify(|state| state.quiet_since = Instant::now());
    }

    /// Resolves once nothing has been going on for `before`, if nothing has begun yet, or otherwise for `since`.
    pub async fn quiet_for(&self, before: Duration, since: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            let limit = if state.has_begun { since } else { before };
            let changed = changes.changed(); // this fails only without a sender, and `self` is one
            if state.ongoing > 0 {
                let _ = changed.await;
            } else if timeout_at(state.quiet_since + limit, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| {
            state.ongoing -= 1;
            state.quiet_since = Instant::now();
        });
    }
}
