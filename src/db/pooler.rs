//! Support for PostgreSQL behind a pooler (`database.pooler`) that lends a session to a client for one transaction at a
//! time, as PgBouncer does in transaction mode.
//!
//! A session's state that outlives a transaction would be found by the next client that gets the session. Our own next
//! transaction may get another session, and would miss that state. Therefore no state outlives a transaction:
//!
//! - Settings are made with `SET LOCAL`, in the message that begins the transaction. Locks belong to the transaction,
//!   not to the session.
//! - Prepared statements exist only within their transaction. In every process, the driver names them by a counter
//!   (`s0`, `s1`, …), so another process's `s0` in the same session would collide with ours. With its cache off, the
//!   driver closes a statement as soon as it has read the rows. In addition, `DEALLOCATE ALL` is part of the messages
//!   that begin and end every transaction. At the end it removes statements that were prepared but never executed, and
//!   at the beginning it removes what other programs have left behind.
//! - A `Close` that the driver sends after the end of a transaction does no harm. The pooler passes it to a session
//!   that no transaction uses at that moment, so that session has no statement that is still needed. PostgreSQL ignores
//!   a name that it does not know.
//! - For each connection, the driver also keeps the statements with which it looks up unknown types. It never looks any
//!   up, because all columns have built-in types of PostgreSQL. A test fails if that changes.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
mod cancel;

pub(super) use cancel::cancel;

use super::connect::{IDLE_TIMEOUT, bad_connection};
use super::pg::is_lost;
use diesel::connection::CacheSize;
use diesel::result::Error;
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
};
use futures_util::future::{Either, select};
use std::pin::pin;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Client, Connection, Socket};

/// Wraps a new connection. diesel-async always sets the time zone and the encoding of a session with prepared
/// statements. Here it does so within a transaction that is rolled back, so that nothing stays in the session.
pub(super) async fn wrap<T>(client: Client, mut line: Connection<Socket, T>) -> ConnectionResult<AsyncPgConnection>
where
    T: TlsStream + Unpin + Send + 'static,
{
    match select(pin!(client.batch_execute("BEGIN; DEALLOCATE ALL")), &mut line).await {
        Either::Left((begun, _)) => begun.map_err(bad_connection)?,
        Either::Right((ended, _)) => {
            ended.map_err(bad_connection)?;
            return Err(ConnectionError::BadConnection("the connection was closed".to_owned()));
        }
    }
    let mut conn = AsyncPgConnection::try_from_client_and_connection(client, line).await?;
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    conn.batch_execute(ROLLBACK).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// A connection of PostgreSQL that follows the transactions of its session.
pub(super) trait Session: AsyncConnection<TransactionManager = AnsiTransactionManager> {}
impl<C: AsyncConnection<TransactionManager = AnsiTransactionManager>> Session for C {}

/// Begins a transaction with this mode and these settings. The effects of `settings` must end with the transaction, as
/// those of `SET LOCAL` do.
pub(super) async fn begin(conn: &mut impl Session, mode: &str, settings: &str) -> QueryResult<()> {
    // Another program may have left `app.system` on in the session, which would make every tenant's rows visible.
    let sql = format!(
        "BEGIN {mode}; DEALLOCATE ALL; SET LOCAL app.system = 'off'; SET LOCAL TIME ZONE 'UTC'; \
         SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'; {settings}"
    );
    AnsiTransactionManager::begin_transaction_sql(conn, &sql).await
}

pub(super) async fn commit(conn: &mut impl Session) -> QueryResult<()> {
    end_by(conn, COMMIT).await
}

pub(super) async fn rollback(conn: &mut impl Session) -> QueryResult<()> {
    end_by(conn, ROLLBACK).await
}

// The pooler takes the session back only after the whole message. `DEALLOCATE ALL` comes second, because a transaction
// that has failed accepts no command but its end.
const COMMIT: &str = "COMMIT; DEALLOCATE ALL";
const ROLLBACK: &str = "ROLLBACK; DEALLOCATE ALL";

/// Ends the transaction with this SQL. diesel-async accepts custom SQL for the beginning of a transaction, but not for
/// its end.
async fn end_by(conn: &mut impl Session, sql: &str) -> QueryResult<()> {
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    if status.transaction_depth()?.is_none() {
        return Err(Error::NotInTransaction);
    }
    // If this future is dropped or the connection breaks, nobody knows how the transaction ended. The connection then
    // stays marked as broken and is not used again.
    status.set_in_error();
    let ended = conn.batch_execute(sql).await;
    if !is_lost(&ended) {
        *AnsiTransactionManager::transaction_manager_status_mut(conn) = Default::default();
    }
    ended
}
