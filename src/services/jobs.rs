//! Runs the jobs that `db::jobs` stores. Every server runs jobs, and takes only those that no other server has taken.
//! Recurring jobs and one-time jobs have a loop each, so that neither kind waits for the other.
use crate::base::error::{Error, Result};
use crate::db::Db;
use crate::db::jobs::{Claimed, DEFAULT_LEASE, Job, Queue};
use chrono::Duration;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How many one-time jobs run at the same time.
const AT_ONCE: usize = 4;
/// A one-time job is given up after this number of tries, which take about three hours.
const MAX_ATTEMPTS: i32 = 12;
const FIRST_DELAY_SECONDS: i64 = 5;

/// A function that reads the stored data of a job and runs the job.
type Work = Arc<dyn Fn(&Db, &Claimed) -> Result<BoxFuture<'static, Result<()>>> + Send + Sync>;

#[derive(Clone)]
struct Kind {
    work: Work,
    lease: std::time::Duration,
    /// The pause before the next run. `None` for one-time jobs.
    again_after: Option<Duration>,
}

/// The kinds of jobs, and the work of each.
#[derive(Clone)]
pub struct Jobs {
    db: Db,
    kinds: HashMap<&'static str, Kind>,
}

impl Jobs {
    pub fn new(db: Db) -> Self {
        Self { db, kinds: HashMap::new() }
    }

    /// Registers one-time jobs of this type, with the parts that their work needs.
    pub fn register<J: Job>(self, needs: J::Needs) -> Self {
        let work: Work = Arc::new(move |db, job| Ok(db.open_job::<J>(job)?.run(job.into(), needs.clone()).boxed()));
        self.add::<J>(work, None)
    }

    /// Registers a recurring job of this type. It runs on one server at a time, with this pause between two runs. It
    /// has no stored data.
    pub fn every<J: Job + Default>(self, pause: Duration, needs: J::Needs) -> Self {
        let work: Work = Arc::new(move |_, job| Ok(J::default().run(job.into(), needs.clone()).boxed()));
        self.add::<J>(work, Some(pause))
    }

    fn add<J: Job>(mut self, work: Work, again_after: Option<Duration>) -> Self {
        let former = self.kinds.insert(J::KIND, Kind { work, lease: J::LEASE, again_after });
        assert!(former.is_none(), "at start: two types of jobs are of the kind {}", J::KIND);
        self
    }

    /// Runs jobs until `stop` is cancelled. Jobs that are running then may finish if they take no longer than `drain`.
    /// A job that takes longer is cut off, and runs again after its lease has expired.
    pub async fn run(self, poll: std::time::Duration, drain: std::time::Duration, stop: CancellationToken) {
        let jobs = Arc::new(self);
        let recurring = async {
            while !stop.is_cancelled() {
                match jobs.keep_all().await {
                    Ok(()) => jobs.work_off(jobs.recurring(), poll, &stop).await,
                    Err(error) => {
                        tracing::warn!(?error, "The recurring jobs can't be set up");
                        rest(poll, &stop).await;
                    }
                }
            }
        };
        let once = jobs.work_off(jobs.once(), poll, &stop);
        let drained = async {
            stop.cancelled().await;
            sleep(drain).await;
        };
        tokio::select! {
            biased;
            _ = join(recurring, once) => {}
            () = drained => tracing::warn!("Jobs that take too long are cut off; they are done again later"),
        }
    }

    /// Runs all jobs that are due now, one after the other.
    pub async fn run_due(&self) -> Result<()> {
        self.keep_all().await?;
        for queue in [self.recurring(), self.once()] {
            while let Some(job) = self.claim(&queue).await? {
                self.work_on(job).await;
            }
        }
        Ok(())
    }

    /// The queue of all recurring kinds.
    pub fn recurring(&self) -> Queue {
        let recurring = self.kinds.iter().filter(|(_, kind)| kind.again_after.is_some());
        Queue::Recurring(recurring.map(|(name, _)| *name).collect())
    }

    /// The queue of all one-time kinds.
    pub fn once(&self) -> Queue {
        let once = self.kinds.iter().filter(|(_, kind)| kind.again_after.is_none());
        Queue::Once(once.map(|(name, _)| *name).collect())
    }

    /// Claims a job that is due.
    pub async fn claim(&self, queue: &Queue) -> Result<Option<Claimed>> {
        self.db.claim_job(queue, |kind| self.kinds.get(kind).map_or(DEFAULT_LEASE, |kind| kind.lease)).await
    }

