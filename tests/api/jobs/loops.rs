//! The loops that run jobs: a job that is slow, hangs or fails does not delay the others, and the loops stop with the
//! server.
use super::{count, idle, invite, unsealed};
use crate::support::TestApp;
use bizcenter::base::error::Result;
use bizcenter::db::Origin;
use bizcenter::db::jobs::{Job, JobContext, Queue, RegisteredJob};
use bizcenter::services::jobs::Jobs;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

const POLL: Duration = Duration::from_millis(50);
const DRAIN: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

/// A job that takes this long.
#[derive(Serialize, Deserialize)]
struct Nap(Duration);

impl RegisteredJob for Nap {}
impl Job for Nap {
    const KIND: &'static str = "nap";
    type Needs = Tally;

    async fn run(self, _: JobContext, tally: Tally) -> Result<()> {
        tally.work(sleep(self.0)).await
    }
}

/// Counts how many jobs were started and how many of them finished.
#[derive(Clone, Default)]
struct Tally {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Tally {
    fn get(&self) -> (usize, usize) {
        (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }

    async fn work(self, work: impl Future<Output = ()>) -> Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        work.await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// A job runner that counts its naps in this tally.
    fn naps(&self, app: &TestApp) -> Jobs {
        Jobs::new(app.parts.db.clone()).register::<Nap>(self.clone())
    }
}

/// A loop that runs jobs, as in a server.
struct AtWork {
    stop: CancellationToken,
    running: JoinHandle<()>,
    _stop_at_the_end: DropGuard,
}

fn at_work(app: &TestApp, jobs: Jobs, poll: Duration, drain: Duration) -> AtWork {
    let (app, stop) = (app.clone(), CancellationToken::new());
    let run = jobs.run(poll, drain, stop.clone());
    let running = tokio::spawn(async move { app.by_hand(run).await });
    AtWork { _stop_at_the_end: stop.clone().drop_guard(), stop, running }
}

impl AtWork {
    /// Stops the loop. Returns how long that took.
    async fn end(self) -> Duration {
        let began = Instant::now();
        self.stop.cancel();
        timeout(Duration::from_secs(10), self.running).await.expect("it does not stop").unwrap();
        began.elapsed()
    }
}

async fn enqueue<J: Job>(app: &TestApp, job: J) {
    let db = app.parts.db.clone();
    app.by_hand(async move { db.enqueue(job, &Origin::default()).await.unwrap() }).await;
}

/// Waits until a condition is true, for at most five seconds. This is real time, because these tests are about real
/// time.
async fn soon(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
        sleep(POLL).await;
    }
}

#[tokio::test]
async fn sealing_does_not_wait_for_a_mail_server_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let app = TestApp::with(move |config| config.mail.smtp_url = Some(url.into())).await;
    let tenant = idle(&app).await;
    join_all((0..20).map(|_| invite(&tenant))).await;
    let _working = at_work(&app, app.parts.jobs.clone(), POLL, DRAIN);
    for _ in 0..2 {
        soon("all rows are sealed", async || unsealed(&app).await == 0).await;
        invite(&tenant).await;
    }
    assert_eq!(count(&app).await, 22, "the mails wait");
}

#[tokio::test]
async fn some_ordinary_jobs_are_done_at_once() {
    let (app, tally) = (TestApp::alone().await, Tally::default());
    for _ in 0..4 {
        enqueue(&app, Nap(Duration::from_secs(2))).await;
    }
    let _working = at_work(&app, tally.naps(&app), POLL, DRAIN);
    soon("all are done", async || tally.get() == (4, 4)).await;
}

#[tokio::test]
async fn idle_loops_stop_at_once() {
    let app = TestApp::alone().await;
    let Queue::Recurring(kinds) = app.parts.jobs.recurring() else { panic!("another queue") };
    let working = at_work(&app, app.parts.jobs.clone(), Duration::from_secs(60), DRAIN);
    soon("they have done what was due", async || app.rows("SELECT kind FROM jobs").await.len() == kinds.len()).await;
    sleep(SHORT).await; // time to become idle, which can't be observed
    let took = working.end().await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn what_is_begun_when_they_stop_is_finished_and_the_rest_is_left_to_others() {
    let (app, tally) = (TestApp::alone().await, Tally::default());
    for _ in 0..20 {
        enqueue(&app, Nap(SHORT)).await;
    }
    let working = at_work(&app, tally.naps(&app), POLL, DRAIN);
    soon("one is begun", async || tally.get().0 > 0).await;
    working.end().await;
    let (begun, ended) = tally.get();
    assert!(begun == ended && begun < 20, "{begun} {ended}");
    assert_eq!(count(&app).await, 20 - i64::try_from(ended).unwrap());
    let _other = at_work(&app, tally.naps(&app), POLL, DRAIN);
    soon("another does the rest at once", async || tally.get() == (20, 20)).await;
}

/// A job that never finishes.
#[derive(Serialize, Deserialize)]
struct Hang {}

impl RegisteredJob for Hang {}
impl Job for Hang {
    const KIND: &'static str = "hang";
    const LEASE: Duration = Duration::from_secs(1);
    type Needs = Tally;

    async fn run(self, _: JobContext, tally: Tally) -> Result<()> {
        tally.work(pending()).await
    }
}

impl Tally {
    fn hangs(&self, app: &TestApp) -> Jobs {
        self.naps(app).register::<Hang>(self.clone())
    }
}

#[tokio::test]
async fn what_hangs_is_cut_off_before_another_server_may_take_it() {
    let (app, tally) = (TestApp::alone().await, Tally::default());
    let replica = app.replica().await;
    enqueue(&app, Hang {}).await;
    let _working = [&app, &replica].map(|server| at_work(server, tally.hangs(server), POLL, DRAIN));
    soon("it is cut off", async || app.rows("SELECT last_error FROM jobs").await.concat() != ["NULL"]).await;
    sleep(Hang::LEASE).await; // another server could take it by now
    assert_eq!(tally.get(), (1, 0));
    let reason = app.rows("SELECT last_error FROM jobs").await.concat().concat();
    assert!(reason.contains("took too long"), "{reason}");
}

#[tokio::test]
async fn what_hangs_when_they_stop_is_left_to_others_after_a_while() {
    let (app, tally) = (TestApp::alone().await, Tally::default());
    enqueue(&app, Hang {}).await;
    let working = at_work(&app, tally.hangs(&app), POLL, SHORT);
    soon("it is begun", async || tally.get() == (1, 0)).await;
    let took = working.end().await;
    assert!(took > SHORT && took < Hang::LEASE, "{took:?}");
    let _other = at_work(&app, tally.hangs(&app), POLL, DRAIN);
    soon("another takes it when its lease is over", async || tally.get() == (2, 0)).await;
}
