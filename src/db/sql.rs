//! The few pieces of SQL the databases do not share, each written once.
use super::any::Any;
use super::types::{Day, JsonList};
use chrono::NaiveDate;
use diesel::expression::{AppearsOnTable, AsExpression, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::insertable::InsertValues;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId, ValuesClause};
use diesel::sql_types::{Bool, Date, Nullable, Text};

diesel::define_sql_function! {
    /// Simple case folding; Unicode-aware on SQLite because `establish` replaces it there.
    fn lower(text: Text) -> Text;
}

/// A `LIKE` pattern for "contains this text", with the wildcards in it taken literally.
/// `!` escapes, as MariaDB would need `\` doubled.
pub fn contains(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Whether a JSON list of strings holds a string.
#[derive(Clone, Debug, QueryId)]
pub struct HasTag<C, T> {
    list: C,
    tag: T,
}

pub trait JsonListMethods: Expression<SqlType = JsonList> + Sized {
    fn has<T: AsExpression<Text>>(self, tag: T) -> HasTag<Self, T::Expression> {
        HasTag { list: self, tag: tag.as_expression() }
    }
}
impl<E: Expression<SqlType = JsonList>> JsonListMethods for E {}

impl<C, T> Expression for HasTag<C, T> {
    type SqlType = Bool;
}
impl<C, T, QS> AppearsOnTable<QS> for HasTag<C, T>
where
    C: AppearsOnTable<QS>,
    T: AppearsOnTable<QS>,
    Self: Expression,
{
}
impl<C, T, QS> SelectableExpression<QS> for HasTag<C, T>
where
    C: SelectableExpression<QS>,
    T: SelectableExpression<QS>,
    Self: AppearsOnTable<QS>,
{
}
impl<C, T, G> ValidGrouping<G> for HasTag<C, T> {
    type IsAggregate = is_aggregate::Never;
}

impl<C: QueryFragment<Any>, T: QueryFragment<Any>> QueryFragment<Any> for HasTag<C, T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        let (before, between, after) = match out.backend() {
            Any::Pg(_) => ("(", " @> to_jsonb(ARRAY[", "::text]))"),
            Any::Mysql(_) => ("JSON_CONTAINS(", ", JSON_QUOTE(", "))"),
            Any::Sqlite(_) => ("EXISTS (SELECT 1 FROM json_each(", ") WHERE value = ", ")"),
        };
        out.push_sql(before);
        self.list.walk_ast(out.reborrow())?;
        out.push_sql(between);
        self.tag.walk_ast(out.reborrow())?;
        out.push_sql(after);
        Ok(())
    }
}

diesel::define_sql_function! {
    /// The text, or another one where there is none.
    #[sql_name = "coalesce"]
    fn text_or(text: Nullable<Text>, other: Text) -> Text;
}

/// Letter by letter, as the servers do it: `str::to_lowercase` looks at what follows a Σ.
pub fn lowered(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// Puts the rows it finds under lock until the transaction ends. SQLite's write lease already locks the whole file.
#[derive(QueryId)]
pub struct ForUpdate<Q>(Q, &'static str);

pub fn for_update<Q: diesel::query_builder::AsQuery>(query: Q) -> ForUpdate<Q::Query> {
    ForUpdate(query.as_query(), " FOR UPDATE")
}

/// The same, but passes over rows that others have under lock.
pub fn skip_locked<Q: diesel::query_builder::AsQuery>(query: Q) -> Uncached<ForUpdate<Q::Query>> {
    Uncached(ForUpdate(query.as_query(), " FOR UPDATE SKIP LOCKED")) // its type does not tell it from the other one
}

impl<Q: diesel::query_builder::Query> diesel::query_builder::Query for ForUpdate<Q> {
    type SqlType = Q::SqlType;
}

impl<Q: QueryFragment<Any>> QueryFragment<Any> for ForUpdate<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        if !matches!(out.backend(), Any::Sqlite(_)) {
            out.push_sql(self.1);
        }
        Ok(())
    }
}

/// Keeps the rows it finds from being changed until the transaction ends; others may keep them too.
#[derive(QueryId)]
pub struct ForShare<Q>(Q);

pub fn for_share<Q: diesel::query_builder::AsQuery>(query: Q) -> ForShare<Q::Query> {
    ForShare(query.as_query())
}

