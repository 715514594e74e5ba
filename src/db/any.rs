//! One async connection type over three databases.
//!
//! `#[derive(MultiConnection)]` generates the *backend* (`MultiBackend`: query builder, bind collector, rows), but only
//! for diesel's blocking connections. It is given three uninhabited stand-ins, which have the row types of the async
//! drivers. The generated backend can therefore be driven by diesel-async, and neither libpq nor libmysqlclient is
//! linked.
mod held;
mod together;

pub use held::{KnownIndexes, MARK, order_of};
pub use together::{bound, bound_as, mysql_of, sql_of};

use super::deadline::Deadline;
use super::pg::{NoLookup, PgConnection};
use diesel::connection::{CacheSize, Instrumentation, TransactionManagerStatus};
use diesel::internal::derives::multiconnection::{AstPassHelper, PartialRow, RowSealed};
use diesel::query_builder::{AsQuery, AstPass, Query, QueryBuilder, QueryFragment, QueryId};
use diesel::row::{Row, RowIndex};
use diesel::{ConnectionResult, QueryResult, SqliteConnection};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{
    AsyncConnection, AsyncConnectionCore, AsyncMysqlConnection, SimpleAsyncConnection, TransactionManager,
};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use held::held;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

pub type AsyncSqliteConnection = SyncConnectionWrapper<SqliteConnection>;

#[expect(clippy::large_enum_variant, reason = "connections live in the pool and are not moved")]
pub enum AnyConnection {
    Pg(PgConnection),
    Mysql(AsyncMysqlConnection),
    /// The connection and the deadline of its statements, which SQLite itself does not have.
    Sqlite(AsyncSqliteConnection, Deadline),
}

use backend::MultiRow;
pub use backend::{MultiBackend as Any, MultiRawValue as AnyValue};

#[expect(clippy::disallowed_methods, reason = "the derive runs SQL")]
mod backend {
    use super::{AsyncConnectionCore, AsyncMysqlConnection, AsyncSqliteConnection, NoLookup, PgConnection};
    use diesel::connection::{
        AnsiTransactionManager, CacheSize, Connection, Instrumentation, LoadConnection, SimpleConnection,
    };
    use diesel::expression::QueryMetadata;
    use diesel::internal::derives::multiconnection::{ConnectionSealed, MultiConnectionHelper};
    use diesel::migration::MigrationConnection;
    use diesel::pg::PgMetadataLookup;
    use diesel::query_builder::{Query, QueryFragment, QueryId};
    use diesel::sql_types::TypeMetadata;
    use diesel::{ConnectionError, ConnectionResult, QueryResult};

    #[derive(diesel::MultiConnection)]
    #[expect(dead_code, reason = "the derive writes the backend from it; nobody connects with it")]
    pub enum Never {
        Pg(PgStub),
        Mysql(MysqlStub),
        Sqlite(SqliteStub),
    }

