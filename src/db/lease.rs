//! Leases: transactions that know their tenant. Nothing outside of this module reaches their connection.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
mod async_func;
mod at_end;
mod run;

pub use async_func::AsyncFunc as SendAsyncFn;
pub(super) use run::Execute;
pub use run::RunQueryDsl;

use at_end::AtEnd;

use super::any::AnyTransactions;
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
use crate::base::queue::{Claimant, FairQueue, Party, Turn};
use async_func::AsyncFunc;
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;
use uuid::Uuid;

/// Connections of the jobs, beyond those of the requests.
const JOB_CONNECTIONS: usize = 2;

/// How long a statement of the server's own work may take: it has no request that would end before.
const JOB_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

pub struct DbOptions {
    /// The most connections that requests have at once; jobs have two more.
    pub pool_size: u32,
    /// How long a request waits for its turn and a connection before it is answered 503.
    pub acquire_timeout: Duration,
    /// How long one statement of a request may take: less than the request itself.
    pub statement_timeout: Duration,
    /// The same for [`Cost::List`] and [`Cost::Long`].
    pub long_read_timeout: Duration,
}

/// What a read costs, as far as its caller chooses that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// By a key, or along an index.
    Ordinary,
    /// A page of a list: counting it, or a filter that has no index, looks at many rows. Its statements have the deadline of
    /// [`Self::Long`].
    List,
    /// A search, an export, a feed: it looks at all rows of a tenant, and into their texts. A quarter of the connections is
    /// for these, half of that quarter for any one tenant.
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
    known_folding: KnownFolding,
    env: Env,
    feed: Arc<dyn Feed>,
    pub(super) keys: KeyRing,
    pub(super) sealer: Sealer,
}

/// Where leases queue: each in one queue, as one that waited in a second would keep its turn in the first from the others.
/// bb8 lets a busy task overtake the waiting ones; these queues are fair.
#[derive(Clone)]
struct Queues {
    /// For three quarters of the requests' connections. One party never has all of them, so that another's turn comes at
    /// once however slow the statements of the first are.
    connections: FairQueue,
    /// For the last quarter.
    long_reads: FairQueue,
    /// Jobs, for the connections that are kept for them.
    jobs: FairQueue,
    /// SQLite has one writer, for requests and jobs alike: queueing here beats polling a locked file. It has a connection of
    /// its own.
    writer: Option<FairQueue>,
}

impl Queues {
    /// The queues, and how many connections they hand out in all.
    fn new(pool_size: usize, has_one_writer: bool, metrics: &Metrics) -> (Self, usize) {
        let quarter = (pool_size / 4).max(1);
        let rest = pool_size.saturating_sub(quarter).max(1);
        let queue = |name, capacity, per_party| FairQueue::new(capacity, per_party, metrics.queue(name));
        let queues = Self {
            connections: queue("connections", rest, rest - rest / 4),
            long_reads: queue("long_reads", quarter, quarter / 2),
            jobs: queue("jobs", JOB_CONNECTIONS, JOB_CONNECTIONS),
            writer: has_one_writer.then(|| queue("writer", 1, 1)),
        };
        (queues, rest + quarter + JOB_CONNECTIONS + usize::from(has_one_writer))
    }
}

/// A connection in use. The fields are in the order in which they are given back.
struct Leased {
    conn: PooledConnection<'static, AnyConnection>,
    _turn: Turn,
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
    pub(super) keys: KeyRing,
    pub(super) is_write: bool,
}

impl ReadTx {
    /// The tenant whose rows this is about. Without one it is an id that no row has.
    pub fn tenant(&self) -> TenantId {
        compared(self.tenant)
    }

