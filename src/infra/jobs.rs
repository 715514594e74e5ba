//! Works off the jobs that `db::jobs` keeps. Every server may: each takes what no other has.
use crate::db::Db;
use crate::db::jobs::{Claimed, Job};
use crate::db::types::{JobId, TenantId};
use crate::error::{Error, Result};
use chrono::Duration;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How many jobs are taken at once; they are done one after the other.
const BATCH: i64 = 10;
/// After so many tries, which take about three hours, a job is given up.
const MOST_ATTEMPTS: i32 = 12;
const FIRST_DELAY_SECONDS: i64 = 5;

/// Which job it is.
#[derive(Debug, Clone, Copy)]
pub struct JobOf {
    pub id: JobId,
    pub tenant: Option<TenantId>,
    /// Whether it was begun before, and perhaps got somewhere.
    pub is_repeat: bool,
}

type Work = Arc<dyn Fn(JobOf, &[u8]) -> Result<BoxFuture<'static, Result<()>>> + Send + Sync>;

/// Sees to it that a recurring job is there.
type Keep = Arc<dyn Fn(Db) -> BoxFuture<'static, Result<()>> + Send + Sync>;

#[derive(Clone)]
struct Kind {
    work: Work,
    /// Jobs that are never done: how long until the next time.
    again_after: Option<Duration>,
}

/// The kinds of jobs that there are, and what is done for each.
#[derive(Clone)]
pub struct Jobs {
    db: Db,
    kinds: HashMap<&'static str, Kind>,
    keep: Vec<Keep>,
}

impl Jobs {
    pub fn new(db: Db) -> Self {
        Self { db, kinds: HashMap::new(), keep: vec![] }
    }

    /// Says what is done for a kind of job.
    pub fn on<J, Fut>(mut self, work: impl Fn(JobOf, J) -> Fut + Send + Sync + 'static) -> Self
    where
        J: Job,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.kinds.insert(J::KIND, Kind { work: reading(work), again_after: None });
        self
    }

    /// Says what is done over and over, by one server at a time.
    pub fn every<J, Fut>(mut self, pause: Duration, work: impl Fn(JobOf, J) -> Fut + Send + Sync + 'static) -> Self
    where
        J: Job + Default + Sync,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.kinds.insert(J::KIND, Kind { work: reading(work), again_after: Some(pause) });
        self.keep.push(Arc::new(|db: Db| async move { db.keep_one(J::default()).await }.boxed()));
        self
    }

    /// Works until it is told to stop; what is begun then is finished.
    pub async fn run(self, poll: std::time::Duration, stop: CancellationToken) {
        let mut are_kept = false;
        while !stop.is_cancelled() {
            if !are_kept {
                match self.keep_all().await {
                    Ok(()) => are_kept = true,
                    Err(error) => tracing::warn!(?error, "The recurring jobs can't be set up"),
                }
            }
            let done = match self.work_off(&stop).await {
                Ok(done) => done,
                Err(error) => {
                    tracing::warn!(?error, "Jobs can't be taken");
                    0
                }
            };
            if done == 0 {
                let _ = tokio::time::timeout(poll, stop.cancelled()).await;
            }
        }
    }

    async fn keep_all(&self) -> Result<()> {
        for keep in &self.keep {
            keep(self.db.clone()).await?;
        }
        Ok(())
    }

    /// Does all that is due now, and says how many jobs that were.
    pub async fn run_due(&self) -> Result<usize> {
        self.keep_all().await?;
        let (mut all, never) = (0, CancellationToken::new());
        loop {
            match self.work_off(&never).await? {
                0 => return Ok(all),
                done => all += done,
            }
        }
    }

    async fn work_off(&self, stop: &CancellationToken) -> Result<usize> {
        let jobs = self.db.claim_jobs(BATCH).await?;
        let done = jobs.len();
        for job in jobs {
            if stop.is_cancelled() {
                self.db.postpone_job(&job, Duration::zero(), None).await?;
            } else {
                self.finish(&job, self.attempt(&job).await).await?;
            }
        }
        Ok(done)
    }

    async fn attempt(&self, job: &Claimed) -> Result<()> {
        let kind = self.kinds.get(job.kind.as_str());
        let kind = kind.ok_or_else(|| Error::Internal(anyhow::anyhow!("nobody knows jobs of this kind")))?;
        let work = (kind.work)(JobOf { id: job.id, tenant: job.tenant, is_repeat: job.attempts > 1 }, &job.payload)?;
        let panicked = |_| Error::Internal(anyhow::anyhow!("the job panicked"));
        AssertUnwindSafe(work).catch_unwind().await.map_err(panicked)?
    }

    async fn finish(&self, job: &Claimed, result: Result<()>) -> Result<()> {
        let again_after = self.kinds.get(job.kind.as_str()).and_then(|kind| kind.again_after);
        match (result, again_after) {
            (Ok(()), None) => self.db.delete_job(job).await,
            (Ok(()), Some(pause)) => self.db.postpone_job(job, pause, None).await,
            (Err(error), None) if job.attempts >= MOST_ATTEMPTS => {
                tracing::error!(?error, job.id = %job.id, job.kind = job.kind, "A job is given up");
                self.db.delete_job(job).await
            }
            (Err(error), pause) => {
                tracing::warn!(?error, job.id = %job.id, job.kind = job.kind, job.attempts, "A job failed");
                let delay = Duration::seconds(FIRST_DELAY_SECONDS << (job.attempts - 1).clamp(0, 11));
                let delay = pause.map_or(delay, |pause| delay.min(pause.max(Duration::seconds(1))));
                let reason: String = format!("{error:?}").chars().take(500).collect();
                self.db.postpone_job(job, delay, Some(reason)).await
            }
        }
    }
}

fn reading<J, Fut>(work: impl Fn(JobOf, J) -> Fut + Send + Sync + 'static) -> Work
where
    J: Job,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |of, payload| {
        let job = serde_json::from_slice(payload).map_err(|error| Error::Internal(error.into()))?;
        Ok(work(of, job).boxed())
    })
}