    macro_rules! stub {
        ($name:ident, $backend:ty, $async:ty, |$to:ident| $to_any:expr, |$from:ident| $from_any:expr) => {
            pub enum $name {}
            impl ConnectionSealed for $name {}
            impl SimpleConnection for $name {
                fn batch_execute(&mut self, _: &str) -> QueryResult<()> {
                    match *self {}
                }
            }
            impl Connection for $name {
                type Backend = $backend;
                type TransactionManager = AnsiTransactionManager;
                fn establish(_: &str) -> ConnectionResult<Self> {
                    Err(ConnectionError::BadConnection("stand-in".into()))
                }
                fn execute_returning_count<T>(&mut self, _: &T) -> QueryResult<usize>
                where
                    T: QueryFragment<Self::Backend> + QueryId,
                {
                    match *self {}
                }
                fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
                    match *self {}
                }
                fn instrumentation(&mut self) -> &mut dyn Instrumentation {
                    match *self {}
                }
                fn set_instrumentation(&mut self, _: impl Instrumentation) {
                    match *self {}
                }
                fn set_prepared_statement_cache_size(&mut self, _: CacheSize) {
                    match *self {}
                }
            }
            impl LoadConnection for $name {
                type Cursor<'conn, 'query> = std::iter::Empty<QueryResult<Self::Row<'conn, 'query>>>;
                type Row<'conn, 'query> = <$async as AsyncConnectionCore>::Row<'conn, 'query>;
                fn load<'conn, 'query, T>(&'conn mut self, _: T) -> QueryResult<Self::Cursor<'conn, 'query>>
                where
                    T: Query + QueryFragment<Self::Backend> + QueryId + 'query,
                    Self::Backend: QueryMetadata<T::SqlType>,
                {
                    match *self {}
                }
            }
            impl MigrationConnection for $name {
                fn setup(&mut self) -> QueryResult<usize> {
                    match *self {}
                }
            }
            impl MultiConnectionHelper for $name {
                fn to_any<'a>($to: &mut <$backend as TypeMetadata>::MetadataLookup) -> &mut (dyn std::any::Any + 'a) {
                    $to_any
                }
                fn from_any($from: &mut dyn std::any::Any) -> Option<&mut <$backend as TypeMetadata>::MetadataLookup> {
                    $from_any
                }
            }
        };
    }
    stub!(
        PgStub,
        diesel::pg::Pg,
        PgConnection,
        |_lookup| Box::leak(Box::new(NoLookup)), // zero-sized: nothing is allocated
        |any| any.downcast_mut::<NoLookup>().map(|l| l as &mut dyn PgMetadataLookup)
    );
    stub!(MysqlStub, diesel::mysql::Mysql, AsyncMysqlConnection, |lookup| lookup, |any| any.downcast_mut());
    stub!(SqliteStub, diesel::sqlite::Sqlite, AsyncSqliteConnection, |lookup| lookup, |any| any.downcast_mut());
}
use backend::{MysqlStub, PgStub, SqliteStub};

type AnyQueryBuilder = <Any as diesel::backend::Backend>::QueryBuilder;
type AnyBinds<'a> = <Any as diesel::backend::Backend>::BindCollector<'a>;

/// A query that was written for [`Any`] and is passed to one driver as a query for its own backend.
///
/// The query's type is erased, so that the drivers' code is compiled once and not once per query. Prepared statements
/// are therefore cached by their SQL.
struct Lowered<'q, B> {
    query: Box<dyn QueryFragment<Any> + 'q>,
    backend: Any,
    target: PhantomData<fn() -> B>,
}

impl<B> QueryId for Lowered<'_, B> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
impl<B> Query for Lowered<'_, B> {
    type SqlType = diesel::sql_types::Untyped;
}

impl<B> Lowered<'_, B> {
    /// Whether a statement that may read many rows has a deadline. On SQLite the only deadline is
    /// [`super::deadline::InTime`]. The statements that may read many rows are lists, which have an offset, and
    /// searches.
    fn looks_at_deadline(&self, sql: &str) -> bool {
        let is_list = sql.starts_with("SELECT")
            && (sql.contains(" OFFSET ") || (sql.contains("tenant_id") && sql.contains(" LIKE ")));
        !matches!(self.backend, Any::Sqlite(_)) || !is_list || sql.contains("in_time()")
    }
}

