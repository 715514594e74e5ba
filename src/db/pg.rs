//! A connection to PostgreSQL that sends together what belongs together, and waits only where it needs an answer.
//!
//! The statements that begin a transaction have no result, so they are not sent alone: they go out together with the
//! first statement of the transaction, and PostgreSQL runs all of them in their order. At the end of a transaction that
//! only read, nothing depends on the answer to `COMMIT`, so nobody waits for it: the next transaction on this
//! connection is sent behind it.
//!
//! `COMMIT` is never sent together with a statement. A statement that has to be prepared first is sent in two steps, and
//! a `COMMIT` would overtake the second. The statement would then run outside of the transaction, without the tenant
//! that row-level security checks.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use diesel::ConnectionResult;
use diesel::QueryResult;
use diesel::connection::{CacheSize, Instrumentation};
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, AsyncPgConnection, SimpleAsyncConnection,
    TransactionManager,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, try_join};
use std::mem;

/// Whether the transaction that was asked for has begun.
#[derive(Default)]
enum Begin {
    /// No transaction waits for its first statement.
    #[default]
    Done,
    /// These statements are sent together with the next one.
    Waiting(String),
    /// They failed. Nothing more may run, because it would run outside of the transaction.
    Failed,
}

pub struct PgConnection {
    conn: AsyncPgConnection,
    begin: Begin,
}

impl From<AsyncPgConnection> for PgConnection {
    fn from(conn: AsyncPgConnection) -> Self {
        Self { conn, begin: Begin::Done }
    }
}

/// How many statements are polled in the order in which they were given. `join_all` keeps the order of at most 30.
const TOGETHER: usize = 16;

impl PgConnection {
    pub fn into_inner(self) -> AsyncPgConnection {
        self.conn
    }

    pub fn cancel_token(&self) -> tokio_postgres::CancelToken {
        self.conn.cancel_token()
    }

    /// Whether PostgreSQL has confirmed that the transaction began, or none was begun. Before that, a statement must not
    /// be cancelled: if `BEGIN` itself were cancelled, the statement behind it would run outside of a transaction.
    pub fn can_be_cancelled(&self) -> bool {
        matches!(self.begin, Begin::Done)
    }

    /// Begins a transaction with this SQL, which is sent together with its first statement. Until the transaction has
    /// ended, the connection counts as broken, so that the pool does not hand it out again if the lease is cut off.
    pub fn begin_with_next(&mut self, sql: String) {
        self.begin = Begin::Waiting(sql);
        AnsiTransactionManager::transaction_manager_status_mut(&mut self.conn).set_in_error();
    }

    /// Ends the transaction, and waits until PostgreSQL has confirmed that.
    pub async fn end_by(&mut self, sql: &str) -> QueryResult<()> {
        let ended = match mem::take(&mut self.begin) {
            Begin::Waiting(_) => Ok(()), // it never began
            Begin::Failed => return Err(Error::BrokenTransactionManager),
            Begin::Done => self.conn.batch_execute(sql).await,
        };
        if !is_lost(&ended) {
            self.set_free();
        }
        ended
    }

    /// Ends a transaction that only read. `COMMIT` is sent, and its answer is dropped when it comes.
    pub fn end_read(&mut self) -> QueryResult<()> {
        match mem::take(&mut self.begin) {
            Begin::Waiting(_) => {}
            Begin::Failed => return Err(Error::BrokenTransactionManager),
            Begin::Done => {
                // The first poll sends the message.
                if let Some(Err(error)) = self.conn.batch_execute("COMMIT").now_or_never() {
                    return Err(error);
                }
            }
        }
        self.set_free();
        Ok(())
    }

    fn set_free(&mut self) {
        *AnsiTransactionManager::transaction_manager_status_mut(&mut self.conn) = Default::default();
    }

    /// Runs all statements, in their order, without waiting in between. Returns the result of each.
    pub fn execute_all<'conn, T>(
        &'conn mut self,
        statements: impl Iterator<Item = T>,
    ) -> BoxFuture<'conn, QueryResult<Vec<QueryResult<usize>>>>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        let Self { conn, begin } = self;
        let mut line: &'conn AsyncPgConnection = conn;
        let mut all: Vec<_> = statements.map(|statement| line.execute_returning_count(statement)).collect();
        let together = async move {
            let mut results = Vec::with_capacity(all.len());
            while !all.is_empty() {
                let next = all.drain(..all.len().min(TOGETHER));
                results.extend(join_all(next).await);
            }
            Ok(results)
        };
        async move { after_begin(line, begin, together.boxed()).await }.boxed()
    }
}

/// Whether the connection broke, so that nobody knows how the transaction ended. After any other answer it has ended,
/// even if PostgreSQL refused the commit.
pub(super) fn is_lost(ended: &QueryResult<()>) -> bool {
    use DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
    matches!(ended, Err(Error::DatabaseError(UnableToSendCommand | ClosedConnection, _)))
}

/// Runs a statement, behind those that begin its transaction if these still wait. `statement` must send its first
/// message when it is first polled.
async fn after_begin<R>(
    mut line: &AsyncPgConnection,
    begin: &mut Begin,
    statement: BoxFuture<'_, QueryResult<R>>,
) -> QueryResult<R> {
    match begin {
        Begin::Done => statement.await,
        Begin::Failed => Err(Error::BrokenTransactionManager),
        Begin::Waiting(sql) => {
            let sql = mem::take(sql);
            // If this future is dropped before the answer is there, nothing more may be sent. If the beginning fails, a
            // statement that is still being prepared is dropped before it is run.
            *begin = Begin::Failed;
            let beginning = async {
                line.batch_execute(&sql).await?;
                *begin = Begin::Done;
                QueryResult::Ok(())
            };
            let ((), result) = try_join(beginning, statement.map(Ok)).await?;
            result
        }
    }
}

impl SimpleAsyncConnection for PgConnection {
    async fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        let Self { conn, begin } = self;
        let mut line: &AsyncPgConnection = conn;
        after_begin(&*conn, begin, async move { line.batch_execute(sql).await }.boxed()).await
    }
}

impl AsyncConnectionCore for PgConnection {
    type LoadFuture<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::LoadFuture<'conn, 'query>;
    type ExecuteFuture<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::ExecuteFuture<'conn, 'query>;
    type Stream<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Stream<'conn, 'query>;
    type Row<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Row<'conn, 'query>;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        let Self { conn, begin } = self;
        let mut line: &'conn AsyncPgConnection = conn;
        let rows = line.load(source);
        after_begin(line, begin, rows).boxed()
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        let Self { conn, begin } = self;
        let mut line: &'conn AsyncPgConnection = conn;
        let count = line.execute_returning_count(source);
        after_begin(line, begin, count).boxed()
    }
}

impl AsyncConnection for PgConnection {
    type TransactionManager = AnsiTransactionManager;

    async fn establish(url: &str) -> ConnectionResult<Self> {
        AsyncPgConnection::establish(url).await.map(Self::from)
    }
    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        self.conn.transaction_state()
    }
    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.conn.instrumentation()
    }
    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.conn.set_instrumentation(instrumentation);
    }
    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.conn.set_prepared_statement_cache_size(size);
    }
}

impl PoolableConnection for PgConnection {
    fn is_broken(&mut self) -> bool {
        self.conn.is_broken()
    }
}
