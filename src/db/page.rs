//! Loads one page of a list. Its rows are sorted by a column and then by id, and come after the place that a cursor
//! names.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::RunQueryDsl;
use super::any::{Any, AnyConnection, AnyRow};
use super::cache_versions::Counted;
use super::lease::ReadTx;
use super::sql::{Uncached, uncached};
use super::types::{CacheVersion, Uid};
use crate::base::error::Result;
use diesel::deserialize::FromSqlRow;
use diesel::dsl::{Asc, Desc};
use diesel::expression::{AppearsOnTable, AsExpression, Expression, ValidGrouping, is_aggregate};
use diesel::prelude::*;
use diesel::query_builder::{AsQuery, AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::CompatibleType;
use diesel::query_dsl::methods::{FilterDsl, OrderDsl};
use diesel::result::Error;
use diesel::sql_types::{BigInt, Bool, SingleValue, Text};
use diesel_async::methods::LoadQuery;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Loads the rows of one page and one row more, and counts the whole list if the client asks for a count:
/// `paged!(tx, list, matching(tenant, list), Task::as_select(), (tasks::id, TaskId), { column => (key, type), … })`.
/// The type beside each column is the type as which the column's last value is read from the cursor.
/// [`crate::db::page`] does the work.
#[macro_export]
macro_rules! paged {
    ($tx:expr, $list:expr, $matching:expr, $select:expr, ($id:expr, $id_type:ty), {
        $($column:pat => ($key:expr, $key_type:ty)),+ $(,)?
    }) => {{
        debug_assert!($list.q.is_none() || $tx.is_long(), "a search needs a long read");
        let descending = $list.sort.descending;
        let sorted = match $list.sort.by {
            $($column => {
                let place = $list.after::<$key_type, $id_type>()?;
                $crate::db::page::in_order($matching, $key, $id, descending, place)
            }),+
        };
        let rows = sorted.limit($list.limit()).offset($list.offset()?).select($select);
        let count = $list.is_counted().then(|| $matching.count());
        $crate::db::page::load($tx, rows, count).await?
    }};
}

/// Whether a row comes after a place in the order by `key` and then by `id`.
///
/// The first comparison, of the key alone, is redundant. But it lets PostgreSQL start its scan of the index at the
/// place. Without it, the scan would start at the beginning of the index.
pub struct After<K, I, V, W> {
    key: K,
    id: I,
    last_key: V,
    last_id: W,
    descending: bool,
}

impl<K, I, V, W> Expression for After<K, I, V, W> {
    type SqlType = Bool;
}
impl<K, I, V, W, QS> AppearsOnTable<QS> for After<K, I, V, W>
where
    K: AppearsOnTable<QS>,
    I: AppearsOnTable<QS>,
    V: AppearsOnTable<QS>,
    W: AppearsOnTable<QS>,
{
}
impl<K, I, V, W, G> ValidGrouping<G> for After<K, I, V, W> {
    type IsAggregate = is_aggregate::Never;
}

impl<K, I, V, W> QueryFragment<Any> for After<K, I, V, W>
where
    K: QueryFragment<Any>,
    I: QueryFragment<Any>,
    V: QueryFragment<Any>,
    W: QueryFragment<Any>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        let Self { key, id, last_key, last_id, descending } = self;
        let (at_or_after, after) = if *descending { (" <= ", " < ") } else { (" >= ", " > ") };
        out.push_sql("(");
        compare(key, at_or_after, last_key, &mut out)?;
        out.push_sql(" AND (");
        compare(key, after, last_key, &mut out)?;
        out.push_sql(" OR (");
        compare(key, " = ", last_key, &mut out)?;
        out.push_sql(" AND ");
        compare(id, after, last_id, &mut out)?;
        out.push_sql(")))");
        Ok(())
    }
}

fn compare<'b>(
    left: &'b impl QueryFragment<Any>,
    comparison: &str,
    right: &'b impl QueryFragment<Any>,
    out: &mut AstPass<'_, 'b, Any>,
) -> QueryResult<()> {
    left.walk_ast(out.reborrow())?;
    out.push_sql(comparison);
    right.walk_ast(out.reborrow())
}

