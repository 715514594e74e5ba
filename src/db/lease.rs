//! Leases: transactions that are bound to a tenant. Code outside of this module can't reach the connection of a lease.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
mod async_func;
mod at_end;
mod cost;
mod queues;
mod run;

pub use async_func::AsyncFunc as SendAsyncFn;
pub use cost::Cost;
pub(super) use run::Execute;
pub use run::RunQueryDsl;

use at_end::AtEnd;
use queues::Queues;

use super::any::{AnyTransactions, KnownIndexes};
use super::cache_versions::Totals;
use super::change::Errors;
use super::connect::Target;
use super::deadline::StopGuard;
use super::feed::Feed;
use super::scope::{Author, ChangeScope, LeaseScope, OperatorScope, Origin, compared};
use super::search::KnownFolding;
use super::transactions::{Access, unavailable};
use super::types::{Instant, TenantId, UserId};
use super::{AnyConnection, Audited};
use crate::base::crypto::Sealer;
use crate::base::env::Env;
use crate::base::error::Result;
use crate::base::key_ring::KeyRing;
use crate::base::metrics::Metrics;
use crate::base::pooler::Pooler;
use crate::base::queue::{Party, Turn};
use async_func::AsyncFunc;
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;
use uuid::Uuid;

/// How long a statement of the server's own work may take. Such work belongs to no request, so no request timeout ends
/// it.
const JOB_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

pub struct DbOptions {
    /// The greatest number of connections that requests have at once, but at least 2. Jobs have two more, and the
    /// writer of SQLite has one more.
    pub pool_size: u32,
    /// How long a request waits for its turn and a connection before it is answered 503.
    pub acquire_timeout: Duration,
    /// How long one statement of a request may take. This is shorter than the timeout of the request itself.
    pub statement_timeout: Duration,
    /// How long one statement of a list or of a long read may take, if this is shorter than `statement_timeout`.
    pub long_read_timeout: Duration,
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: Pool<AnyConnection>,
    queues: Queues,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    long_read_timeout: Duration,
    target: Target,
    known_folding: KnownFolding,
    known_indexes: KnownIndexes,
    totals: Totals,
    env: Env,
    feed: Arc<dyn Feed>,
    pub(super) keys: KeyRing,
    pub(super) sealer: Sealer,
}

/// A connection in use. The fields are dropped in this order, so the connection is back in the pool before the turn is
/// passed on.
struct Leased {
    conn: PooledConnection<'static, AnyConnection>,
    turn: Turn,
}

/// One snapshot of a tenant's rows. It borrows nothing, so that async closures over it are `Send`.
pub struct ReadTx {
    /// `None` once the lease has ended.
    leased: Option<Leased>,
    tenant: Option<TenantId>,
    now: Instant,
    cost: Cost,
    target: Target,
    pub(super) known_folding: KnownFolding,
    pub(super) known_indexes: KnownIndexes,
    pub(super) keys: KeyRing,
    access: Access,
    totals: Totals,
    /// The errors of the changes that were queued, in their order.
    queued: Vec<Errors>,
}

impl ReadTx {
    /// The tenant of the lease. If the lease has no tenant, this is an id that no row has.
    pub fn tenant(&self) -> TenantId {
        compared(self.tenant)
    }

    pub(super) fn lease_tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// The time of the transaction. It stays the same until the transaction ends.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether statements may look at all rows of a tenant.
    pub fn is_long(&self) -> bool {
        matches!(self.cost, Cost::Long | Cost::WholeExport)
    }

    #[expect(clippy::expect_used, reason = "only `end` and `abandon` take it, and they take the lease with it")]
    fn conn(&mut self) -> &mut AnyConnection {
        &mut self.leased.as_mut().expect("a lease in use").conn
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.access, Access::Write)
    }

    pub(super) fn is_postgres(&mut self) -> bool {
        matches!(self.conn(), AnyConnection::Pg(_))
    }

    pub(super) fn is_mysql(&mut self) -> bool {
        matches!(self.conn(), AnyConnection::Mysql(_))
    }

    /// Lets the lease see the rows of all tenants. On PostgreSQL this sets `app.system`, which the policies of
    /// row-level security check. The other databases have no such policies.
    pub(super) async fn see_all_tenants(&mut self) -> Result<()> {
        if let AnyConnection::Pg(conn) = self.conn() {
            conn.batch_execute("SET LOCAL app.system = 'on'").await?;
        }
        Ok(())
    }

    /// Returns the guard to put around the work of the lease: see [`StopGuard`].
    pub(super) fn guard(&mut self) -> StopGuard {
        StopGuard::new(match self.conn() {
            AnyConnection::Sqlite(_, deadline) => Some(deadline.clone()),
            AnyConnection::Pg(_) | AnyConnection::Mysql(_) => None, // `stop` cancels their statements
        })
    }

    async fn end<R>(mut self, result: Result<R>) -> Result<R> {
        let (pooler, access) = (self.target.pooler(), self.access);
        let result = self.conn().end(result, access, pooler).await;
        let failed = self.conn().take_failed();
        self.leased = None;
        match failed {
            // The transaction was rolled back because of this change, whatever was reported after it.
            Some((number, cause)) => {
                let errors = number.filter(|number| *number < self.queued.len());
                errors.map(|number| self.queued.swap_remove(number)).unwrap_or_default().of(Err(cause))?;
                result
            }
            None => result,
        }
    }
}

