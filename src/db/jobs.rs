//! Jobs: work that is done after a commit. A job is stored in the transaction of the change that needs it. A server
//! claims a job for the time of its lease. If that server dies, another one claims the job when the lease has expired,
//! so that the work of a job may be done twice.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::scope::System;
use super::sql::{for_update, skip_locked};
use super::types::{Instant, JobId, TenantId};
use super::{Audited, Db, Execute, Origin, RunQueryDsl, Statement, WriteScope, WriteTx};
use crate::base::crypto::Sealer;
use crate::base::error::{Error, Result};
use crate::db::schema::jobs;
use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The lease of jobs that have no reason for a shorter or longer one.
pub const DEFAULT_LEASE: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// How many jobs are encrypted again in one transaction.
const SEALED_AT_ONCE: i64 = 100;

/// A job that is registered in `jobs!` of `src/app/jobs.rs`. Only that macro implements this trait, so that a type of
/// job that no server would run does not compile:
///
/// ```compile_fail,E0277
/// use bizcenter::base::error::Result;
/// use bizcenter::db::jobs::{Job, JobContext};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Forgotten {}
///
/// impl Job for Forgotten {
///     const KIND: &'static str = "forgotten";
///     type Needs = ();
///
///     async fn run(self, _: JobContext, (): ()) -> Result<()> {
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "no server does jobs of the type `{Self}`",
    label = "this job is not registered",
    note = "add a line for it to `jobs!` in src/app/jobs.rs, which says what it is given"
)]
pub trait RegisteredJob {}

/// Work that is done by any server after a commit: its data, and the function that runs it. The data is stored
/// encrypted, because mails contain tokens.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a job",
    label = "only a job can be enqueued",
    note = "implement `Job` for it; it is stored as JSON, and so it needs `Serialize` and `Deserialize` as well"
)]
pub trait Job: RegisteredJob + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of this kind of job in the database. It must never change, because jobs that earlier versions enqueued
    /// are stored under it.
    const KIND: &'static str;
    /// How long a server may hold such a job. Afterwards the server counts as dead, and another one may claim the job.
    const LEASE: std::time::Duration = DEFAULT_LEASE;
    /// The parts of the server that the work needs, and no others.
    type Needs: Clone + Send + Sync + 'static;

    /// Does the job. The same job may be run twice: see [`JobContext::is_repeat`].
    fn run(self, context: JobContext, needs: Self::Needs) -> impl Future<Output = Result<()>> + Send;
}

/// The running job, as its [`Job::run`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct JobContext {
    pub id: JobId,
    /// The tenant in whose transaction the job was enqueued. `None` for a recurring job, and for a job that a visitor
    /// requested.
    pub tenant: Option<TenantId>,
    /// Whether the job was started before. Parts of its work may have been done then.
    pub is_repeat: bool,
}

impl JobContext {
    /// The tenant of a job that is only ever enqueued in the transactions of a tenant.
    pub fn tenant(&self) -> Result<TenantId> {
        self.tenant.ok_or_else(|| Error::Internal(anyhow::anyhow!("a job that needs a tenant has none")))
    }
}

impl From<&Claimed> for JobContext {
    fn from(job: &Claimed) -> Self {
        Self { id: job.id, tenant: job.tenant, is_repeat: job.attempts > 1 }
    }
}

