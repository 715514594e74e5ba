//! A connection to PostgreSQL that sends together what belongs together, and waits only where it needs an answer.
//!
//! - The statements that begin a transaction have no result, so they are not sent alone: they go out together with the
//!   first statement of the transaction. A change whose result nobody needs is queued, and goes out with the next
//!   statement or with the end. `COMMIT` goes out together with the last statements. PostgreSQL runs all of them in
//!   their order. After one that fails, it refuses the others, and takes `COMMIT` for `ROLLBACK`.
//! - Neighbouring inserts in the queue, into different tables, go out as one statement: see [`merged`].
//! - At the end of a transaction that only read, nothing depends on the answer to `COMMIT`, so nobody waits for it: the
//!   next transaction on this connection is sent behind it.
//! - A lease of one statement that reads has no transaction: [`Mode::One`].
//! - A statement that is not prepared yet would be overtaken by what is sent behind it, because it is sent in two steps.
//!   So it is prepared first, and what waits is sent after that.
//!
//! Row-level security shows the rows of `app.tenant_id`. For leases that read, the session keeps it, and it is set again
//! only when the next lease has another tenant. A transaction that writes sets it with `SET LOCAL`, unless the session
//! is known to have this tenant already. A connection runs no statement between two leases. Its session is read-only,
//! and only a transaction that writes is not, so that a statement that runs outside of a transaction by accident can
//! change nothing.
mod error;
mod merged;
mod phase;
mod row;
mod statements;

pub use phase::{Lease, Mode, Plans};
pub use row::PgRow;
pub use statements::{BoundStatement, NoLookup, Text};

use crate::base::pooler::Pooler;
use diesel::connection::{CacheSize, Instrumentation};
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection, TransactionManager,
};
use futures_util::future::{BoxFuture, join, join_all};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use merged::{Merged, Parts};
use phase::{Phase, Session};
use statements::{Ready, Statements};
use std::mem;
use tokio::task::AbortHandle;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Client, Connection, Socket};

/// The number of a queued change of the lease, from 0, and its error. Without a number, it is not known which change
/// has failed.
pub type Failed = (Option<usize>, Error);

pub struct PgConnection {
    client: Client,
    line: AbortHandle,
    statements: Statements,
    phase: Phase,
    session: Session,
    /// Changes that are sent with the next statement, in their order.
    queue: Vec<BoundStatement>,
    /// How many of the lease's changes have left the queue, and which one of them failed first.
    sent: usize,
    failed: Option<Failed>,
    /// Whether a statement of the lease has failed or was cut off, so that nothing may be committed. An error between the
    /// rows of a query is not noted here, but the caller gets it.
    is_spoilt: bool,
    transaction: AnsiTransactionManager,
    instrumentation: Option<Box<dyn Instrumentation>>,
}

pub type Rows = BoxStream<'static, QueryResult<PgRow>>;

/// How many statements are polled in the order in which they were given. `join_all` keeps the order of at most 30.
const TOGETHER: usize = 16;

impl PgConnection {
    /// Behind a pooler, the session belongs to others as soon as a transaction has ended, so no statements are kept.
    pub fn new<T>(client: Client, line: Connection<Socket, T>, pooler: Pooler) -> Self
    where
        T: TlsStream + Unpin + Send + 'static,
    {
        let line = tokio::spawn(async move {
            if let Err(error) = line.await {
                tracing::debug!(%error, "A connection to PostgreSQL has ended"); // its statements report it, too
            }
        });
        Self {
            client,
            line: line.abort_handle(),
            statements: match pooler {
                Pooler::None => Statements::kept(),
                Pooler::Transaction => Statements::not_kept(),
            },
            phase: Phase::default(),
            session: Session::default(),
            queue: Vec::new(),
            sent: 0,
            failed: None,
            is_spoilt: false,
            transaction: AnsiTransactionManager::default(),
            instrumentation: None,
        }
    }

    pub fn cancel_token(&self) -> tokio_postgres::CancelToken {
        self.client.cancel_token()
    }