macro_rules! lowered {
    ($variant:ident, $stub:ty, $backend:ty) => {
        impl<'q> Lowered<'q, $backend> {
            pub(super) fn $variant(query: impl QueryFragment<Any> + 'q) -> Self {
                let backend = Any::$variant(Default::default());
                Self { query: Box::new(query), backend, target: PhantomData }
            }
        }
        impl QueryFragment<$backend> for Lowered<'_, $backend> {
            fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, $backend>) -> QueryResult<()> {
                let mut sql = AnyQueryBuilder::$variant(Default::default());
                self.query.to_sql(&mut sql, &self.backend)?;
                let sql = held(sql.finish());
                debug_assert!(self.looks_at_deadline(&sql), "a list without `InTime`: {sql}");
                pass.push_sql(&sql);
                if !self.query.is_safe_to_cache_prepared(&self.backend)? {
                    pass.unsafe_to_cache_prepared();
                }
                if let Some((outer, lookup)) = pass.bind_collector() {
                    use diesel::internal::derives::multiconnection::MultiConnectionHelper;
                    let mut binds = AnyBinds::$variant(Default::default());
                    let lookup = <$stub>::to_any(lookup);
                    self.query.collect_binds(&mut binds, lookup, &self.backend)?;
                    if let AnyBinds::$variant(binds) = binds {
                        *outer = binds;
                    }
                }
                if let Some((formatter, _)) = pass.debug_binds() {
                    self.query.walk_ast(AstPass::<Any>::collect_debug_binds_pass(formatter, &self.backend))?;
                }
                Ok(())
            }
        }
    };
}
#[expect(non_snake_case, reason = "named as the variants are")]
mod lower {
    use super::*;
    lowered!(Mysql, MysqlStub, diesel::mysql::Mysql);
    lowered!(Sqlite, SqliteStub, diesel::sqlite::Sqlite);
}

/// Evaluates an expression with the connection of any variant.
macro_rules! each {
    ($self:expr, $c:ident => $body:expr) => {
        match $self {
            AnyConnection::Pg($c) => $body,
            AnyConnection::Mysql($c) => $body,
            AnyConnection::Sqlite($c, _) => $body,
        }
    };
}

#[expect(clippy::disallowed_methods, reason = "this is where SQL goes through")]
impl SimpleAsyncConnection for AnyConnection {
    async fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        each!(self, c => c.batch_execute(sql).await)
    }
}

/// A row of any driver. The rows of all three drivers own their data, so that this type has no lifetime. With a
/// lifetime, async closures over a connection would not be `Send`.
pub struct AnyRow(MultiRow<'static, 'static>);

impl RowSealed for AnyRow {}
impl RowIndex<usize> for AnyRow {
    fn idx(&self, idx: usize) -> Option<usize> {
        self.0.idx(idx)
    }
}
impl<'a> RowIndex<&'a str> for AnyRow {
    fn idx(&self, idx: &'a str) -> Option<usize> {
        self.0.idx(idx)
    }
}
impl<'conn> Row<'conn, Any> for AnyRow {
    type Field<'a>
        = <MultiRow<'static, 'static> as Row<'static, Any>>::Field<'a>
    where
        'conn: 'a,
        Self: 'a;
    type InnerPartialRow = Self;

    fn field_count(&self) -> usize {
        self.0.field_count()
    }
    fn get<'b, I>(&'b self, idx: I) -> Option<Self::Field<'b>>
    where
        'conn: 'b,
        Self: RowIndex<I>,
    {
        self.0.get(self.idx(idx)?)
    }
    fn partial_row(&self, range: std::ops::Range<usize>) -> PartialRow<'_, Self> {
        PartialRow::new(self, range)
    }
}

type Rows<'conn> = BoxStream<'conn, QueryResult<AnyRow>>;

/// The futures of the network drivers borrow the connection, and the futures of SQLite borrow the query.
pub enum AnyFuture<'conn, 'query, T> {
    Conn(BoxFuture<'conn, QueryResult<T>>),
    Query(BoxFuture<'query, QueryResult<T>>),
}

impl<T> Future for AnyFuture<'_, '_, T> {
    type Output = QueryResult<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Conn(future) => future.as_mut().poll(cx),
            Self::Query(future) => future.as_mut().poll(cx),
        }
    }
}