/// If a request is dropped in the middle of a lease, its statement keeps running in the database. This cancels the
/// statement, and passes the turn on only then. The connection is not used again.
impl Drop for ReadTx {
    fn drop(&mut self) {
        let (Some(mut leased), Ok(runtime)) = (self.leased.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let target = self.target.clone();
        runtime.spawn(async move {
            leased.conn.stop(&target).await;
            drop(leased);
        });
    }
}

/// A transaction that changes a tenant's rows. It can be used wherever a [`ReadTx`] is expected.
pub struct WriteTx {
    read: ReadTx,
    author: Author,
    origin: Origin,
    env: Env,
    sealer: Sealer,
    feed: Arc<dyn Feed>,
    at_end: AtEnd,
}

impl WriteTx {
    pub fn author(&self) -> Author {
        self.author
    }

    /// The user who makes the change. For the system, this is the id that the audit log stores for it, which no user
    /// has.
    pub fn actor(&self) -> UserId {
        self.author.stored()
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Continues the transaction in another tenant, as operators may, so that changes to several tenants are one
    /// transaction. The statements that wait for the end of the transaction are run first, because PostgreSQL lets the
    /// lease touch the rows of only one tenant at a time.
    pub async fn enter(&mut self, _operator: &impl OperatorScope, tenant: TenantId) -> Result<()> {
        self.flush().await?;
        if let AnyConnection::Pg(conn) = self.conn() {
            conn.batch_execute(&format!("SET LOCAL app.tenant_id = '{}'", tenant.0)).await?; // a UUID needs no escaping
        }
        self.read.tenant = Some(tenant);
        Ok(())
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    pub(super) fn feed(&self) -> Arc<dyn Feed> {
        self.feed.clone()
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Makes a new id of any kind.
    pub fn new_id<Id: From<Uuid>>(&self) -> Id {
        self.env.uuid().into()
    }
}

impl std::ops::Deref for WriteTx {
    type Target = ReadTx;
    fn deref(&self) -> &ReadTx {
        &self.read
    }
}
impl std::ops::DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut ReadTx {
        &mut self.read
    }
}

// The futures of leases take some 10 kB. They are boxed, because a handler's future, which is moved often, would contain them.
impl Db {
    /// Makes the pool. It connects only when it is first used, so that a server can start while its database is away.
    /// `feed` calls the subscribers of all changes.
    pub fn new(
        target: Target,
        options: DbOptions,
        env: Env,
        keys: KeyRing,
        feed: Arc<dyn Feed>,
        metrics: &Metrics,
    ) -> Self {
        let DbOptions { pool_size, acquire_timeout, statement_timeout, long_read_timeout } = options;
        let (queues, connections) = Queues::new(pool_size as usize, target.is_sqlite(), metrics);
        let mut config = ManagerConfig::<AnyConnection>::default();
        config.recycling_method = RecyclingMethod::CustomFunction(Box::new(AnyConnection::check));
        let database = target.clone();
        config.custom_setup = Box::new(move |_| {
            let database = database.clone();
            async move { super::connect::establish(&database).await }.boxed()
        });
        let pool = Pool::builder()
            .max_size(u32::try_from(connections).unwrap_or(u32::MAX))
            .connection_timeout(acquire_timeout)
            .error_sink(Box::new(LogErrors))
            .build_unchecked(AsyncDieselConnectionManager::new_with_config("", config));
        let sealer = keys.sealer("stored answers");
        let known_folding = KnownFolding::default();
        Self {
            pool,
            queues,
            acquire_timeout,
            statement_timeout,
            long_read_timeout,
            target,
            known_folding,
            known_indexes: KnownIndexes::default(),
            totals: Totals::default(),
            env,
            feed,
            keys,
            sealer,
        }
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    async fn lease(&self, access: Access, cost: Cost, scope: &impl LeaseScope) -> Result<ReadTx> {
        let (tenant, claimant) = (scope.lease_tenant(), scope.lease_claimant());
        let until = tokio::time::Instant::now() + self.acquire_timeout;
        let mut turn = timeout_at(until, self.queues.turn(access, cost, claimant)).await.map_err(unavailable)?;
        let deadline = match (claimant.party, cost) {
            (Party::Server, _) => JOB_STATEMENT_TIMEOUT,
            (_, Cost::Ordinary) => self.statement_timeout,
            (_, Cost::WholeList | Cost::List | Cost::Long | Cost::WholeExport) => {
                self.long_read_timeout.min(self.statement_timeout)
            }
        };
        let pooler = self.target.pooler();
        let (mut in_pool, mut tried) = (None, 0);
        loop {
            let conn = timeout_at(until, self.pool.get_owned()).await.map_err(unavailable)?.map_err(unavailable)?;
            let mut tx = self.lent(Leased { conn, turn }, access, cost, tenant);
            let is_mysql = tx.is_mysql();
            let begin = tx.conn().begin(access, compared(tenant), deadline, cost.plans(), pooler);
            // A pooler has a queue of its own, and lends out a session of the database only now. On MariaDB, the line may
            // be dead without a word, and this is the first use of it. The time limit covers both.
            let (begun, is_late) = match pooler == Pooler::Transaction || is_mysql {
                false => (begin.await.map_err(unavailable), false),
                true => match timeout_at(until, begin).await {
                    Ok(begun) => (begun.map_err(unavailable), false),
                    Err(late) => (Err(unavailable(late)), true),
                },
            };
            let Err(error) = begun else { return Ok(tx) };
            // Whatever went wrong, the connection is marked as broken, so that the pool does not lend it out again.
            AnyTransactions::transaction_manager_status_mut(tx.conn()).set_in_error();
            // MariaDB may have closed this connection while it was idle in the pool, and all other idle connections,
            // too. So `begin` is tried once on each connection of the pool, and then once on a new one.
            tried += 1;
            let in_pool = *in_pool.get_or_insert_with(|| self.pool.state().connections); // before the first is dropped
            let may_be_stale = is_mysql && !is_late && tried <= in_pool;
            match tx.leased.take().filter(|_| may_be_stale) {
                Some(leased) => turn = leased.turn,
                None => return Err(error),
            }
        }
    }

    fn lent(&self, leased: Leased, access: Access, cost: Cost, tenant: Option<TenantId>) -> ReadTx {
        ReadTx {
            leased: Some(leased),
            tenant,
            now: Instant::from(self.env.now()),
            cost,
            target: self.target.clone(),
            known_folding: self.known_folding.clone(),
            known_indexes: self.known_indexes.clone(),
            keys: self.keys.clone(),
            access,
            totals: self.totals.clone(),
            queued: Vec::new(),
        }
    }

    /// Runs `work` on one snapshot of the tenant's rows.
    pub async fn read<R, F>(&self, scope: &impl LeaseScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        self.read_at(Cost::Ordinary, scope, work).await
    }

    /// As [`Db::read`], but for exactly one statement. It runs without a transaction, except on PostgreSQL behind a
    /// pooler. On PostgreSQL without a pooler, a second statement fails. The tests run there, and so they find such
    /// mistakes.
    pub async fn find<R, F>(&self, scope: &impl LeaseScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        let finding = async move {
            let mut tx = self.lease(Access::One, Cost::Ordinary, scope).await?;
            let guard = tx.guard();
            let result = guard.around(work(&mut tx)).await;
            tx.end(result).await
        };
        Box::pin(finding).await
    }

    /// As [`Db::read`], but at the given cost. Fails with `SlowStatement` if a statement takes longer than its deadline.
    pub async fn read_at<R, F>(&self, cost: Cost, scope: &impl LeaseScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        let reading = async move {
            let mut tx = self.lease(Access::Read, cost, scope).await?;
            if let Err(error) = tx.learn().await {
                return tx.end(Err(error)).await;
            }
            let guard = tx.guard();
            let result = guard.around(work(&mut tx)).await;
            tx.end(result).await
        };
        Box::pin(reading).await
    }

    /// Runs `work` as one transaction that changes the tenant's rows. If `work` fails, nothing is changed.
    pub async fn write<R, F>(&self, scope: &impl ChangeScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut WriteTx) -> Result<Audited<R>>
            + AsyncFunc<&'tx mut WriteTx, Result<Audited<R>>, Fut: Send>,
    {
        let writing = async move {
            let mut tx = self.begin_write(scope).await?;
            let guard = tx.guard();
            let result = guard.around(work(&mut tx)).await.map(|Audited(result)| result);
            tx.end(result).await
        };
        Box::pin(writing).await
    }

    pub(super) async fn begin_write(&self, scope: &impl ChangeScope) -> Result<WriteTx> {
        let read = self.lease(Access::Write, Cost::Ordinary, scope).await?;
        let (author, origin) = (scope.author(), scope.change_origin().clone());
        let (env, sealer, feed) = (self.env.clone(), self.sealer.clone(), self.feed.clone());
        Ok(WriteTx { read, author, origin, env, sealer, feed, at_end: AtEnd::default() })
    }
}

/// Logs why the pool can't connect, because bb8 itself reports only that its timeout is over.
#[derive(Debug, Clone, Copy)]
struct LogErrors;

impl<E: std::fmt::Display + Send + 'static> bb8::ErrorSink<E> for LogErrors {
    fn sink(&self, error: E) {
        tracing::warn!(%error, "The database can't be reached");
    }
    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<E>> {
        Box::new(*self)
    }
}
