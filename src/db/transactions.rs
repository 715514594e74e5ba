//! How the transaction of a lease begins and ends on each database, and how it is stopped in the middle.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::AnyTransactions;
use super::connect::{CANCEL_TIMEOUT, Target};
use super::types::TenantId;
use super::{AnyConnection, pooler};
use crate::base::error::{Error, Result};
use crate::base::pooler::Pooler;
use diesel::QueryResult;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AnsiTransactionManager, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::time::Duration;

#[derive(Clone, Copy)]
pub(super) enum Access {
    Read,
    Write,
}

pub(super) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(cause.into())
}

impl AnyConnection {
    /// Commits what succeeded, rolls back what did not. Where not even that is possible the connection is gone.
    pub(super) async fn end<R>(&mut self, result: Result<R>, pooler: Pooler) -> Result<R> {
        match result {
            Ok(value) => match self.commit(pooler).await {
                Ok(()) => Ok(value),
                // MariaDB's driver does not say that the line is gone, but the next statement does.
                Err(error) if self.is_broken() || self.check().await.is_err() => Err(unavailable(error)),
                Err(error) => Err(error.into()),
            },
            Err(error) => match self.rollback(pooler).await {
                Ok(()) => Err(error),
                Err(lost) => match error {
                    Error::Internal(cause) => Err(Error::Unavailable(cause.context(lost))),
                    error => Err(error),
                },
            },
        }
    }

    async fn commit(&mut self, pooler: Pooler) -> QueryResult<()> {
        match (self, pooler) {
            (Self::Pg(conn), Pooler::Transaction) => pooler::commit(conn).await,
            (conn, _) => AnyTransactions::commit_transaction(conn).await,
        }
    }

    pub(super) async fn rollback(&mut self, pooler: Pooler) -> QueryResult<()> {
        match (self, pooler) {
            (Self::Pg(conn), Pooler::Transaction) => pooler::rollback(conn).await,
            (conn, _) => AnyTransactions::rollback_transaction(conn).await,
        }
    }

    /// Starts a transaction whose statements may each take so long (on SQLite: all of them together). PostgreSQL then lets
    /// it touch only this tenant's rows. One round trip: neither a UUID nor a number needs escaping.
    pub(super) async fn begin(
        &mut self,
        access: Access,
        tenant: TenantId,
        timeout: Duration,
        pooler: Pooler,
    ) -> QueryResult<()> {
        match self {
            Self::Pg(conn) => {
                let mode = match access {
                    Access::Read => "ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    Access::Write => "READ WRITE",
                };
                let timeout = timeout.as_millis();
                let settings =
                    format!("SET LOCAL app.tenant_id = '{}'; SET LOCAL statement_timeout = {timeout}", tenant.0);
                if pooler == Pooler::Transaction {
                    return pooler::begin(conn, mode, &settings).await;
                }
                AnsiTransactionManager::begin_transaction_sql(conn, &format!("BEGIN {mode}; {settings}")).await
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
    pub(super) async fn stop(&mut self, target: &Target) {
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
    pub(super) fn check(&mut self) -> BoxFuture<'_, QueryResult<()>> {
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
