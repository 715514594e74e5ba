//! How queries are run: on a lease, and on nothing else.
//!
//! These traits take the place of `diesel_async::RunQueryDsl`, which takes any connection. A query that reads runs on a
//! [`ReadTx`], and so on a [`WriteTx`] too. A statement that writes runs on a [`WriteTx`] alone, and outside of `db` only as a
//! part of a change, or with a reason why it is none: see [`WriteTx::changed`](super::WriteTx::changed).
use super::{ReadTx, WriteTx};
use crate::db::AnyConnection;
use diesel::dsl::Limit;
use diesel::query_dsl::methods::LimitDsl;
use diesel_async::AsyncConnectionCore;
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::return_futures::{GetResult, LoadFuture};

/// Reads. The name is that of diesel's own trait, so that importing this one hides that one.
pub trait RunQueryDsl: Sized {
    /// All rows.
    fn load<'query, 'conn, U>(self, tx: &'conn mut ReadTx) -> LoadFuture<'conn, 'query, Self, AnyConnection, U>
    where
        U: Send,
        Self: LoadQuery<'query, AnyConnection, U> + 'query,
    {
        diesel_async::RunQueryDsl::load(self, tx.conn())
    }

    /// All rows, as [`Self::load`]; it also stands behind a query that locks, which has no more conditions to come.
    fn get_results<'query, 'conn, U>(self, tx: &'conn mut ReadTx) -> LoadFuture<'conn, 'query, Self, AnyConnection, U>
    where
        U: Send,
        Self: LoadQuery<'query, AnyConnection, U> + 'query,
    {
        diesel_async::RunQueryDsl::get_results(self, tx.conn())
    }

    /// The row, without a `LIMIT`. `NotFound` if there is none.
    fn get_result<'query, 'conn, U>(self, tx: &'conn mut ReadTx) -> GetResult<'conn, 'query, Self, AnyConnection, U>
    where
        U: Send + 'conn,
        Self: LoadQuery<'query, AnyConnection, U> + 'query,
    {
        diesel_async::RunQueryDsl::get_result(self, tx.conn())
    }

    /// The first row. `NotFound` if there is none.
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

/// Writes: how many rows the statement changed. Slices don't see this trait.
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
