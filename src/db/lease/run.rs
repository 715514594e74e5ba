//! Queries run on a lease and on no other connection.
//!
//! These traits replace `diesel_async::RunQueryDsl`, which takes any connection. A query that reads runs on a
//! [`ReadTx`], and therefore on a [`WriteTx`] too. A statement that writes runs only on a [`WriteTx`]. Outside of `db`
//! it must be part of a change, or give a reason why it is not: see [`WriteTx::changed`](super::WriteTx::changed).
use super::{ReadTx, WriteTx};
use crate::base::pooler::Pooler;
use crate::db::AnyConnection;
use crate::db::any::{Any, AnyRow};
use crate::db::change::{Erased, Errors};
use crate::db::pg::{BoundStatement, Plans};
use diesel::QueryResult;
use diesel::dsl::Limit;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::query_dsl::methods::LimitDsl;
use diesel_async::AsyncConnectionCore;
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::return_futures::{GetResult, LoadFuture};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt};

/// Runs queries that read. The trait has the name of Diesel's own, so that importing this one hides the other.
pub trait RunQueryDsl: Sized {
    /// Returns all rows.
    fn load<'query, 'conn, U>(self, tx: &'conn mut ReadTx) -> LoadFuture<'conn, 'query, Self, AnyConnection, U>
    where
        U: Send,
        Self: LoadQuery<'query, AnyConnection, U> + 'query,
    {
        diesel_async::RunQueryDsl::load(self, tx.conn())
    }

    /// Returns all rows, as [`Self::load`] does. By convention, this one is called on queries that lock, to which no
    /// further condition can be added.
    fn get_results<'query, 'conn, U>(self, tx: &'conn mut ReadTx) -> LoadFuture<'conn, 'query, Self, AnyConnection, U>
    where
        U: Send,
        Self: LoadQuery<'query, AnyConnection, U> + 'query,
    {
        diesel_async::RunQueryDsl::get_results(self, tx.conn())
    }

    /// Returns the row, without a `LIMIT` in the statement. Fails with `NotFound` if there is none.
    fn get_result<'query, 'conn, U>(self, tx: &'conn mut ReadTx) -> GetResult<'conn, 'query, Self, AnyConnection, U>
    where
        U: Send + 'conn,
        Self: LoadQuery<'query, AnyConnection, U> + 'query,
    {
        diesel_async::RunQueryDsl::get_result(self, tx.conn())
    }

    /// Returns the first row. Fails with `NotFound` if there is none.
    fn first<'query, 'conn, U>(self, tx: &'conn mut ReadTx) -> GetResult<'conn, 'query, Limit<Self>, AnyConnection, U>
    where
        U: Send + 'conn,
        Self: LimitDsl,
        Limit<Self>: LoadQuery<'query, AnyConnection, U> + Send + 'query,
    {
        diesel_async::RunQueryDsl::first(self, tx.conn())
    }
}

impl<Q> RunQueryDsl for Q {}

impl ReadTx {
    /// Returns all rows of a query, before they are read.
    pub(in crate::db) fn rows<Q>(&mut self, query: Q) -> BoxFuture<'_, QueryResult<Vec<AnyRow>>>
    where
        Q: Query + QueryFragment<Any> + QueryId + Send + 'static,
    {
        async move { AsyncConnectionCore::load(self.conn(), query).await?.try_collect().await }.boxed()
    }

    /// Whether the rows of a page are not filtered.
    pub(in crate::db) fn is_whole_list(&self) -> bool {
        matches!(self.cost, super::Cost::WholeList | super::Cost::WholeExport)
    }

    /// Finds out what a list needs to know of the database: how it folds case, and its indexes. Only the first list asks.
    pub(super) async fn learn(&mut self) -> crate::base::error::Result<()> {
        match self.cost {
            super::Cost::Ordinary => Ok(()),
            super::Cost::WholeList | super::Cost::List | super::Cost::Long | super::Cost::WholeExport => {
                self.find_folding().await?;
                self.find_indexes().await
            }
        }
    }

    /// Has PostgreSQL plan the statements from here on for their values, as those that count rows need it. The setting
    /// goes out with the next statement. It ends with the lease.
    pub(in crate::db) async fn plan_anew(&mut self) -> QueryResult<()> {
        match (self.cost.plans(), self.target.pooler(), self.conn()) {
            (Plans::KeptInOrder, Pooler::None, AnyConnection::Pg(conn)) => {
                conn.queue(BoundStatement::plan_anew()).await
            }
            _ => Ok(()),
        }
    }

    /// Returns all rows of two queries, which are sent together where that is possible.
    pub(in crate::db) fn rows_of_both<A, B>(
        &mut self,
        first: A,
        second: B,
    ) -> BoxFuture<'_, QueryResult<(Vec<AnyRow>, Vec<AnyRow>)>>
    where
        A: Query + QueryFragment<Any> + QueryId + Send + 'static,
        B: Query + QueryFragment<Any> + QueryId + Send + 'static,
    {
        self.conn().load_both(first, second)
    }
}

/// Runs statements that write, and returns how many rows they changed. Code outside of `db` can't import this trait.
pub trait Execute: Sized {
    fn execute<'query, 'conn>(
        self,
        tx: &'conn mut WriteTx,
    ) -> <AnyConnection as AsyncConnectionCore>::ExecuteFuture<'conn, 'query>
    where
        Self: ExecuteDsl<AnyConnection> + 'query,
    {
        diesel_async::RunQueryDsl::execute(self, tx.read.conn())
    }
}

impl<Q> Execute for Q {}

impl WriteTx {
    /// Whether changes can wait until the next statement is sent.
    pub(in crate::db) fn can_queue(&mut self) -> bool {
        self.target.pooler() == Pooler::None && self.is_postgres()
    }

    /// Queues a change, which is sent with the next statement or with the end of the transaction. If it fails, so does
    /// the transaction, with the error that `errors` has for it. Only if [`Self::can_queue`].
    pub(in crate::db) async fn queue(&mut self, statement: Erased<'_>, errors: Errors) -> QueryResult<()> {
        let change = statement.bound()?;
        drop(statement);
        self.note_change_in(change.sql());
        self.read.queued.push(errors);
        self.read.conn().queue(change).await
    }

    /// Runs all statements, in their order. Returns the result of each, or those up to the first error.
    pub(in crate::db) async fn execute_all(
        &mut self,
        statements: Vec<Erased<'static>>,
    ) -> QueryResult<Vec<QueryResult<usize>>> {
        self.read.conn().execute_all(statements).await
    }
}
