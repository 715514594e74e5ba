//! Support for PostgreSQL behind a pooler (`database.pooler`) that lends a session to a client for one transaction at a
//! time, as PgBouncer does in transaction mode.
//!
//! A session's state that outlives a transaction would be found by the next client that gets the session. Our own next
//! transaction may get another session, and would miss that state. Therefore no state outlives a transaction:
//!
//! - Settings are made with `SET LOCAL`, in the message that begins the transaction. Locks belong to the transaction,
//!   not to the session.
//! - Prepared statements exist only within their transaction. In every process, the driver names them by a counter
//!   (`s0`, `s1`, …), so another process's `s0` in the same session would collide with ours. As our connection keeps
//!   none here, the driver closes a statement as soon as it has read the rows. In addition, `DEALLOCATE ALL` is part of the messages
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

use super::connect::IDLE_TIMEOUT;
use super::pg::{PgConnection, is_lost};
use diesel::QueryResult;
use diesel::result::Error;
use diesel_async::{AnsiTransactionManager, SimpleAsyncConnection, TransactionManager};

/// Begins a transaction with this mode and these settings. The effects of `settings` must end with the transaction, as
/// those of `SET LOCAL` do.
pub(super) async fn begin(conn: &mut PgConnection, mode: &str, settings: &str) -> QueryResult<()> {
    // Another program may have left `app.system` on in the session, which would make every tenant's rows visible.
    let sql = format!(
        "BEGIN {mode}; DEALLOCATE ALL; SET LOCAL app.system = 'off'; SET LOCAL TIME ZONE 'UTC'; \
         SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'; {settings}"
    );
    AnsiTransactionManager::begin_transaction_sql(conn, &sql).await
}

pub(super) async fn commit(conn: &mut PgConnection) -> QueryResult<()> {
    end_by(conn, COMMIT).await
}

pub(super) async fn rollback(conn: &mut PgConnection) -> QueryResult<()> {
    end_by(conn, ROLLBACK).await
}

// The pooler takes the session back only after the whole message. `DEALLOCATE ALL` comes second, because a transaction
// that has failed accepts no command but its end.
const COMMIT: &str = "COMMIT; DEALLOCATE ALL";
const ROLLBACK: &str = "ROLLBACK; DEALLOCATE ALL";

/// Ends the transaction with this SQL. diesel-async accepts custom SQL for the beginning of a transaction, but not for
/// its end.
async fn end_by(conn: &mut PgConnection, sql: &str) -> QueryResult<()> {
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    if status.transaction_depth()?.is_none() {
        return Err(Error::NotInTransaction);
    }
    // If this future is dropped or the connection breaks, nobody knows how the transaction ended. The connection then
    // stays marked as broken and is not used again.
    status.set_in_error();
    let ended = conn.batch_execute(sql).await;
    if !ended.as_ref().is_err_and(is_lost) {
        *AnsiTransactionManager::transaction_manager_status_mut(conn) = Default::default();
    }
    ended
}
