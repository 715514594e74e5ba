//! Leases: transactions that know their tenant.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::AnyTransactions;
use super::connect::{CANCEL_TIMEOUT, Target};
use super::queue::{Claimant, FairQueue, Party, Turn};
use super::types::{Instant, TenantId, UserId};
use super::{AnyConnection, Audited};
use crate::error::{Error, Result};
use crate::infra::crypto::Sealer;
use crate::infra::key_ring::KeyRing;
use crate::infra::metrics::Metrics;
use crate::infra::world::World;
use async_func::AsyncFunc;
use diesel::QueryResult;
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod,
};
use diesel_async::{AnsiTransactionManager, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout_at;
use uuid::Uuid;

/// Connections of the jobs, beyond those of the requests.
const JOB_CONNECTIONS: usize = 2;

/// How long a statement of the server's own work may take: it has no request that would end before.
const JOB_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Whose rows a lease may see: a caller's, or a job's.
pub trait Scope {
    fn tenant(&self) -> TenantId;
    /// Whose turn a lease takes.
    fn claimant(&self) -> Claimant;
}

/// A scope that also may change them, and in whose name.
pub trait WriteScope: Scope {
    fn actor(&self) -> UserId;
    fn origin(&self) -> &Origin;
}

/// The scope of who operates the server, and may act in any tenant.
pub trait OperatorScope: WriteScope {}

/// Where a change comes from, for the audit log. Empty for the operator's commands.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub ip: Option<IpAddr>,
    pub request_id: Option<String>,
}

pub struct DbOptions {
    /// The most connections that requests have at once; jobs have two more.
    pub pool_size: u32,
    /// How long a request waits for its turn and a connection before it is answered 503.
    pub acquire_timeout: Duration,
    /// How long one statement of a request may take: less than the request itself.
    pub statement_timeout: Duration,
    /// The same for [`Cost::Long`].
    pub long_read_timeout: Duration,
}

/// What a read costs, as far as its caller chooses that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// By a key, or along an index.
    Ordinary,
    /// A search, an export, a feed: it may look at all rows of a tenant. A quarter of the connections is for these, half of
    /// that quarter for any one tenant; and their statements have a deadline of their own.
    Long,
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
    world: World,
    pub(super) keys: KeyRing,
    pub(super) sealer: Sealer,
}

/// Where leases queue. bb8 lets a busy task overtake the waiting ones; these queues are fair.
#[derive(Clone)]
struct Queues {
    /// For a connection. One party never has all of them, so that another's turn comes at once however slow the statements
    /// of the first are.
    connections: FairQueue,
    /// For the right to a long read, which then queues for a connection.
    long_reads: FairQueue,
    /// Jobs, for the connections that are kept for them.
    jobs: FairQueue,
    /// SQLite has one writer: queueing here beats polling a locked file.
    writer: Option<FairQueue>,
}

impl Queues {
    fn new(pool_size: usize, has_one_writer: bool, metrics: &Metrics) -> Self {
        let quarter = (pool_size / 4).max(1);
        let queue = |name, capacity, per_party| FairQueue::new(capacity, per_party, metrics.queue(name));
        Self {
            connections: queue("connections", pool_size, pool_size - quarter),
            long_reads: queue("long_reads", quarter, quarter / 2),
            jobs: queue("jobs", JOB_CONNECTIONS, JOB_CONNECTIONS),
            writer: has_one_writer.then(|| queue("writer", 1, 1)),
        }
    }
}

#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// A connection in use. The fields are in the order in which they are given back.
struct Leased {
    conn: PooledConnection<'static, AnyConnection>,
    _turns: Vec<Turn>,
}

/// One snapshot of a tenant's rows. It borrows nothing, so that async closures over it are `Send`.
pub struct ReadTx {
    /// `None` once the lease has ended.
    leased: Option<Leased>,
    tenant: TenantId,
    now: Instant,
    cost: Cost,
    target: Target,
    pub(super) keys: KeyRing,
    pub(super) is_write: bool,
}