/// The jobs that a server looks for. Recurring jobs and others have separate queues, so that many jobs in one queue do
/// not delay those in the other.
#[derive(Clone)]
pub enum Queue {
    /// Recurring jobs of these kinds.
    Recurring(Vec<&'static str>),
    /// Jobs of these kinds that are done once. Jobs of other kinds are left to servers that know them: during an
    /// upgrade, a server of the older version must not use up the attempts of jobs that only the newer version can do.
    Once(Vec<&'static str>),
}

/// A job that this server has claimed.
pub struct Claimed {
    pub id: JobId,
    pub tenant: Option<TenantId>,
    pub kind: String,
    /// How often the job was claimed, including this time.
    pub attempts: i32,
    /// The encrypted data of the job; empty for a recurring job.
    payload: Vec<u8>,
    /// The end of the lease. A stored job with the same value is still held by this server.
    until: Instant,
}

impl Claimed {
    /// How long this server still holds the job.
    pub fn time_left(&self, now: DateTime<Utc>) -> std::time::Duration {
        (self.until.0 - now).to_std().unwrap_or_default() // zero if the lease has expired
    }
}

fn bound_to(id: JobId) -> Vec<u8> {
    [b"job".as_slice(), id.0.as_bytes()].concat()
}

fn sealed<J: Job>(sealer: &Sealer, id: JobId, job: &J) -> Result<Vec<u8>> {
    let payload = serde_json::to_vec(job).map(Zeroizing::new).map_err(|error| Error::Internal(error.into()))?;
    sealer.seal(&payload, &bound_to(id))
}

impl WriteTx {
    /// Enqueues a job, which is run once the transaction is committed.
    pub async fn enqueue<J: Job>(&mut self, job: &J) -> Result<()> {
        let id: JobId = self.new_id();
        let tenant = self.lease_tenant();
        let row = (
            jobs::id.eq(id),
            jobs::tenant_id.eq(tenant),
            jobs::kind.eq(J::KIND),
            jobs::payload.eq(sealed(self.sealer(), id, job)?),
            jobs::run_at.eq(self.now()),
            jobs::attempts.eq(0),
            jobs::created_at.eq(self.now()),
        );
        Statement::of(diesel::insert_into(jobs::table).values(row)).run(self).await
    }
}

impl Db {
    /// Enqueues a job for no tenant, at the request of a visitor.
    pub async fn enqueue<J: Job>(&self, job: J, origin: &Origin) -> Result<()> {
        self.write(&System::asked_by(origin), async |tx: &mut WriteTx| {
            tx.enqueue(&job).await?;
            Ok(Audited::without_row(())) // no data of a tenant is changed
        })
        .await
    }

    /// Enqueues a job for the actor's tenant, for callers that have no transaction of their own.
    pub async fn enqueue_for<J: Job>(&self, scope: &impl WriteScope, job: J) -> Result<()> {
        self.write(scope, async |tx: &mut WriteTx| {
            tx.enqueue(&job).await?;
            Ok(Audited::without_row(())) // the job itself changes nothing of the tenant, or audits what it changes
        })
        .await
    }

    /// Makes sure that there is exactly one job of this kind for the whole server. Such a job is not deleted when it is
    /// done. It has no data: encrypted data would be lost together with its key, and the job could not run any more.
    pub async fn keep_one(&self, kind: &'static str) -> Result<()> {
        let insert = async |tx: &mut WriteTx| {
            let there: i64 = jobs::table.filter(jobs::unique_key.eq(kind)).count().get_result(tx).await?;
            if there == 0 {
                let id: JobId = tx.new_id();
                let row = (
                    jobs::id.eq(id),
                    jobs::kind.eq(kind),
                    jobs::unique_key.eq(kind),
                    jobs::payload.eq(vec![]),
                    jobs::run_at.eq(tx.now()),
                    jobs::attempts.eq(0),
                    jobs::created_at.eq(tx.now()),
                );
                diesel::insert_into(jobs::table).values(row).execute(tx).await?;
            }
            Ok(Audited::without_row(())) // the server's own housekeeping
        };
        match self.write(&System::without_tenant(), insert).await {
            Err(Error::Conflict(_)) => Ok(()), // another server was faster
            done => done,
        }
    }

    /// Claims a job that is due, for the lease of its kind, which `lease` returns.
    pub async fn claim_job(
        &self,
        queue: &Queue,
        lease: impl Fn(&str) -> std::time::Duration + Send + Sync,
    ) -> Result<Option<Claimed>> {
        type Row = (JobId, Option<TenantId>, String, i32, Vec<u8>);
        let claim = async |tx: &mut WriteTx| {
            let now = tx.now();
            let is_free = jobs::locked_until.is_null().or(jobs::locked_until.lt(now));
            let columns = (jobs::id, jobs::tenant_id, jobs::kind, jobs::attempts, jobs::payload);
            let due = jobs::table.filter(jobs::run_at.le(now)).filter(is_free).select(columns).limit(1);
            let row: QueryResult<Row> = match queue {
                Queue::Recurring(kinds) => {
                    let recurring = due.filter(jobs::unique_key.eq_any(kinds.clone()));
                    skip_locked(recurring).get_result(tx).await
                }
                Queue::Once(kinds) => {
                    let once = due
                        .filter(jobs::unique_key.is_null().and(jobs::kind.eq_any(kinds.clone())))
                        .order((jobs::run_at, jobs::id));
                    skip_locked(once).get_result(tx).await
                }
            };
            let Some((id, tenant, kind, attempts, payload)) = row.optional()? else {
                return Ok(Audited::without_row(None));
            };
            let (until, attempts) = (Instant::from(now.0 + lease(&kind)), attempts + 1);
            let taken = (jobs::locked_until.eq(until), jobs::attempts.eq(attempts));
            diesel::update(jobs::table.filter(jobs::id.eq(id))).set(taken).execute(tx).await?;
            let claimed = Claimed { id, tenant, kind, attempts, payload, until };
            Ok(Audited::without_row(Some(claimed))) // the server's own housekeeping
        };
        self.write(&System::without_tenant(), claim).await
    }

    /// Decrypts the data of a job.
    pub fn open_job<J: Job>(&self, job: &Claimed) -> Result<J> {
        let payload = self.sealer.open(&job.payload, &bound_to(job.id))?;
        serde_json::from_slice(&payload).map_err(|error| Error::Internal(error.into()))
    }

    /// Deletes a job that is done, if this server still holds it.
    pub async fn delete_job(&self, job: &Claimed) -> Result<()> {
        let (id, until) = (job.id, job.until);
        self.write(&System::without_tenant(), async |tx: &mut WriteTx| {
            let ours = jobs::table.filter(jobs::id.eq(id)).filter(jobs::locked_until.eq(until));
            diesel::delete(ours).execute(tx).await?;
            Ok(Audited::without_row(())) // the server's own housekeeping
        })
        .await
    }

    /// Schedules a job to be run again after the time `by`, if this server still holds it. `error` says why the job
    /// failed; it is `None` for a recurring job that succeeded.
    pub async fn postpone_job(&self, job: &Claimed, by: Duration, error: Option<String>) -> Result<()> {
        let (id, until) = (job.id, job.until);
        self.write(&System::without_tenant(), async |tx: &mut WriteTx| {
            let ours = jobs::table.filter(jobs::id.eq(id)).filter(jobs::locked_until.eq(until));
            let attempts = if error.is_none() { 0 } else { job.attempts };
            let next = (
                jobs::run_at.eq(Instant::from(tx.now().0 + by)),
                jobs::locked_until.eq(None::<Instant>),
                jobs::attempts.eq(attempts),
                jobs::last_error.eq(error),
            );
            diesel::update(ours).set(next).execute(tx).await?;
            Ok(Audited::without_row(())) // the server's own housekeeping
        })
        .await
    }

    /// Encrypts the data of waiting jobs again, under the active key. Data that cannot be decrypted is skipped. Returns
    /// the number of jobs that were changed.
    pub async fn seal_jobs_anew(&self) -> Result<usize> {
        let (mut after, mut count) = (Some(JobId::from(Uuid::nil())), 0);
        while let Some(last) = after.take() {
            let batch = async |tx: &mut WriteTx| {
                let rows = jobs::table.filter(jobs::id.gt(last)).order(jobs::id).limit(SEALED_AT_ONCE);
                let rows = for_update(rows.select((jobs::id, jobs::payload)));
                let rows: Vec<(JobId, Vec<u8>)> = rows.get_results(tx).await?;
                let mut count = 0;
                for (id, payload) in &rows {
                    let Ok(plain) = self.sealer.open(payload, &bound_to(*id)) else { continue };
                    let anew = jobs::payload.eq(self.sealer.seal(&plain, &bound_to(*id))?);
                    count += diesel::update(jobs::table.filter(jobs::id.eq(*id))).set(anew).execute(tx).await?;
                }
                Ok(Audited::without_row((rows.last().map(|(id, _)| *id), count))) // the content is unchanged
            };
            let (last, sealed) = self.write(&System::without_tenant(), batch).await?;
            (after, count) = (last, count + sealed);
        }
        Ok(count)
    }

    /// The number of jobs that are waiting or running, without the recurring ones.
    pub async fn count_jobs(&self) -> Result<i64> {
        let query = async |tx: &mut super::ReadTx| {
            let passing = jobs::table.filter(jobs::unique_key.is_null());
            Ok(passing.count().get_result(tx).await?)
        };
        self.read(&System::without_tenant(), query).await
    }
}
