//! What a connection is busy with, as far as its time limits care.
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

#[derive(Clone)]
pub struct Activity(Arc<watch::Sender<State>>);

#[derive(Clone, Copy)]
struct State {
    /// Requests whose answer is not fully handed over, and writes that the client keeps waiting.
    ongoing: usize,
    has_begun: bool,
    quiet_since: Instant,
}

/// Something that must not be cut off by the limits for quiet connections; ends when dropped.
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

    /// Since when nothing has been going on; `None` while something is.
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

    /// Resolves once nothing has been going on for so long: before the first request, or since.
    pub async fn quiet_for(&self, before: Duration, since: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            let limit = if state.has_begun { since } else { before };
            let changed = changes.changed(); // fails only without a sender, and we hold one
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