    /// Whether the statements that are under way may be cancelled. Until PostgreSQL has confirmed that a transaction that
    /// writes began, they may not: if `BEGIN` itself were cancelled, those behind it would run outside of a transaction.
    pub fn can_be_cancelled(&self) -> bool {
        !matches!(self.phase, Phase::Beginning(Mode::Write))
    }

    /// Begins a lease. Nothing is sent before its first statement. Until the lease has ended, the connection counts as
    /// broken, so that the pool does not hand it out again if the lease is cut off.
    pub fn begin_lease(&mut self, lease: Lease) {
        self.phase = Phase::Waiting(lease);
        (self.sent, self.failed, self.is_spoilt) = (0, None, false);
        self.queue.clear();
        AnsiTransactionManager::transaction_manager_status_mut(self).set_in_error();
    }

    /// Queues a change that is sent with the next statement. If it fails, so does the transaction, and
    /// [`Self::take_failed`] tells why. A full queue is sent at once.
    pub async fn queue(&mut self, change: BoundStatement) -> QueryResult<()> {
        self.queue.push(change);
        if self.queue.len() < TOGETHER {
            return Ok(());
        }
        self.after_queue(|_| async { Ok(()) }.boxed()).await
    }

    /// The first queued change of the lease that has failed.
    pub fn take_failed(&mut self) -> Option<Failed> {
        self.failed.take()
    }

    /// Rolls back, and waits until PostgreSQL has confirmed that.
    pub async fn roll_back(&mut self) -> QueryResult<()> {
        self.queue.clear();
        match mem::replace(&mut self.phase, Phase::Ending) {
            Phase::Waiting(_) | Phase::Spent => {} // there is no transaction
            Phase::Begun => self.client.batch_execute("ROLLBACK").await.map_err(error::of)?,
            Phase::Open | Phase::Idle | Phase::Beginning(_) | Phase::Ending => {
                return Err(Error::BrokenTransactionManager);
            }
        }
        self.set_free();
        Ok(())
    }

    /// Ends a lease that only read. `COMMIT` is sent, and its answer is dropped when it comes.
    pub fn end_read(&mut self) -> QueryResult<()> {
        match mem::replace(&mut self.phase, Phase::Ending) {
            Phase::Waiting(_) | Phase::Spent => {}
            Phase::Begun => {
                // The first poll sends the message.
                if let Some(Err(failed)) = self.client.batch_execute("COMMIT").now_or_never() {
                    return Err(error::of(failed));
                }
            }
            Phase::Open | Phase::Idle | Phase::Beginning(_) | Phase::Ending => {
                return Err(Error::BrokenTransactionManager);
            }
        }
        self.set_free();
        Ok(())
    }

    /// Runs what is queued, and commits. If one of the lease's changes has failed, nothing is changed.
    pub async fn commit(&mut self) -> QueryResult<()> {
        if self.queue.is_empty() && !self.is_spoilt && matches!(self.phase, Phase::Waiting(_)) {
            return self.end_read();
        }
        if self.is_spoilt {
            self.roll_back().await?;
            return Err(Error::RollbackTransaction);
        }
        let changes = match self.ready_queue().await {
            Ok(changes) => changes,
            Err(error) if self.failed.is_none() => return Err(error),
            Err(error) => {
                self.roll_back().await?; // neither the change nor `COMMIT` was sent
                return Err(error);
            }
        };
        match self.after(changes, |client| client.batch_execute("COMMIT").map_err(error::of).boxed()).await {
            Err(error) if self.failed.is_none() => Err(error),
            ended => {
                // The transaction has ended. If a change failed, PostgreSQL has taken `COMMIT` for `ROLLBACK`.
                self.set_free();
                ended
            }
        }
    }

    fn set_free(&mut self) {
        self.phase = Phase::Idle;
        *AnsiTransactionManager::transaction_manager_status_mut(self) = Default::default();
    }

    /// Runs what is queued, and then `last`: see [`Self::after`].
    async fn after_queue<'conn, R>(
        &'conn mut self,
        last: impl FnOnce(&'conn Client) -> BoxFuture<'conn, QueryResult<R>>,
    ) -> QueryResult<R> {
        let changes = self.ready_queue().await?;
        self.after(changes, last).await
    }

