//! Leases: transactions that know their tenant.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::AnyTransactions;
use super::connect::Target;
use super::types::{Instant, TenantId, UserId};
use super::{AnyConnection, Audited};
use crate::error::{Error, Result};
use crate::infra::crypto::Sealer;
use crate::infra::key_ring::KeyRing;
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
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Whose rows a lease may see: a caller's, or a job's.
pub trait Scope {
    fn tenant(&self) -> TenantId;
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
    /// Most connections at once.
    pub pool_size: u32,
    /// How long a request waits for one of them before it is answered 503.
    pub acquire_timeout: Duration,
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: Pool<AnyConnection>,
    /// bb8 lets a busy task overtake the waiting ones; this queue does not.
    turn: Arc<Semaphore>,
    /// SQLite has one writer: queueing here beats polling a locked file.
    writer: Option<Arc<Mutex<()>>>,
    acquire_timeout: Duration,
    target: Target,
    world: World,
    pub(super) keys: KeyRing,
    pub(super) sealer: Sealer,
}

#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// One snapshot of a tenant's rows. It borrows nothing, so that async closures over it are `Send`.
pub struct ReadTx {
    conn: PooledConnection<'static, AnyConnection>, // first, so it is back before the next one's turn
    turn: Option<OwnedSemaphorePermit>,
    tenant: TenantId,
    now: Instant,
    target: Target,
    pub(super) keys: KeyRing,
    pub(super) is_write: bool,
    has_ended: bool,
}

impl ReadTx {
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The time of the transaction, the same for all that it does.
    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn conn(&mut self) -> &mut AnyConnection {
        &mut self.conn
    }

    async fn end<R>(mut self, result: Result<R>) -> Result<R> {
        let result = self.conn.end(result).await;
        self.has_ended = true;
        result
    }
}

/// A request that is given up in the middle leaves its statement running in the database: it is told to stop, and the
/// next one's turn comes only then. The connection itself is not used again.
impl Drop for ReadTx {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let (Ok(runtime), AnyConnection::Pg(conn)) = (tokio::runtime::Handle::try_current(), &*self.conn) else {
            return; // MariaDB and SQLite stop by themselves, at their time-outs
        };
        let (token, target, turn) = (conn.cancel_token(), self.target.clone(), self.turn.take());
        runtime.spawn(async move {
            target.cancel(token).await;
            drop(turn);
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
    _writer: Option<OwnedMutexGuard<()>>, // last, so that it outlives the transaction
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
        let Self { read, _writer, .. } = self;
        read.end(result).await
    }

    pub(super) async fn abandon(mut self) -> Result<()> {
        let rolled_back = AnyTransactions::rollback_transaction(self.conn()).await;
        self.read.has_ended = true;
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
    pub fn new(target: Target, options: DbOptions, world: World, keys: KeyRing) -> Self {
        let DbOptions { pool_size, acquire_timeout } = options;
        let mut config = ManagerConfig::<AnyConnection>::default();
        config.recycling_method = RecyclingMethod::CustomFunction(Box::new(AnyConnection::check));
        let database = target.clone();
        config.custom_setup = Box::new(move |_| {
            let database = database.clone();
            async move { super::connect::establish(&database).await }.boxed()
        });
        let pool = Pool::builder()
            .max_size(pool_size)
            .connection_timeout(acquire_timeout)
            .error_sink(Box::new(LogErrors))
            .build_unchecked(AsyncDieselConnectionManager::new_with_config("", config));
        let turn = Arc::new(Semaphore::new(pool_size as usize));
        let writer = target.is_sqlite().then(Arc::default); // it has one
        let sealer = keys.sealer("stored answers");
        Self { pool, turn, writer, acquire_timeout, target, world, keys, sealer }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    async fn lease(&self, access: Access, tenant: TenantId) -> Result<ReadTx> {
        let wait = tokio::time::timeout(self.acquire_timeout, self.turn.clone().acquire_owned());
        let turn = wait.await.map_err(unavailable)?.map_err(unavailable)?;
        let conn = self.pool.get_owned().await.map_err(unavailable)?;
        let now = Instant::from(self.world.now());
        let (target, keys) = (self.target.clone(), self.keys.clone());
        let is_write = matches!(access, Access::Write);
        let mut tx = ReadTx { conn, turn: Some(turn), tenant, now, target, keys, is_write, has_ended: false };
        if let Err(error) = tx.conn.begin(access, tenant).await {
            // Whatever is wrong with it, the next request gets another one.
            AnyTransactions::transaction_manager_status_mut(&mut *tx.conn).set_in_error();
            return Err(unavailable(error));
        }
        Ok(tx)
    }

    /// Runs `work` on one snapshot of the tenant's rows.
    pub async fn read<R, F>(&self, scope: &impl Scope, work: F) -> Result<R>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + AsyncFunc<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        let mut tx = self.lease(Access::Read, scope.tenant()).await?;
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
        let writer = match &self.writer {
            Some(writer) => {
                let wait = tokio::time::timeout(self.acquire_timeout, writer.clone().lock_owned());
                Some(wait.await.map_err(unavailable)?)
            }
            None => None,
        };
        let read = self.lease(Access::Write, scope.tenant()).await?;
        let (actor, origin) = (scope.actor(), scope.origin().clone());
        let (world, sealer) = (self.world.clone(), self.sealer.clone());
        Ok(WriteTx { read, actor, origin, world, sealer, _writer: writer })
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

    /// Starts a transaction; PostgreSQL then lets it touch only this tenant's rows.
    async fn begin(&mut self, access: Access, tenant: TenantId) -> QueryResult<()> {
        match self {
            Self::Pg(conn) => {
                let mode = match access {
                    Access::Read => "ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    Access::Write => "READ WRITE",
                };
                // One round trip. A UUID needs no escaping.
                let sql = format!("BEGIN {mode}; SET LOCAL app.tenant_id = '{}'", tenant.0);
                AnsiTransactionManager::begin_transaction_sql(conn, &sql).await
            }
            Self::Mysql(conn) => {
                let sql = match access {
                    Access::Read => {
                        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
                         START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT"
                    }
                    Access::Write => "START TRANSACTION",
                };
                AnsiTransactionManager::begin_transaction_sql(conn, sql).await
            }
            Self::Sqlite(conn) => {
                // A transaction that reads before it writes must take the lock first, or it
                // can fail with SQLITE_BUSY however long it may wait.
                let sql = match access {
                    Access::Read => "PRAGMA query_only = ON; BEGIN",
                    Access::Write => "PRAGMA query_only = OFF; BEGIN IMMEDIATE",
                };
                conn.spawn_blocking(move |conn| {
                    diesel::connection::AnsiTransactionManager::begin_transaction_sql(conn, sql)
                })
                .await
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
                Self::Sqlite(_) => Ok(()),
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
pub(super) use async_func::AsyncFunc as SendAsyncFn;
