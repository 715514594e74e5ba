//! The few pieces of SQL the databases do not share, each written once.
use super::any::Any;
use super::types::{Day, JsonList};
use chrono::NaiveDate;
use diesel::expression::AsExpression;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
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
    for c in text.to_lowercase().chars() {
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

/// Whether a text holds what [`contains`] made a pattern of, in either case.
pub fn like<T>(text: T, pattern: String) -> diesel::dsl::Escape<diesel::dsl::Like<lower<T>, String>>
where
    T: Expression<SqlType = Text>,
{
    lower(text).like(pattern).escape('!')
}

/// Puts the rows it finds under lock until the transaction ends. SQLite's write lease already locks the whole file.
#[derive(QueryId)]
pub struct ForUpdate<Q>(Q);

pub fn for_update<Q: diesel::query_builder::AsQuery>(query: Q) -> ForUpdate<Q::Query> {
    ForUpdate(query.as_query())
}

impl<Q: diesel::query_builder::Query> diesel::query_builder::Query for ForUpdate<Q> {
    type SqlType = Q::SqlType;
}

impl<Q: QueryFragment<Any>> QueryFragment<Any> for ForUpdate<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        if !matches!(out.backend(), Any::Sqlite(_)) {
            out.push_sql(" FOR UPDATE");
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
    /// The day, or another one where there is none: gives a column that may be null a place in an order.
    #[sql_name = "coalesce"]
    fn day_or(day: Nullable<Date>, other: Date) -> Date;
}

/// Narrows boxed `$rows` by each filter that is given: `narrowed!(rows, week => tasks::week.eq(week), …)`.
#[macro_export]
macro_rules! narrowed {
    ($rows:expr, $($given:ident => $condition:expr),+ $(,)?) => {{
        let mut rows = $rows;
        $(if let Some($given) = $given {
            rows = rows.filter($condition);
        })+
        rows
    }};
}

/// Sorts boxed `$rows` by the list's column and then by id, and goes on after the list's cursor. Beside each column
/// stands the type that its last value is read back into from the cursor.
#[macro_export]
macro_rules! sorted {
    ($rows:expr, $list:expr, ($id:expr, $id_type:ty), { $($column:pat => ($key:expr, $key_type:ty)),+ $(,)? }) => {
        match $list.sort.by {
            $($column => match ($list.sort.descending, $list.after::<$key_type, $id_type>()?) {
                (false, None) => $rows.order(($key.asc(), $id.asc())),
                (true, None) => $rows.order(($key.desc(), $id.desc())),
                (false, Some((last, id))) => $rows
                    .filter($key.gt(last.clone()).or($key.eq(last).and($id.gt(id))))
                    .order(($key.asc(), $id.asc())),
                (true, Some((last, id))) => $rows
                    .filter($key.lt(last.clone()).or($key.eq(last).and($id.lt(id))))
                    .order(($key.desc(), $id.desc())),
            }),+
        }
    };
}