impl AsyncConnectionCore for AnyConnection {
    type ExecuteFuture<'conn, 'query> = AnyFuture<'conn, 'query, usize>;
    type LoadFuture<'conn, 'query> = AnyFuture<'conn, 'query, Rows<'conn>>;
    type Stream<'conn, 'query> = Rows<'conn>;
    type Row<'conn, 'query> = AnyRow;
    type Backend = Any;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Any> + QueryId + 'query,
    {
        let query = source.as_query();
        match self {
            Self::Pg(c) => {
                let rows = c.load_bound(bound(&query));
                AnyFuture::Conn(async { Ok(rows.await?.map_ok(|row| AnyRow(MultiRow::Pg(row))).boxed()) }.boxed())
            }
            Self::Mysql(c) => {
                let rows = c.load(Lowered::Mysql(query));
                AnyFuture::Conn(async { Ok(rows.await?.map_ok(|row| AnyRow(MultiRow::Mysql(row))).boxed()) }.boxed())
            }
            Self::Sqlite(c, _) => {
                let rows = c.load(Lowered::Sqlite(query));
                AnyFuture::Query(async { Ok(rows.await?.map_ok(|row| AnyRow(MultiRow::Sqlite(row))).boxed()) }.boxed())
            }
        }
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Any> + QueryId + 'query,
    {
        match self {
            Self::Pg(c) => AnyFuture::Conn(c.execute_bound(bound(&source))),
            Self::Mysql(c) => AnyFuture::Conn(c.execute_returning_count(Lowered::Mysql(source))),
            Self::Sqlite(c, _) => AnyFuture::Query(c.execute_returning_count(Lowered::Sqlite(source))),
        }
    }
}

impl AsyncConnection for AnyConnection {
    type TransactionManager = AnyTransactions;

    async fn establish(url: &str) -> ConnectionResult<Self> {
        let target = super::connect::Target::parse(url, None)
            .map_err(|error| diesel::ConnectionError::InvalidConnectionUrl(format!("{error:#}")))?;
        super::connect::establish(&target).await
    }
    fn transaction_state(&mut self) -> &mut AnyConnection {
        self
    }
    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        each!(self, c => c.instrumentation())
    }
    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        each!(self, c => c.set_instrumentation(instrumentation))
    }
    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        each!(self, c => c.set_prepared_statement_cache_size(size))
    }
}

pub struct AnyTransactions;

/// Calls a method of the inner connection's transaction manager.
macro_rules! manager {
    ($c:ident, $method:ident) => {{
        fn call<C: AsyncConnection>(c: &mut C) -> impl Future<Output = QueryResult<()>> + Send {
            C::TransactionManager::$method(c)
        }
        call($c)
    }};
}

impl TransactionManager<AnyConnection> for AnyTransactions {
    type TransactionStateData = AnyConnection;

    async fn begin_transaction(conn: &mut AnyConnection) -> QueryResult<()> {
        let nested = matches!(Self::transaction_manager_status_mut(conn).transaction_depth(), Ok(Some(_)));
        match conn {
            AnyConnection::Pg(c) => manager!(c, begin_transaction).await,
            AnyConnection::Mysql(c) => manager!(c, begin_transaction).await,
            AnyConnection::Sqlite(c, _) if nested => manager!(c, begin_transaction).await,
            // In SQLite, a deferred transaction that reads before it writes can fail with SQLITE_BUSY in spite of any
            // busy timeout. The transaction therefore takes the write lock at its beginning.
            AnyConnection::Sqlite(c, _) => {
                c.spawn_blocking(|c| {
                    diesel::connection::AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")
                })
                .await
            }
        }
    }
    async fn rollback_transaction(conn: &mut AnyConnection) -> QueryResult<()> {
        each!(conn, c => manager!(c, rollback_transaction).await)
    }
    async fn commit_transaction(conn: &mut AnyConnection) -> QueryResult<()> {
        each!(conn, c => manager!(c, commit_transaction).await)
    }
    fn transaction_manager_status_mut(conn: &mut AnyConnection) -> &mut TransactionManagerStatus {
        each!(conn, c => status(c))
    }
    fn is_broken_transaction_manager(conn: &mut AnyConnection) -> bool {
        fn broken<C: AsyncConnection>(c: &mut C) -> bool {
            C::TransactionManager::is_broken_transaction_manager(c)
        }
        each!(conn, c => broken(c))
    }
}

fn status<C: AsyncConnection>(c: &mut C) -> &mut TransactionManagerStatus {
    C::TransactionManager::transaction_manager_status_mut(c)
}
impl PoolableConnection for AnyConnection {
    fn is_broken(&mut self) -> bool {
        each!(self, c => c.is_broken())
    }
}