impl<Q: diesel::query_builder::Query> diesel::query_builder::Query for ForShare<Q> {
    type SqlType = Q::SqlType;
}

impl<Q: QueryFragment<Any>> QueryFragment<Any> for ForShare<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(match out.backend() {
            Any::Pg(_) => " FOR SHARE",
            Any::Mysql(_) => " LOCK IN SHARE MODE",
            Any::Sqlite(_) => "",
        });
        Ok(())
    }
}

/// A query whose text depends on what clients ask for: prepared anew each time, as there are too many of them to keep.
pub struct Uncached<Q>(Q);

pub fn uncached<Q: diesel::query_builder::AsQuery>(query: Q) -> Uncached<Q::Query> {
    Uncached(query.as_query())
}

impl<Q> QueryId for Uncached<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
impl<Q: diesel::query_builder::Query> diesel::query_builder::Query for Uncached<Q> {
    type SqlType = Q::SqlType;
}
impl<Q: QueryFragment<Any>> QueryFragment<Any> for Uncached<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        self.0.walk_ast(out)
    }
}

/// One `INSERT` of many rows, and not of none: diesel's own knows no SQLite behind an async connection. Every row must set
/// the same columns: `treat_none_as_default_value = false`.
pub struct InsertMany<T: QuerySource, V> {
    into: T::FromClause,
    rows: Vec<ValuesClause<V, T>>,
}

pub fn insert_many<T, R, V>(into: T, rows: impl IntoIterator<Item = R>) -> InsertMany<T, V>
where
    T: QuerySource,
    R: Insertable<T, Values = ValuesClause<V, T>>,
{
    InsertMany { into: into.from_clause(), rows: rows.into_iter().map(R::values).collect() }
}

/// Prepared once for each number of rows, of which callers have few.
impl<T: QuerySource, V> QueryId for InsertMany<T, V> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T, V> QueryFragment<Any> for InsertMany<T, V>
where
    T: Table,
    T::FromClause: QueryFragment<Any>,
    V: QueryFragment<Any> + InsertValues<Any, T>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
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

/// Where rows without a day stand in an order by day: last.
pub const NO_DAY: Day = match NaiveDate::from_ymd_opt(9999, 12, 31) {
    Some(day) => Day(day),
    None => unreachable!(),
};

diesel::define_sql_function! {
    #[sql_name = "coalesce"]
    fn coalesce_day(day: Nullable<Date>, other: Date) -> Date;
}

/// [`NO_DAY`] written out, as an index on the expression has it.
#[derive(Debug, Clone, Copy, QueryId, ValidGrouping)]
pub struct NoDay;

impl Expression for NoDay {
    type SqlType = Date;
}
impl<QS> AppearsOnTable<QS> for NoDay {}
impl<QS> SelectableExpression<QS> for NoDay {}
impl QueryFragment<Any> for NoDay {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        out.push_sql("'9999-12-31'");
        Ok(())
    }
}

/// The day, or [`NO_DAY`] where there is none: gives a column that may be null a place in an order.
pub fn day_or_last<T: Expression<SqlType = Nullable<Date>>>(day: T) -> coalesce_day<T, NoDay> {
    coalesce_day(day, NoDay)
}

/// Narrows boxed `$rows` by each filter that is given: `narrowed!(rows, week => tasks::week.eq(week), …)`. The deadline comes
/// before all of them: it is looked at for the rows that none of them lets through, too.
#[macro_export]
macro_rules! narrowed {
    ($rows:expr, $($given:ident => $condition:expr),+ $(,)?) => {{
        let mut rows = $rows.filter($crate::db::deadline::InTime);
        $(if let Some($given) = $given {
            rows = rows.filter($condition);
        })+
        rows
    }};
}

/// Those of `$rows` for which a condition holds, the next in the order of their ids, for a personal export:
/// `batch!(rows, condition, next, (tasks::id, TaskId))`. The deadline is looked at before the condition, as in [`narrowed!`].
#[macro_export]
macro_rules! batch {
    ($rows:expr, $condition:expr, $next:expr, ($id:expr, $id_type:ty)) => {
        $rows
            .filter($crate::db::deadline::InTime)
            .filter($condition)
            .filter($id.gt(<$id_type>::from($next.after)))
            .order($id)
            .limit($next.size.rows())
    };
}

#[cfg(test)]
mod tests;
