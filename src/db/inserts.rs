//! Inserts of several rows.
use super::{Any, Statement};
use diesel::insertable::InsertValues;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId, ValuesClause};

/// One `INSERT` of one or more rows. Diesel's own does not support SQLite behind an async connection. Every row must
/// set the same columns: `treat_none_as_default_value = false`.
pub fn insert_many<'q, T, R, V>(into: T, rows: impl IntoIterator<Item = R>) -> Statement<'q>
where
    T: Table + Send + 'static,
    T::FromClause: QueryFragment<Any> + Send,
    R: Insertable<T, Values = ValuesClause<V, T>>,
    V: QueryFragment<Any> + InsertValues<Any, T> + QueryId + Send + 'q,
{
    let all = InsertMany { into: into.from_clause(), rows: rows.into_iter().map(R::values).collect() };
    match &all.rows[..] {
        [_] => Statement::of(InsertOne(all)),
        _ => Statement::of(all),
    }
}

struct InsertMany<T: QuerySource, V> {
    into: T::FromClause,
    rows: Vec<ValuesClause<V, T>>,
}

/// The statement is prepared for each number of rows.
impl<T: QuerySource, V> QueryId for InsertMany<T, V> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// The same with exactly one row, so that its text depends on its type alone.
struct InsertOne<T: QuerySource, V>(InsertMany<T, V>);

impl<T: Table + 'static, V: QueryId> QueryId for InsertOne<T, V> {
    type QueryId = InsertOne<T, V::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = V::HAS_STATIC_QUERY_ID;
}

impl<T: QuerySource, V> QueryFragment<Any> for InsertOne<T, V>
where
    InsertMany<T, V>: QueryFragment<Any>,
{
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<T, V> QueryFragment<Any> for InsertMany<T, V>
where
    T: Table,
    T::FromClause: QueryFragment<Any>,
    V: QueryFragment<Any> + InsertValues<Any, T>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        if self.rows.len() != 1 {
            out.unsafe_to_cache_prepared(); // it is one of many texts
        }
        for (index, row) in self.rows.iter().enumerate() {
            if index == 0 {
                out.push_sql("INSERT INTO ");
                self.into.walk_ast(out.reborrow())?;
                out.push_sql(" (");
                row.values.column_names(out.reborrow())?;
                out.push_sql(") VALUES (");
            } else {
                out.push_sql(", (");
            }
            row.values.walk_ast(out.reborrow())?;
            out.push_sql(")");
        }
        Ok(())
    }
}