    /// Empties the queue, and prepares what was in it. A change that PostgreSQL refuses to prepare counts as failed.
    async fn ready_queue(&mut self) -> QueryResult<Vec<(Ready, Parts)>> {
        let Self { client, statements, queue, sent, failed, is_spoilt, .. } = self;
        let was_spoilt = mem::replace(is_spoilt, true); // until all of it has succeeded
        let count = queue.len();
        let mut changes = Vec::with_capacity(count);
        for Merged { statement, parts } in merged::in_few(queue.drain(..), *sent) {
            match statements.ready(client, statement).await {
                Ok(ready) => changes.push((ready, parts)),
                Err(error) if is_lost(&error) => return Err(error),
                Err(error) => {
                    failed.get_or_insert((parts.failed(&error), error));
                    return Err(Error::RollbackTransaction);
                }
            }
        }
        (*sent, *is_spoilt) = (*sent + count, was_spoilt);
        Ok(changes)
    }

    /// Sends the beginning of the lease, if it still waits, then these changes, then `last`, and then waits for all
    /// answers. `last` must send its message when it is first polled.
    async fn after<'conn, R>(
        &'conn mut self,
        changes: Vec<(Ready, Parts)>,
        last: impl FnOnce(&'conn Client) -> BoxFuture<'conn, QueryResult<R>>,
    ) -> QueryResult<R> {
        let Self { client, phase, session, failed, is_spoilt, .. } = self;
        let client: &'conn Client = client;
        let was_spoilt = mem::replace(is_spoilt, true); // until all of it has succeeded
        let messages = phase.begin(session)?;
        if messages.is_empty() && changes.is_empty() {
            let result = last(client).await;
            *is_spoilt = was_spoilt || result.is_err();
            return result;
        }
        let begun = async {
            for begun in join_all(messages.iter().map(|sql| client.batch_execute(sql))).await {
                begun.map_err(error::of)?; // the phase stays `Beginning`
            }
            session.confirm();
            phase.has_begun();
            QueryResult::Ok(())
        };
        let change = async |(change, parts): (_, Parts)| {
            let changed = execute(client, change).await;
            changed.map_err(|error| (parts.failed(&error), error))
        };
        let changed = join_all(changes.into_iter().map(change));
        let (begun, (changed, result)) = join(begun, join(changed, last(client))).await;
        begun?;
        match changed.into_iter().find_map(Result::err) {
            None => {
                *is_spoilt = was_spoilt || result.is_err();
                result
            }
            Some((_, error)) if is_lost(&error) => Err(error),
            Some((number, error)) => {
                failed.get_or_insert((number, error));
                Err(Error::RollbackTransaction)
            }
        }
    }

    /// Runs a statement behind what waits.
    fn run<'conn, R: Send + 'conn>(
        &'conn mut self,
        bound: QueryResult<BoundStatement>,
        act: fn(&'conn Client, Ready) -> BoxFuture<'conn, QueryResult<R>>,
    ) -> BoxFuture<'conn, QueryResult<R>> {
        async move {
            self.phase.check()?;
            let ready = self.ready(bound).await?;
            self.after_queue(move |client| act(client, ready)).await
        }
        .boxed()
    }