impl ReadTx {
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The time of the transaction, the same for all that it does.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether statements may look at all rows of a tenant.
    pub fn is_long(&self) -> bool {
        self.cost == Cost::Long
    }

    #[expect(clippy::expect_used, reason = "only `end` and `abandon` take it, and they take the lease with it")]
    pub fn conn(&mut self) -> &mut AnyConnection {
        &mut self.leased.as_mut().expect("a lease in use").conn
    }

    async fn end<R>(mut self, result: Result<R>) -> Result<R> {
        let result = self.conn().end(result).await;
        self.leased = None;
        result
    }
}

/// A request that is given up in the middle leaves its statement running in the database: it is told to stop, and the
/// next one's turn comes only then. The connection itself is not used again.
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

/// One change to a tenant's rows. Whatever takes a [`ReadTx`] takes this too.
pub struct WriteTx {
    read: ReadTx,
    actor: UserId,
    origin: Origin,
    world: World,
    sealer: Sealer,
}

impl WriteTx {
    pub fn actor(&self) -> UserId {
        self.actor
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Goes on in another tenant, as operators may: what belongs together stays one transaction.
    pub async fn enter(&mut self, _operator: &impl OperatorScope, tenant: TenantId) -> Result<()> {
        if let AnyConnection::Pg(conn) = self.conn() {
            conn.batch_execute(&format!("SET LOCAL app.tenant_id = '{}'", tenant.0)).await?; // a UUID needs no escaping
        }
        self.read.tenant = tenant;
        Ok(())
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// A new id, of whatever kind is needed.
    pub fn new_id<Id: From<Uuid>>(&self) -> Id {
        self.world.uuid().into()
    }

    pub(super) async fn end<R>(self, result: Result<R>) -> Result<R> {
        self.read.end(result).await
    }

    pub(super) async fn abandon(mut self) -> Result<()> {
        let rolled_back = AnyTransactions::rollback_transaction(self.conn()).await;
        self.read.leased = None;
        Ok(rolled_back?)
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

impl Db {
    /// Opens the pool. It connects when it is first used, so that a server can start while its database is away.
    pub fn new(target: Target, options: DbOptions, world: World, keys: KeyRing, metrics: &Metrics) -> Self {
        let DbOptions { pool_size, acquire_timeout, statement_timeout, long_read_timeout } = options;
        let mut config = ManagerConfig::<AnyConnection>::default();
        config.recycling_method = RecyclingMethod::CustomFunction(Box::new(AnyConnection::check));
        let database = target.clone();
        config.custom_setup = Box::new(move |_| {
            let database = database.clone();
            async move { super::connect::establish(&database).await }.boxed()
        });
        let pool = Pool::builder()
            .max_size(pool_size + JOB_CONNECTIONS as u32)
            .connection_timeout(acquire_timeout)
            .error_sink(Box::new(LogErrors))
            .build_unchecked(AsyncDieselConnectionManager::new_with_config("", config));
        let queues = Queues::new(pool_size as usize, target.is_sqlite(), metrics);
        let sealer = keys.sealer("stored answers");
        Self { pool, queues, acquire_timeout, statement_timeout, long_read_timeout, target, world, keys, sealer }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// The turns that a lease needs, in the order in which each is asked for: nobody waits for an earlier one while holding a
    /// later one.
    async fn turns(&self, access: Access, cost: Cost, claimant: Claimant) -> Vec<Turn> {
        let Queues { connections, long_reads, jobs, writer } = &self.queues;
        let is_job = claimant.party == Party::Server;
        let mut turns = vec![];
        if let (Access::Write, Some(writer)) = (access, writer) {
            turns.push(writer.turn(claimant).await);
        }
        if cost == Cost::Long && !is_job {
            turns.push(long_reads.turn(claimant).await);
        }
        turns.push(if is_job { jobs } else { connections }.turn(claimant).await);
        turns
    }

    async fn lease(&self, access: Access, cost: Cost, scope: &impl Scope) -> Result<ReadTx> {
        let (tenant, claimant) = (scope.tenant(), scope.claimant());
        let until = tokio::time::Instant::now() + self.acquire_timeout;
        let turns = timeout_at(until, self.turns(access, cost, claimant)).await.map_err(unavailable)?;
        let conn = timeout_at(until, self.pool.get_owned()).await.map_err(unavailable)?.map_err(unavailable)?;
        let now = Instant::from(self.world.now());
        let (target, keys) = (self.target.clone(), self.keys.clone());
        let is_write = matches!(access, Access::Write);
        let leased = Some(Leased { conn, _turns: turns });
        let mut tx = ReadTx { leased, tenant, now, cost, target, keys, is_write };
        let deadline = match (claimant.party, cost) {
            (Party::Server, _) => JOB_STATEMENT_TIMEOUT,
            (_, Cost::Ordinary) => self.statement_timeout,
            (_, Cost::Long) => self.long_read_timeout.min(self.statement_timeout),
        };
        if let Err(error) = tx.conn().begin(access, tenant, deadline).await {
            // Whatever is wrong with it, the next request gets another one.
            AnyTransactions::transaction_manager_status_mut(tx.conn()).set_in_error();
            tx.leased = None;
            return Err(unavailable(error));
        }
        Ok(tx)
    }

    /// Runs `work` on one snapshot of the tenant's rows.
    pub async fn read<R, F>(&self, scope: &impl Scope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        self.read_at(Cost::Ordinary, scope, work).await
    }

    /// As [`Db::read`], of whatever cost. Error::SlowStatement where a statement took too long.
    pub async fn read_at<R, F>(&self, cost: Cost, scope: &impl Scope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        let mut tx = self.lease(Access::Read, cost, scope).await?;
        let result = work(&mut tx).await;
        tx.end(result).await
    }

    /// Runs `work` as one change to the tenant's rows: all of it or, on an error, nothing.
    pub async fn write<R, F>(&self, scope: &impl WriteScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut WriteTx) -> Result<Audited<R>>
            + AsyncFunc<&'tx mut WriteTx, Result<Audited<R>>, Fut: Send>,
    {
        let mut tx = self.begin_write(scope).await?;
        let result = work(&mut tx).await.map(|Audited(result)| result);
        tx.end(result).await
    }

    pub(super) async fn begin_write(&self, scope: &impl WriteScope) -> Result<WriteTx> {
        let read = self.lease(Access::Write, Cost::Ordinary, scope).await?;
        let (actor, origin) = (scope.actor(), scope.origin().clone());
        let (world, sealer) = (self.world.clone(), self.sealer.clone());
        Ok(WriteTx { read, actor, origin, world, sealer })
    }
}

fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(cause.into())
}

/// bb8 hides why it can't connect behind its time-out.
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

impl AnyConnection {
    /// Commits what succeeded, rolls back what did not. Where not even that is possible the connection is gone.
    async fn end<R>(&mut self, result: Result<R>) -> Result<R> {
        match result {
            Ok(value) => match AnyTransactions::commit_transaction(self).await {
                Ok(()) => Ok(value),
                // MariaDB's driver does not say that the line is gone, but the next statement does.
                Err(error) if self.is_broken() || self.check().await.is_err() => Err(unavailable(error)),
                Err(error) => Err(error.into()),
            },
            Err(error) => match AnyTransactions::rollback_transaction(self).await {
                Ok(()) => Err(error),
                Err(lost) => match error {
                    Error::Internal(cause) => Err(Error::Unavailable(cause.context(lost))),
                    error => Err(error),
                },
            },
        }
    }

    /// Starts a transaction whose statements may each take so long (on SQLite: all of them together). PostgreSQL then lets
    /// it touch only this tenant's rows. One round trip: neither a UUID nor a number needs escaping.
    async fn begin(&mut self, access: Access, tenant: TenantId, timeout: Duration) -> QueryResult<()> {
        match self {
            Self::Pg(conn) => {
                let mode = match access {
                    Access::Read => "ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    Access::Write => "READ WRITE",
                };
                let sql = format!(
                    "BEGIN {mode}; SET LOCAL app.tenant_id = '{}'; SET LOCAL statement_timeout = {}",
                    tenant.0,
                    timeout.as_millis()
                );
                AnsiTransactionManager::begin_transaction_sql(conn, &sql).await
            }
            Self::Mysql(conn) => {
                let begin = match access {
                    Access::Read => {
                        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
                         START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT"
                    }
                    Access::Write => "START TRANSACTION",
                };
                let sql = format!("SET max_statement_time = {:.3}; {begin}", timeout.as_secs_f64());
                AnsiTransactionManager::begin_transaction_sql(conn, &sql).await
            }
            Self::Sqlite(conn, deadline) => {
                // A transaction that reads before it writes must take the lock first, or it
                // can fail with SQLITE_BUSY however long it may wait.
                let sql = match access {
                    Access::Read => "PRAGMA query_only = ON; BEGIN",
                    Access::Write => "PRAGMA query_only = OFF; BEGIN IMMEDIATE",
                };
                deadline.set(timeout);
                conn.spawn_blocking(move |conn| {
                    diesel::connection::AnsiTransactionManager::begin_transaction_sql(conn, sql)
                })
                .await
            }
        }
    }

    /// Ends the statement that nobody waits for any more. On SQLite it ends by itself where it looks at the deadline next;
    /// until then its thread has the connection, which can't be given back before.
    async fn stop(&mut self, target: &Target) {
        match self {
            Self::Pg(conn) => target.cancel(conn.cancel_token()).await,
            Self::Mysql(conn) => {
                let stopped = tokio::time::timeout(CANCEL_TIMEOUT, conn.cancel_token().cancel_query()).await;
                if let Ok(Err(error)) = stopped {
                    tracing::debug!(%error, "A statement can't be cancelled");
                }
            }
            Self::Sqlite(conn, deadline) => {
                deadline.set(Duration::ZERO);
                let _ = conn.spawn_blocking(|_| Ok(())).await; // fails only where the runtime ends
            }
        }
    }

    /// Whether a connection from the pool still works. tokio-postgres knows without asking.
    fn check(&mut self) -> BoxFuture<'_, QueryResult<()>> {
        async {
            match self {
                Self::Mysql(conn) => {
                    // A request that is given up meanwhile leaves the answer on the line, and the next one would take it
                    // for its own, and so on: until the answer is read, the connection counts as broken.
                    AnsiTransactionManager::transaction_manager_status_mut(conn).set_in_error();
                    conn.batch_execute("DO 1").await?;
                    *AnsiTransactionManager::transaction_manager_status_mut(conn) = Default::default();
                    Ok(())
                }
                Self::Pg(conn) => match conn.is_broken() {
                    true => Err(diesel::result::Error::BrokenTransactionManager),
                    false => Ok(()),
                },
                Self::Sqlite(..) => Ok(()),
            }
        }
        .boxed()
    }
}

mod async_func {
    /// diesel-async's own helper is private: a closure whose future is `Send`.
    pub trait AsyncFunc<T, R>: AsyncFnOnce(T) -> R + FnOnce(T) -> <Self as AsyncFunc<T, R>>::Fut {
        type Fut: Future<Output = R>;
    }
    impl<F, T, Fut, R> AsyncFunc<T, R> for F
    where
        F: AsyncFnOnce(T) -> R + FnOnce(T) -> Fut,
        Fut: Future<Output = R>,
    {
        type Fut = Fut;
    }
}
pub use async_func::AsyncFunc as SendAsyncFn;
