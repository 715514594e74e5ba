//! Holds MariaDB to the index of a list's order.
//!
//! MariaDB reads a page along the index of the order, but begins it at the tenant's first row instead of at the cursor, if
//! it takes the tenant to have fewer rows than follow the cursor. It takes each tenant to have as many rows as the average.
//! A page in the middle of a large tenant's list of a million tasks then took 1.6 s, and with `FORCE INDEX` it takes 2 ms
//! (MariaDB 10.11).
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::{Any, MARK, mysql_of, order_of};
use super::{ReadTx, RunQueryDsl};
use crate::base::error::Result;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Text;

impl ReadTx {
    /// Learns the indexes. Only the first call asks the database.
    pub(super) async fn find_indexes(&mut self) -> Result<()> {
        if !self.is_mysql() || self.known_indexes.get().is_some() {
            return Ok(());
        }
        let sql = "SELECT CONCAT(table_name, ' ', index_name, ' ', GROUP_CONCAT(column_name ORDER BY seq_in_index)) AS one \
                   FROM information_schema.statistics WHERE table_schema = DATABASE() GROUP BY table_name, index_name";
        let rows: Vec<Described> = diesel::sql_query(sql).load(self).await?;
        let ordered = rows.iter().filter_map(|Described { one }| {
            let (table, (index, columns)) =
                one.split_once(' ').and_then(|(table, rest)| Some((table, rest.split_once(' ')?)))?;
            let column = columns.strip_prefix("tenant_id,")?.strip_suffix(",id")?;
            (!column.contains(',')).then(|| (format!("{table}.{column}"), index.to_owned()))
        });
        self.known_indexes.set(ordered.collect());
        Ok(())
    }

    /// The rows of a page, held to the index of their order if nothing filters them.
    pub(super) fn in_index<Q: QueryFragment<Any>>(&self, query: Q) -> Result<InIndex<Q>> {
        let known = self.known_indexes.get().filter(|_| self.is_whole_list());
        let index = match known {
            Some(known) => order_of(&mysql_of(&query)?).and_then(|order| known.get(&order)).cloned(),
            None => None,
        };
        Ok(InIndex { query, index })
    }
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Any))]
struct Described {
    #[diesel(sql_type = Text)]
    one: String,
}

/// A query that MariaDB answers along this index.
pub(super) struct InIndex<Q> {
    query: Q,
    index: Option<String>,
}

impl<Q> QueryId for InIndex<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
impl<Q: Query> Query for InIndex<Q> {
    type SqlType = Q::SqlType;
}
impl<Q: QueryFragment<Any>> QueryFragment<Any> for InIndex<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        if let (Some(index), Any::Mysql(_)) = (&self.index, out.backend()) {
            out.push_sql(MARK);
            out.push_sql(index);
        }
        Ok(())
    }
}