    async fn keep_all(&self) -> Result<()> {
        if let Queue::Recurring(kinds) = self.recurring() {
            for kind in kinds {
                self.db.keep_one(kind).await?;
            }
        }
        Ok(())
    }

    async fn work_off(self: &Arc<Self>, queue: Queue, poll: std::time::Duration, stop: &CancellationToken) {
        let at_once = match &queue {
            Queue::Recurring(kinds) => kinds.len(), // no kind waits for another
            Queue::Once(_) => AT_ONCE,
        };
        let mut running = JoinSet::new();
        while !stop.is_cancelled() {
            match self.claim(&queue).await {
                Ok(Some(job)) => {
                    running.spawn(self.clone().work_on_all(job, queue.clone(), stop.clone()));
                }
                Ok(None) => rest(poll, stop).await,
                Err(error) => {
                    tracing::warn!(?error, "Jobs can't be taken");
                    rest(poll, stop).await;
                }
            }
            while running.try_join_next().is_some() {} // removes the jobs that have ended
            if running.len() >= at_once {
                running.join_next().await;
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Runs a job, and then other jobs of the queue for as long as there are any.
    async fn work_on_all(self: Arc<Self>, job: Claimed, queue: Queue, stop: CancellationToken) {
        let mut next = Some(job);
        while let Some(job) = next {
            self.work_on(job).await;
            // An error is ignored here. The loop that claims the first job meets it again and logs it.
            next = if stop.is_cancelled() { None } else { self.claim(&queue).await.unwrap_or_default() };
        }
    }

    async fn work_on(&self, job: Claimed) {
        let result = self.attempt(&job).await;
        if let Err(error) = self.finish(&job, result).await {
            tracing::error!(?error, job.id = %job.id, job.kind, "A job's end can't be noted: it will be done again");
        }
    }

    async fn attempt(&self, job: &Claimed) -> Result<()> {
        let failed = |why: &'static str| Error::Internal(anyhow::anyhow!(why));
        let kind =
            self.kinds.get(job.kind.as_str()).ok_or_else(|| failed("this server does not know jobs of this kind"))?;
        if kind.again_after.is_none() && job.attempts > MAX_ATTEMPTS {
            return Err(failed("the job never came to an end: it may be what ended its servers"));
        }
        let work = AssertUnwindSafe((kind.work)(&self.db, job)?).catch_unwind();
        // A job is cut off before its lease expires, so that no two servers run it at the same time.
        let limit = job.time_left(self.db.env().now()).saturating_sub(kind.lease / 5);
        let done = timeout(limit, work).await.map_err(|_| failed("the job took too long"))?;
        done.map_err(|_| failed("the job panicked"))?
    }

    async fn finish(&self, job: &Claimed, result: Result<()>) -> Result<()> {
        let again_after = self.kinds.get(job.kind.as_str()).and_then(|kind| kind.again_after);
        let error = match (result, again_after) {
            (Ok(()), None) => return self.db.delete_job(job).await,
            (Ok(()), Some(pause)) => return self.db.postpone_job(job, pause, None).await,
            (Err(error), _) => error,
        };
        match again_after {
            None if job.attempts >= MAX_ATTEMPTS => {
                tracing::error!(?error, job.id = %job.id, job.kind, "A job is given up");
                return self.db.delete_job(job).await;
            }
            Some(_) if job.attempts >= MAX_ATTEMPTS => {
                tracing::error!(?error, job.id = %job.id, job.kind, job.attempts, "A recurring job fails every time");
            }
            _ => tracing::warn!(?error, job.id = %job.id, job.kind, job.attempts, "A job failed"),
        }
        let delay = Duration::seconds(FIRST_DELAY_SECONDS << (job.attempts - 1).clamp(0, 11));
        let delay = again_after.map_or(delay, |pause| delay.min(pause.max(Duration::seconds(1))));
        // PostgreSQL can't store NUL, and the answer of a mail server may contain one.
        let reason = format!("{error:?}").chars().filter(|c| *c != '\0').take(500).collect();
        self.db.postpone_job(job, delay, Some(reason)).await
    }
}

async fn rest(poll: std::time::Duration, stop: &CancellationToken) {
    let _ = timeout(poll, stop.cancelled()).await;
}
