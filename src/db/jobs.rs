//! Jobs: work that follows a commit, written down in the change's own transaction. A server that takes one has it for a
//! while; if it dies, another one takes it then, so that what a job does may happen twice.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::scope::System;
use super::sql::{for_update, skip_locked};
use super::types::{Instant, JobId, TenantId};
use super::{Audited, Db, Execute, Origin, RunQueryDsl, WriteScope, WriteTx};
use crate::base::crypto::Sealer;
use crate::base::error::{Error, Result};
use crate::db::schema::jobs;
use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use zeroize::Zeroizing;

/// As long as a job needs that has no reason to be taken over sooner.
pub const DEFAULT_LEASE: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// How many jobs are sealed anew in one transaction.
const SEALED_AT_ONCE: i64 = 100;

/// A job that has its line in `jobs!` of `src/app/jobs.rs`. Only that macro implements this, so that the type of a job that no
/// server would do does not compile:
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

/// Work that is done after a commit, by any server: what it is given, and how it is done. What it is given is kept encrypted, as
/// mails have tokens in them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a job",
    label = "only a job can be enqueued",
    note = "implement `Job` for it; it is stored as JSON, and so it needs `Serialize` and `Deserialize` as well"
)]
pub trait Job: RegisteredJob + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name in the database. It never changes: jobs of earlier versions wait under it.
    const KIND: &'static str;
    /// How long a server has such a job before it counts as dead, and another may take it.
    const LEASE: std::time::Duration = DEFAULT_LEASE;
    /// The parts of the server that the work needs: no more than these.
    type Needs: Clone + Send + Sync + 'static;

    /// Does the job. It may be done twice: see [`JobContext::is_repeat`].
    fn run(self, context: JobContext, needs: Self::Needs) -> impl Future<Output = Result<()>> + Send;
}

/// The job that is being done, as its handler knows it.
#[derive(Debug, Clone, Copy)]
pub struct JobContext {
    pub id: JobId,
    /// The tenant in whose transaction it was enqueued. `None` for a recurring job, and for one that a visitor asked for.
    pub tenant: Option<TenantId>,
    /// Whether it was begun before, and perhaps got somewhere.
    pub is_repeat: bool,
}

impl JobContext {
    /// The tenant of a job that is enqueued in a tenant's transactions alone.
    pub fn tenant(&self) -> Result<TenantId> {
        self.tenant.ok_or_else(|| Error::Internal(anyhow::anyhow!("a job that needs a tenant has none")))
    }
}

impl From<&Claimed> for JobContext {
    fn from(job: &Claimed) -> Self {
        Self { id: job.id, tenant: job.tenant, is_repeat: job.attempts > 1 }
    }
}

/// Which jobs a server looks for. However many there are of the one, the other is found at once.
#[derive(Clone)]
pub enum Queue {
    /// Those of these kinds, which are done over and over.
    Recurring(Vec<&'static str>),
    /// Those of these kinds, which are done once. Others are left to servers that know them: while a version takes another's
    /// place, the older one must not use up the tries of what only the newer one can do.
    Once(Vec<&'static str>),
}

/// A job that this server has taken.
pub struct Claimed {
    pub id: JobId,
    pub tenant: Option<TenantId>,
    pub kind: String,
    /// How often it was taken, this time included.
    pub attempts: i32,
    /// Sealed; empty in a recurring job.
    payload: Vec<u8>,
    /// Proof that it still is ours.
    until: Instant,
}

impl Claimed {
    /// How long it still is ours.
    pub fn time_left(&self, now: DateTime<Utc>) -> std::time::Duration {
        (self.until.0 - now).to_std().unwrap_or_default() // none, if it is over
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
    /// Has this done once the transaction is committed.
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
        diesel::insert_into(jobs::table).values(row).execute(self).await?;
        Ok(())
    }
}

impl Db {
    /// Has this done soon, for no tenant, as a visitor asked for it.
    pub async fn enqueue<J: Job>(&self, job: J, origin: &Origin) -> Result<()> {
        self.write(&System::asked_by(origin), async |tx: &mut WriteTx| {
            tx.enqueue(&job).await?;
            Ok(Audited::without_row(())) // nothing of a tenant is changed
        })
        .await
    }

    /// Has this done soon, for the actor's tenant, where no change of theirs goes along with it.
    pub async fn enqueue_for<J: Job>(&self, scope: &impl WriteScope, job: J) -> Result<()> {
        self.write(scope, async |tx: &mut WriteTx| {
            tx.enqueue(&job).await?;
            Ok(Audited::without_row(())) // what the job does changes nothing of the tenant, or is audited then
        })
        .await
    }

    /// Sees to it that there is one job of this kind for the whole server; it is not deleted when it is done. It is given
    /// nothing: what is sealed would be lost with its key, and the job with it.
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

    /// Takes a job that is due, for as long as jobs of its kind are leased.
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

    /// Opens what a job is given.
    pub fn open_job<J: Job>(&self, job: &Claimed) -> Result<J> {
        let payload = self.sealer.open(&job.payload, &bound_to(job.id))?;
        serde_json::from_slice(&payload).map_err(|error| Error::Internal(error.into()))
    }

    /// It is done.
    pub async fn delete_job(&self, job: &Claimed) -> Result<()> {
        let (id, until) = (job.id, job.until);
        self.write(&System::without_tenant(), async |tx: &mut WriteTx| {
            let ours = jobs::table.filter(jobs::id.eq(id)).filter(jobs::locked_until.eq(until));
            diesel::delete(ours).execute(tx).await?;
            Ok(Audited::without_row(())) // the server's own housekeeping
        })
        .await
    }

    /// It is to be done again after a while: as it failed (`error` says why), or as it is done over and over.
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

    /// Seals what waiting jobs are given under the active key, where it opens; how many.
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
                Ok(Audited::without_row((rows.last().map(|(id, _)| *id), count))) // the same jobs
            };
            let (last, sealed) = self.write(&System::without_tenant(), batch).await?;
            (after, count) = (last, count + sealed);
        }
        Ok(count)
    }

    /// How many jobs wait or are being done, without those that go on for ever.
    pub async fn count_jobs(&self) -> Result<i64> {
        let query = async |tx: &mut super::ReadTx| {
            let passing = jobs::table.filter(jobs::unique_key.is_null());
            Ok(passing.count().get_result(tx).await?)
        };
        self.read(&System::without_tenant(), query).await
    }
}
