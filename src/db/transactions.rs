//! Begins and ends the transaction of a lease on each database, and cancels the statement of a lease that was dropped.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::AnyTransactions;
use super::connect::{CANCEL_TIMEOUT, Target};
use super::pg::{Lease, Mode, Plans};
use super::types::TenantId;
use super::{AnyConnection, pooler};
use crate::base::error::{Error, Result};
use crate::base::pooler::Pooler;
use diesel::QueryResult;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AnsiTransactionManager, AsyncMysqlConnection, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::time::Duration;

#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Exactly one statement, which reads.
    One,
    /// One snapshot.
    Read,
    Write,
}

pub(super) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(cause.into())
}

impl AnyConnection {
    /// Commits if `result` is a success, and rolls back otherwise. If the connection turns out to be lost, an internal
    /// error becomes `Unavailable`.
    pub(super) async fn end<R>(&mut self, result: Result<R>, access: Access, pooler: Pooler) -> Result<R> {
        match result {
            Ok(value) => match self.commit(access, pooler).await {
                Ok(()) => Ok(value),
                // MariaDB's driver does not report that the connection is lost, but the next statement fails.
                Err(error) if self.is_broken() || self.is_lost().await => Err(unavailable(error)),
                Err(error) => Err(error.into()),
            },
            Err(error) => match self.rollback(access, pooler).await {
                Ok(()) => Err(error),
                Err(lost) => match error {
                    Error::Internal(cause) => Err(Error::Unavailable(cause.context(lost))),
                    error => Err(error),
                },
            },
        }
    }

    async fn commit(&mut self, access: Access, pooler: Pooler) -> QueryResult<()> {
        match (self, pooler, access) {
            (Self::Pg(conn), Pooler::Transaction, _) => pooler::commit(conn).await,
            (Self::Pg(conn), Pooler::None, Access::One | Access::Read) => conn.end_read(),
            (Self::Pg(conn), Pooler::None, Access::Write) => conn.commit().await,
            (Self::Sqlite(..), _, Access::One) => Ok(()), // it has no transaction
            (Self::Mysql(conn), _, Access::One) => {
                set_free(conn);
                Ok(())
            }
            (conn, ..) => AnyTransactions::commit_transaction(conn).await,
        }
    }

    pub(super) async fn rollback(&mut self, access: Access, pooler: Pooler) -> QueryResult<()> {
        match (self, pooler, access) {
            (Self::Pg(conn), Pooler::Transaction, _) => pooler::rollback(conn).await,
            (Self::Pg(conn), Pooler::None, _) => conn.roll_back().await,
            (Self::Sqlite(..), _, Access::One) => Ok(()),
            (Self::Mysql(conn), _, Access::One) => {
                conn.batch_execute("DO 1").await?; // fails if the statement failed because the connection is lost
                set_free(conn);
                Ok(())
            }
            (conn, ..) => AnyTransactions::rollback_transaction(conn).await,
        }
    }

    /// Begins a lease. [`Access::One`] starts a transaction only behind a pooler. `timeout` limits each statement (on
    /// SQLite, all of them together). PostgreSQL shows only this tenant's rows. Without a pooler,
    /// [`PgConnection`](super::pg::PgConnection) does all that together with the first statement. The settings are part
    /// of the SQL, because neither a UUID nor a number needs escaping.
    pub(super) async fn begin(
        &mut self,
        access: Access,
        tenant: TenantId,
        timeout: Duration,
        plans: Plans,
        pooler: Pooler,
    ) -> QueryResult<()> {
        match self {
            Self::Pg(conn) => {
                if pooler == Pooler::None {
                    let mode = match access {
                        Access::One => Mode::One,
                        Access::Read => Mode::Snapshot,
                        Access::Write => Mode::Write,
                    };
                    conn.begin_lease(Lease { tenant: tenant.0, timeout, mode, plans });
                    return Ok(());
                }
                let mode = match access {
                    Access::One | Access::Read => "ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    Access::Write => "READ WRITE",
                };
                let timeout = timeout.as_millis();
                let mut settings = format!(
                    "SET LOCAL app.tenant_id = '{}'; SET LOCAL statement_timeout = {timeout}; SET LOCAL jit = off",
                    tenant.0
                );
                settings.push_str(plans.settings_without_keeping());
                pooler::begin(conn, mode, &settings).await
            }
            Self::Mysql(conn) => {
                let timeout = format!("SET max_statement_time = {:.3}", timeout.as_secs_f64());
                let begin = match access {
                    Access::One => {
                        // If the request is dropped before the answers are read, the next request would take them for
                        // its own. So until the end of the lease, the connection counts as broken.
                        AnsiTransactionManager::transaction_manager_status_mut(conn).set_in_error();
                        return conn.batch_execute(&timeout).await;
                    }
                    Access::Read => {
                        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
                         START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT"
                    }
                    Access::Write => "START TRANSACTION",
                };
                AnsiTransactionManager::begin_transaction_sql(conn, &format!("{timeout}; {begin}")).await
            }
            Self::Sqlite(conn, deadline) => {
                deadline.set(timeout);
                // A transaction that reads before it writes must take the lock first. Otherwise it can fail with
                // SQLITE_BUSY, however long it may wait.
                let sql = match access {
                    Access::One => return Ok(()), // one statement sees one snapshot anyway
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

    /// Cancels the statement of a lease that was dropped. On SQLite, the statement ends when it next checks the
    /// deadline. Until then its thread uses the connection, which can't be returned to the pool earlier.
    pub(super) async fn stop(&mut self, target: &Target) {
        match self {
            Self::Pg(conn) if conn.can_be_cancelled() => target.cancel(conn.cancel_token()).await,
            Self::Pg(_) => {} // its statement ends at its deadline, if it was sent
            Self::Mysql(conn) => {
                let stopped = tokio::time::timeout(CANCEL_TIMEOUT, conn.cancel_token().cancel_query()).await;
                if let Ok(Err(error)) = stopped {
                    tracing::debug!(%error, "A statement can't be cancelled");
                }
            }
            Self::Sqlite(conn, deadline) => {
                deadline.set(Duration::ZERO);
                let _ = conn.spawn_blocking(|_| Ok(())).await; // fails only if the runtime shuts down
            }
        }
    }

    /// Fails if a connection from the pool is known to be lost. Only tokio-postgres knows that without a round trip. A
    /// lost connection to MariaDB is noticed when a lease begins, and the lease then tries another one.
    pub(super) fn check(&mut self) -> BoxFuture<'_, QueryResult<()>> {
        let checked = match self {
            Self::Pg(conn) => match conn.is_broken() {
                true => Err(diesel::result::Error::BrokenTransactionManager),
                false => Ok(()),
            },
            Self::Mysql(_) | Self::Sqlite(..) => Ok(()),
        };
        async { checked }.boxed()
    }

    /// Whether the connection is lost. MariaDB's driver does not report that, so a statement is sent to find out.
    async fn is_lost(&mut self) -> bool {
        match self {
            Self::Mysql(conn) => {
                // If the request is dropped here, the answer stays unread, and nobody may get the connection.
                AnsiTransactionManager::transaction_manager_status_mut(conn).set_in_error();
                let is_lost = conn.batch_execute("DO 1").await.is_err();
                if !is_lost {
                    set_free(conn);
                }
                is_lost
            }
            Self::Pg(_) | Self::Sqlite(..) => self.check().await.is_err(),
        }
    }
}

/// Lets the pool lend a connection out again.
fn set_free(conn: &mut AsyncMysqlConnection) {
    *AnsiTransactionManager::transaction_manager_status_mut(conn) = Default::default();
}
