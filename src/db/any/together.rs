//! What goes to PostgreSQL together, and to the other databases one after the other.
use super::{Any, AnyBinds, AnyConnection, AnyQueryBuilder, AnyRow, MultiRow, PgStub};
use crate::db::pg::{BoundStatement, Failed, NoLookup, Text};
use diesel::QueryResult;
use diesel::query_builder::{Query, QueryBuilder, QueryFragment, QueryId};
use diesel::result::Error;
use diesel_async::AsyncConnectionCore;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt, TryStreamExt};
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

/// The SQL of a query in the dialect of PostgreSQL, without its values.
pub fn sql_of(query: &dyn QueryFragment<Any>) -> QueryResult<String> {
    let mut sql = AnyQueryBuilder::Pg(Default::default());
    query.to_sql(&mut sql, &Any::Pg(Default::default()))?;
    Ok(sql.finish())
}

/// The SQL of a query in the dialect of MariaDB, without its values.
pub fn mysql_of(query: &dyn QueryFragment<Any>) -> QueryResult<String> {
    let mut sql = AnyQueryBuilder::Mysql(Default::default());
    query.to_sql(&mut sql, &Any::Mysql(Default::default()))?;
    Ok(sql.finish())
}

/// The SQL and the values of a query, as PostgreSQL gets them.
pub fn bound<Q: QueryFragment<Any> + QueryId>(query: &Q) -> QueryResult<BoundStatement> {
    bound_as(query, Q::query_id())
}

/// As [`bound`], for a query whose type is erased. `id` is what [`QueryId`] returns for its type.
pub fn bound_as(query: &dyn QueryFragment<Any>, id: Option<TypeId>) -> QueryResult<BoundStatement> {
    use diesel::internal::derives::multiconnection::MultiConnectionHelper;
    let (text, backend) = (text_of(query, id)?, Any::Pg(Default::default()));
    let mut binds = AnyBinds::Pg(Default::default());
    query.collect_binds(&mut binds, PgStub::to_any(&mut NoLookup), &backend)?;
    match binds {
        AnyBinds::Pg(binds) => BoundStatement::new(text, &binds.metadata, binds.binds),
        AnyBinds::Mysql(_) | AnyBinds::Sqlite(_) => Err(Error::SerializationError("values of another database".into())),
    }
}

/// The SQL of queries with a static [`QueryId`], by that id. Such SQL depends on nothing but the type of the query. To
/// render it anew would take a twentieth of a small request's time.
static TEXTS: LazyLock<RwLock<HashMap<TypeId, Text>>> = LazyLock::new(RwLock::default);

fn text_of(query: &dyn QueryFragment<Any>, id: Option<TypeId>) -> QueryResult<Text> {
    let print = || {
        let is_one_of_few = query.is_safe_to_cache_prepared(&Any::Pg(Default::default()))?;
        QueryResult::Ok(Text { sql: sql_of(query)?.into(), is_one_of_few })
    };
    let Some(id) = id else { return print() };
    let known = TEXTS.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    if let Some(known) = known {
        // If two queries shared an id but differed in their SQL, the wrong statement would run. Debug builds, and so the
        // tests, check that.
        debug_assert_eq!(Ok(&known), print().as_ref(), "the text of a query with an id depends on its values");
        return Ok(known);
    }
    let text = print()?;
    TEXTS.write().unwrap_or_else(PoisonError::into_inner).insert(id, text.clone());
    Ok(text)
}

impl AnyConnection {
    /// Loads the rows of two queries. On PostgreSQL, both are sent together.
    pub(in crate::db) fn load_both<'conn, A, B>(
        &'conn mut self,
        first: A,
        second: B,
    ) -> BoxFuture<'conn, QueryResult<(Vec<AnyRow>, Vec<AnyRow>)>>
    where
        A: Query + QueryFragment<Any> + QueryId + Send + 'static,
        B: Query + QueryFragment<Any> + QueryId + Send + 'static,
    {
        if let Self::Pg(conn) = self {
            let rows = |rows: Vec<_>| rows.into_iter().map(|row| AnyRow(MultiRow::Pg(row))).collect();
            let both = conn.load_both(bound(&first), bound(&second));
            return both.map_ok(move |(first, second)| (rows(first), rows(second))).boxed();
        }
        async move {
            let first = self.load(first).await?.try_collect().await?;
            Ok((first, self.load(second).await?.try_collect().await?))
        }
        .boxed()
    }

    /// Queues a change that is sent with the next statement. Only PostgreSQL's connection has a queue.
    pub(in crate::db) async fn queue(&mut self, change: BoundStatement) -> QueryResult<()> {
        match self {
            Self::Pg(conn) => conn.queue(change).await,
            Self::Mysql(_) | Self::Sqlite(..) => Err(Error::QueryBuilderError("this database has no queue".into())),
        }
    }

    /// The first queued change of the lease that has failed.
    pub(in crate::db) fn take_failed(&mut self) -> Option<Failed> {
        let Self::Pg(conn) = self else { return None };
        conn.take_failed()
    }

    /// Runs all statements of a transaction, in their order, and on PostgreSQL without waiting in between. Returns the
    /// result of each, or those up to the first error. The statements after an error have no effect.
    pub(in crate::db) fn execute_all<'conn, T>(
        &'conn mut self,
        statements: Vec<T>,
    ) -> BoxFuture<'conn, QueryResult<Vec<QueryResult<usize>>>>
    where
        T: QueryFragment<Any> + QueryId + Send + 'conn,
    {
        if let Self::Pg(conn) = self {
            return conn.execute_all(statements.iter().map(bound).collect()).boxed();
        }
        async move {
            let mut results = Vec::with_capacity(statements.len());
            for statement in statements {
                let result = self.execute_returning_count(statement).await;
                let has_failed = result.is_err();
                results.push(result);
                if has_failed {
                    break; // on MariaDB and SQLite, those after it would have an effect
                }
            }
            Ok(results)
        }
        .boxed()
    }
}
