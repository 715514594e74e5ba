//! Queries run on a lease and on no other connection.
//!
//! These traits replace `diesel_async::RunQueryDsl`, which takes any connection. A query that reads runs on a
//! [`ReadTx`], and therefore on a [`WriteTx`] too. A statement that writes runs only on a [`WriteTx`]. Outside of `db`
//! it must be part of a change, or give a reason why it is not: see [`WriteTx::changed`](super::WriteTx::changed).
use super::{ReadTx, WriteTx};
use crate::db::AnyConnection;
use crate::db::change::Erased;
use diesel::QueryResult;
use diesel::dsl::Limit;
use diesel::query_dsl::methods::LimitDsl;
use diesel_async::AsyncConnectionCore;
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::return_futures::{GetResult, LoadFuture};

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
    /// Runs all statements, in their order. Returns the result of each, or those up to the first error.
    pub(in crate::db) async fn execute_all(
        &mut self,
        statements: Vec<Erased<'static>>,
    ) -> QueryResult<Vec<QueryResult<usize>>> {
        self.read.conn().execute_all(statements).await
    }
}
