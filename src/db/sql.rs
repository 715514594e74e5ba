//! The few pieces of SQL that differ between the databases. Each is written once.
use super::any::Any;
use super::types::{Day, JsonList};
use chrono::NaiveDate;
use diesel::expression::{AppearsOnTable, AsExpression, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Bool, Date, Nullable, Text};

diesel::define_sql_function! {
    /// Simple case folding. It covers Unicode on SQLite too, because `establish` replaces the function there.
    fn lower(text: Text) -> Text;
}

/// A `LIKE` pattern for texts that contain this text. Wildcards in the text are taken literally. `!` is the escape
/// character, because MariaDB would need `\` to be doubled.
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

/// Whether a JSON list of strings contains a string.
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
    /// The text, or `other` if the text is null.
    #[sql_name = "coalesce"]
    fn text_or(text: Nullable<Text>, other: Text) -> Text;
}

/// Converts to lower case letter by letter, as the database servers do it. `str::to_lowercase` would look at what
/// follows a Σ.
pub fn lowered(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// Locks the rows that a query finds until the transaction ends. On SQLite nothing is added to the query, because a
/// lease that writes locks the whole file.
#[derive(QueryId)]
pub struct ForUpdate<Q>(Q, &'static str);

pub fn for_update<Q: diesel::query_builder::AsQuery>(query: Q) -> ForUpdate<Q::Query> {
    ForUpdate(query.as_query(), " FOR UPDATE")
}

/// As [`for_update`], but skips the rows that other transactions have locked.
pub fn skip_locked<Q: diesel::query_builder::AsQuery>(query: Q) -> Uncached<ForUpdate<Q::Query>> {
    // Its type is that of `for_update`, so a cache of statements by type could not tell the two apart.
    Uncached(ForUpdate(query.as_query(), " FOR UPDATE SKIP LOCKED"))
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

/// Locks the rows that a query finds against changes until the transaction ends. Other transactions may take the same
/// lock.
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

/// A query with a text that depends on the request. MariaDB and SQLite prepare it anew each time, because there are too
/// many different texts to keep. A connection to PostgreSQL keeps those that were used last.
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

/// The day by which rows without a day are sorted. It puts them last.
pub const NO_DAY: Day = match NaiveDate::from_ymd_opt(9999, 12, 31) {
    Some(day) => Day(day),
    None => unreachable!(),
};

diesel::define_sql_function! {
    #[sql_name = "coalesce"]
    fn coalesce_day(day: Nullable<Date>, other: Date) -> Date;
}

/// [`NO_DAY`] as a literal, as it is written in an index on the expression.
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

/// The day, or [`NO_DAY`] if the day is null, so that a list can be sorted by a column that may be null.
pub fn day_or_last<T: Expression<SqlType = Nullable<Date>>>(day: T) -> coalesce_day<T, NoDay> {
    coalesce_day(day, NoDay)
}

/// Narrows boxed `$rows` by each filter that is given: `narrowed!(rows, week => tasks::week.eq(week), …)`. The check of
/// the deadline comes before all filters, so that it is also made for rows that the filters reject.
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

/// The next batch of those `$rows` for which a condition holds, in the order of their ids, for a personal export:
/// `batch!(rows, condition, next, (tasks::id, TaskId))`. The deadline is checked before the condition, as in
/// [`narrowed!`].
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
