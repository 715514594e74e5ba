//! PostgreSQL behind a pooler that lends its sessions out for one transaction at a time (`database.pooler`), as PgBouncer
//! does in transaction mode.
//!
//! What a session keeps beyond a transaction is found by the next transaction of any client, and missed by our own next one.
//! So nothing is kept:
//!
//! - Settings are made by `SET LOCAL`, in the message that begins the transaction, and locks are the transaction's.
//! - Statements live and die inside their transaction. The driver prepares each under a name that it counts up in every
//!   process (`s0`, `s1`, …), and another process's `s0` in the same session would be in its way. With its cache off, it
//!   closes a statement as soon as it has read the rows. Beyond that, every transaction begins and ends by `DEALLOCATE ALL`,
//!   in the messages that begin and end it anyway: at the end for a statement that was prepared but never executed, at the
//!   beginning for what other programs have left behind.
//! - A `Close` that the driver sends after the end of a transaction harms nobody. The pooler gives it to a session that no
//!   transaction has at that moment, so there is no statement in it that is still needed, and PostgreSQL does not mind a
//!   name that it does not know.
//! - The driver also keeps, for each connection, the statements by which it looks up types that it does not know. It never
//!   has to: the columns have types of PostgreSQL's own. A test says when that changes.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
mod cancel;

pub(super) use cancel::cancel;

use super::connect::{IDLE_TIMEOUT, bad_connection};
use diesel::connection::CacheSize;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
};
use futures_util::future::{Either, select};
use std::pin::pin;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Client, Connection, Socket};

/// Wraps a new connection. diesel-async sets the time zone and the encoding of every session, by prepared statements, and
/// offers no way around that: it does so in a transaction, which is rolled back.
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

/// Begins a transaction in this mode, with these settings, which are `SET LOCAL`.
pub(super) async fn begin(conn: &mut AsyncPgConnection, mode: &str, settings: &str) -> QueryResult<()> {
    // Of all that other programs may have left in the session, `app.system` would open every tenant's rows.
    let sql = format!(
        "BEGIN {mode}; DEALLOCATE ALL; SET LOCAL app.system = 'off'; SET LOCAL TIME ZONE 'UTC'; \
         SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'; {settings}"
    );
    AnsiTransactionManager::begin_transaction_sql(conn, &sql).await
}

pub(super) async fn commit(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    end_by(conn, COMMIT).await
}

pub(super) async fn rollback(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    end_by(conn, ROLLBACK).await
}

// The pooler takes the session back when the whole message is through. `DEALLOCATE ALL` comes second, because a transaction
// that has failed takes nothing but its end.
const COMMIT: &str = "COMMIT; DEALLOCATE ALL";
const ROLLBACK: &str = "ROLLBACK; DEALLOCATE ALL";

/// diesel-async takes SQL of ours for the beginning of a transaction, but not for its end.
async fn end_by(conn: &mut AsyncPgConnection, sql: &str) -> QueryResult<()> {
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    if status.transaction_depth()?.is_none() {
        return Err(Error::NotInTransaction);
    }
    // If this future is dropped in the middle, or the line breaks, nobody can say how it ended: the connection is not used again.
    status.set_in_error();
    let ended = conn.batch_execute(sql).await;
    let is_lost = matches!(
        ended,
        Err(Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection, _))
    );
    if !is_lost {
        // A commit that PostgreSQL refuses has ended the transaction as well.
        *AnsiTransactionManager::transaction_manager_status_mut(conn) = Default::default();
    }
    ended
}
