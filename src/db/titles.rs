//! What records of any kind are called, found by their ids.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::sql::uncached;
use super::table_statement::TableStatement;
use super::types::{AnyId, Uid};
use super::{ReadTx, RunQueryDsl, schema};
use crate::base::error::Result;
use diesel::sql_types::{Nullable, Text};
use uuid::Uuid;

/// The columns that say what a kind of record is called, and what it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct TitleColumns {
    pub table: &'static str,
    pub title: &'static str,
    /// The column of the user whose name it is called by where `title` is null.
    pub name_of: Option<&'static str>,
    /// The column with the id of the record that it is below.
    pub parent: Option<&'static str>,
    /// The column with the time from which on it can't be found any more.
    pub until: Option<&'static str>,
}

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Titled {
    pub id: Uuid,
    pub title: String,
    pub parent: Option<Uuid>,
}

/// So many ids are looked for in one statement: all databases take as many parameters.
const MAX_IDS: usize = 1_000;

impl ReadTx {
    /// Those among these records that the lease's tenant has, in no order.
    pub async fn titles(&mut self, columns: TitleColumns, ids: &[Uuid]) -> Result<Vec<Titled>> {
        let mut found = vec![];
        for some in ids.chunks(MAX_IDS) {
            let rows: Vec<(AnyId, Option<String>, Option<AnyId>)> =
                uncached(self.statement(columns, some)).load(self).await?;
            found.extend(rows.into_iter().map(|(AnyId(id), title, parent)| Titled {
                id,
                title: title.unwrap_or_default(),
                parent: parent.filter(|_| columns.parent.is_some()).map(|AnyId(parent)| parent),
            }));
        }
        Ok(found)
    }

    fn statement(&self, columns: TitleColumns, ids: &[Uuid]) -> TableStatement<(Uid, Nullable<Text>, Nullable<Uid>)> {
        let TitleColumns { table, title, name_of, parent, until } = columns;
        let declared = schema::table(table);
        let tenant = declared.and_then(|table| table.key.first()).copied().unwrap_or("tenant_id"); // `id` of a tenant
        let statement = TableStatement::new().sql("SELECT id, ");
        let statement = match name_of {
            None => statement.name(title),
            Some(user) => statement
                .sql("coalesce(")
                .name(title)
                .sql(", (SELECT u.name FROM users u WHERE u.tenant_id = ")
                .name(table)
                .sql(".tenant_id AND u.id = ")
                .name(table)
                .sql(".")
                .name(user)
                .sql("))"),
        };
        let statement = statement.sql(", ").name(parent.unwrap_or("id")).sql(" FROM ").name(table);
        let statement = statement.sql(" WHERE ").name(tenant).sql(" = ").id(self.tenant().0);
        let mut statement = statement.sql(" AND id IN (").ids(ids).sql(")");
        if declared.is_some_and(|table| table.column("deleted_at").is_some()) {
            statement = statement.sql(" AND deleted_at IS NULL");
        }
        match until {
            Some(until) => statement.sql(" AND ").name(until).sql(" > ").instant(self.now()),
            None => statement,
        }
    }
}