/// Sorts boxed rows by a column and then by id. If there is a place, only the rows after it are selected. A place
/// consists of the column's value and the id of a row.
pub fn in_order<Q, K, I, V, W>(rows: Q, key: K, id: I, descending: bool, place: Option<(V, W)>) -> Q
where
    K: ExpressionMethods + Clone,
    K::SqlType: SingleValue,
    I: ExpressionMethods + Clone,
    I::SqlType: SingleValue,
    V: AsExpression<K::SqlType>,
    W: AsExpression<I::SqlType>,
    Q: OrderDsl<(Asc<K>, Asc<I>), Output = Q>
        + OrderDsl<(Desc<K>, Desc<I>), Output = Q>
        + FilterDsl<After<K, I, V::Expression, W::Expression>, Output = Q>,
{
    let rows = match place {
        None => rows,
        Some((last_key, last_id)) => {
            let (last_key, last_id) = (last_key.as_expression(), last_id.as_expression());
            FilterDsl::filter(rows, After { key: key.clone(), id: id.clone(), last_key, last_id, descending })
        }
    };
    match descending {
        false => OrderDsl::order(rows, (key.asc(), id.asc())),
        true => OrderDsl::order(rows, (key.desc(), id.desc())),
    }
}

/// Loads the rows of a page, and the total of the whole list if there is a query for the count. If all tables of the
/// list have versions, the total is kept for a minute, and counted again only if a version is another. A transaction
/// that writes always counts.
///
/// The drivers of MariaDB and SQLite keep neither statement prepared, because there are too many different ones.
///
/// The future is boxed, because the compiler can't prove that a future with the types of the queries in its name is
/// `Send` for every lifetime.
pub fn load<R, C, T, ST>(tx: &mut ReadTx, rows: R, count: Option<C>) -> BoxFuture<'_, Result<(Vec<T>, Option<i64>)>>
where
    R: AsQuery,
    Uncached<R::Query>: Query + QueryFragment<Any> + QueryId + Send + 'static,
    <Uncached<R::Query> as Query>::SqlType: CompatibleType<T, Any, SqlType = ST>,
    T: FromSqlRow<ST, Any> + Send + 'static,
    ST: 'static,
    C: AsQuery,
    Uncached<C::Query>: LoadQuery<'static, AnyConnection, i64> + Query + QueryFragment<Any> + QueryId + Send + 'static,
{
    let (rows, count) = (uncached(rows), count.map(uncached));
    async move {
        let rows = tx.in_index(rows)?;
        let Some(count) = count else {
            return Ok((read(&tx.rows(rows).await?)?, None));
        };
        let tenant = tx.tenant();
        let Some(counted) = Counted::of(&count)? else {
            tx.plan_anew().await?;
            let (counts, rows) = tx.rows_of_both(count, rows).await?;
            return Ok((read(&rows)?, read::<i64, BigInt>(&counts)?.pop()));
        };
        let (versions, rows) = tx.rows_of_both(counted.query(tenant), rows).await?;
        let key = counted.key(tenant, &read::<(String, CacheVersion), (Text, Uid)>(&versions)?);
        if tx.is_write() {
            // It may see changes that are not committed, or that were committed after the versions were read.
            return Ok((read(&rows)?, Some(one(tx, count).await?)));
        }
        let totals = tx.totals().clone();
        let total = totals.or_counted(key, || async {
            tx.plan_anew().await?;
            Ok(one(tx, count).await?)
        });
        let total = total.await?;
        Ok((read(&rows)?, Some(total)))
    }
    .boxed()
}

pub(super) fn read<T: FromSqlRow<ST, Any>, ST>(rows: &[AnyRow]) -> QueryResult<Vec<T>> {
    rows.iter().map(|row| T::build_from_row(row).map_err(Error::DeserializationError)).collect()
}

fn one<Q, T>(tx: &mut ReadTx, query: Q) -> BoxFuture<'_, QueryResult<T>>
where
    Q: LoadQuery<'static, AnyConnection, T> + 'static,
    T: Send + 'static,
{
    query.get_result(tx).boxed()
}