    pub(super) fn lease_tenant(&self) -> Option<TenantId> {
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
    fn conn(&mut self) -> &mut AnyConnection {
        &mut self.leased.as_mut().expect("a lease in use").conn
    }

    pub(super) fn is_postgres(&mut self) -> bool {
        matches!(self.conn(), AnyConnection::Pg(_))
    }

    /// Lets the lease see the rows of all tenants: on PostgreSQL this is what `app.system` is for.
    pub(super) async fn see_all_tenants(&mut self) -> Result<()> {
        if let AnyConnection::Pg(conn) = self.conn() {
            conn.batch_execute("SET LOCAL app.system = 'on'").await?;
        }
        Ok(())
    }

    /// Goes around the work of the lease: see [`StopGuard`].
    pub(super) fn guard(&mut self) -> StopGuard {
        StopGuard::new(match self.conn() {
            AnyConnection::Sqlite(_, deadline) => Some(deadline.clone()),
            AnyConnection::Pg(_) | AnyConnection::Mysql(_) => None, // `stop` reaches these
        })
    }

    async fn end<R>(mut self, result: Result<R>) -> Result<R> {
        let pooler = self.target.pooler();
        let result = self.conn().end(result, pooler).await;
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

    /// The user who makes the change. Of the system it is the id that stands for it in the audit log, and is no user's.
    pub fn actor(&self) -> UserId {
        self.author.stored()
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Goes on in another tenant, as operators may: what belongs together stays one transaction. What waits for its end is
    /// written before, as PostgreSQL lets the lease touch the rows of one tenant at a time.
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

    /// A new id, of whatever kind is needed.
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

impl Db {
    /// Opens the pool. It connects when it is first used, so that a server can start while its database is away. `feed` has the
    /// subscribers of all changes.
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
            env,
            feed,
            keys,
            sealer,
        }
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    async fn turn(&self, access: Access, cost: Cost, claimant: Claimant) -> Turn {
        let Queues { connections, long_reads, jobs, writer } = &self.queues;
        let queue = match (access, writer, claimant.party, cost) {
            (Access::Write, Some(writer), ..) => writer,
            (_, _, Party::Server, _) => jobs,
            (_, _, _, Cost::Long) => long_reads,
            (_, _, _, Cost::Ordinary | Cost::List) => connections,
        };
        queue.turn(claimant).await
    }

    async fn lease(&self, access: Access, cost: Cost, scope: &impl LeaseScope) -> Result<ReadTx> {
        let (tenant, claimant) = (scope.lease_tenant(), scope.lease_claimant());
        let until = tokio::time::Instant::now() + self.acquire_timeout;
        let turn = timeout_at(until, self.turn(access, cost, claimant)).await.map_err(unavailable)?;
        let conn = timeout_at(until, self.pool.get_owned()).await.map_err(unavailable)?.map_err(unavailable)?;
        let now = Instant::from(self.env.now());
        let (target, keys, known_folding) = (self.target.clone(), self.keys.clone(), self.known_folding.clone());
        let is_write = matches!(access, Access::Write);
        let leased = Some(Leased { conn, _turn: turn });
        let mut tx = ReadTx { leased, tenant, now, cost, target, known_folding, keys, is_write };
        let deadline = match (claimant.party, cost) {
            (Party::Server, _) => JOB_STATEMENT_TIMEOUT,
            (_, Cost::Ordinary) => self.statement_timeout,
            (_, Cost::List | Cost::Long) => self.long_read_timeout.min(self.statement_timeout),
        };
        let pooler = self.target.pooler();
        let begin = tx.conn().begin(access, compared(tenant), deadline, pooler);
        let begun = match pooler {
            Pooler::None => begin.await.map_err(unavailable),
            // The pooler has turns of its own, and gives one of the database's connections only now.
            Pooler::Transaction => match timeout_at(until, begin).await {
                Ok(begun) => begun.map_err(unavailable),
                Err(late) => Err(unavailable(late)),
            },
        };
        if let Err(error) = begun {
            // Whatever is wrong with it, the next request gets another one.
            AnyTransactions::transaction_manager_status_mut(tx.conn()).set_in_error();
            tx.leased = None;
            return Err(error);
        }
        Ok(tx)
    }

    /// Runs `work` on one snapshot of the tenant's rows.
    pub async fn read<R, F>(&self, scope: &impl LeaseScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        self.read_at(Cost::Ordinary, scope, work).await
    }

    /// As [`Db::read`], at the given cost. `SlowStatement` if a statement took longer than its deadline.
    pub async fn read_at<R, F>(&self, cost: Cost, scope: &impl LeaseScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        let mut tx = self.lease(Access::Read, cost, scope).await?;
        if cost != Cost::Ordinary
            && let Err(error) = tx.find_folding().await
        {
            return tx.end(Err(error)).await; // a search would not know what to ask
        }
        let guard = tx.guard();
        let result = guard.around(work(&mut tx)).await;
        tx.end(result).await
    }

    /// Runs `work` as one change to the tenant's rows: all of it or, on an error, nothing.
    pub async fn write<R, F>(&self, scope: &impl ChangeScope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut WriteTx) -> Result<Audited<R>>
            + AsyncFunc<&'tx mut WriteTx, Result<Audited<R>>, Fut: Send>,
    {
        let mut tx = self.begin_write(scope).await?;
        let guard = tx.guard();
        let result = guard.around(work(&mut tx)).await.map(|Audited(result)| result);
        tx.end(result).await
    }

    pub(super) async fn begin_write(&self, scope: &impl ChangeScope) -> Result<WriteTx> {
        let read = self.lease(Access::Write, Cost::Ordinary, scope).await?;
        let (author, origin) = (scope.author(), scope.change_origin().clone());
        let (env, sealer, feed) = (self.env.clone(), self.sealer.clone(), self.feed.clone());
        Ok(WriteTx { read, author, origin, env, sealer, feed, at_end: AtEnd::default() })
    }
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