    /// Runs a query behind what waits, and returns its rows.
    pub fn load_bound(&mut self, bound: QueryResult<BoundStatement>) -> BoxFuture<'_, QueryResult<Rows>> {
        self.run(bound, |client, ready| load(client, ready).boxed())
    }

    /// Runs two queries behind what waits, and returns the rows of each.
    pub fn load_both(
        &mut self,
        first: QueryResult<BoundStatement>,
        second: QueryResult<BoundStatement>,
    ) -> BoxFuture<'_, QueryResult<(Vec<PgRow>, Vec<PgRow>)>> {
        async move {
            self.phase.check()?;
            let (first, second) = (self.ready(first).await?, self.ready(second).await?);
            // Both are read at once: rows that nobody reads would keep the answers behind them.
            let rows = async |client, ready| load(client, ready).await?.try_collect::<Vec<_>>().await;
            self.after_queue(move |client| {
                async move {
                    let (first, second) = join(rows(client, first), rows(client, second)).await;
                    Ok((first?, second?))
                }
                .boxed()
            })
            .await
        }
        .boxed()
    }

    /// Prepares a statement if it is not prepared.
    async fn ready(&mut self, bound: QueryResult<BoundStatement>) -> QueryResult<Ready> {
        let was_spoilt = mem::replace(&mut self.is_spoilt, true);
        let ready = self.statements.ready(&self.client, bound?).await?;
        self.is_spoilt = was_spoilt;
        Ok(ready)
    }

    /// Runs a statement behind what waits, and returns how many rows it changed.
    pub fn execute_bound(&mut self, bound: QueryResult<BoundStatement>) -> BoxFuture<'_, QueryResult<usize>> {
        self.run(bound, |client, ready| execute(client, ready).boxed())
    }

    /// Runs all statements behind what waits, in their order, and without waiting in between. Returns the result of
    /// each.
    pub async fn execute_all(&mut self, all: Vec<QueryResult<BoundStatement>>) -> QueryResult<Vec<QueryResult<usize>>> {
        let mut ready = Vec::with_capacity(all.len());
        for bound in all {
            ready.push(self.ready(bound).await?);
        }
        let mut results = Vec::with_capacity(ready.len());
        while !ready.is_empty() {
            let next: Vec<_> = ready.drain(..ready.len().min(TOGETHER)).collect();
            let run = move |client| {
                let all = join_all(next.into_iter().map(move |statement| execute(client, statement)));
                all.map(Ok).boxed()
            };
            results.extend(self.after_queue(run).await?);
        }
        self.is_spoilt |= results.iter().any(Result::is_err);
        Ok(results)
    }
}

impl Drop for PgConnection {
    fn drop(&mut self) {
        self.line.abort();
    }
}

async fn load(client: &Client, ready: Ready) -> QueryResult<Rows> {
    let Ready { statement, columns, values } = ready;
    let rows = client.query_raw(&statement, values).await.map_err(error::of)?;
    Ok(rows.map_ok(move |row| PgRow::new(row, columns.clone())).map_err(error::of).boxed())
}

async fn execute(client: &Client, ready: Ready) -> QueryResult<usize> {
    let Ready { statement, values, .. } = ready;
    let count = client.execute_raw(&statement, values).await.map_err(error::of)?;
    usize::try_from(count).map_err(|error| Error::DeserializationError(error.into()))
}

/// Whether the connection broke, so that nobody knows how the transaction ended. After any other answer it has ended,
/// even if PostgreSQL refused the commit.
pub(super) fn is_lost(error: &Error) -> bool {
    use DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
    matches!(error, Error::DatabaseError(UnableToSendCommand | ClosedConnection, _))
}

impl SimpleAsyncConnection for PgConnection {
    async fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        self.after_queue(|client| client.batch_execute(sql).map_err(error::of).boxed()).await
    }
}

impl AsyncConnectionCore for PgConnection {
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Rows>>;
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type Stream<'conn, 'query> = Rows;
    type Row<'conn, 'query> = PgRow;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        self.load_bound(BoundStatement::of(&source.as_query()))
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        self.execute_bound(BoundStatement::of(&source))
    }
}

impl AsyncConnection for PgConnection {
    type TransactionManager = AnsiTransactionManager;

    /// Not used: `connect` opens connections, because it knows about TLS.
    async fn establish(_: &str) -> ConnectionResult<Self> {
        Err(ConnectionError::BadConnection("connections are opened by `db::connect`".to_owned()))
    }
    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.transaction
    }
    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut self.instrumentation
    }
    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.instrumentation = Some(Box::new(instrumentation));
    }
    fn set_prepared_statement_cache_size(&mut self, _: CacheSize) {
        // The number of statements that are kept is a constant of this module.
    }
}

impl PoolableConnection for PgConnection {
    fn is_broken(&mut self) -> bool {
        AnsiTransactionManager::is_broken_transaction_manager(self) || self.client.is_closed()
    }
}
