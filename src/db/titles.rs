//! Finds the titles of records of any kind by their ids.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::sql::{for_share, uncached};
use super::table_statement::TableStatement;
use super::types::{AnyId, Uid};
use super::{ReadTx, RunQueryDsl, WriteTx, schema};
use crate::base::error::Result;
use diesel::sql_types::{Nullable, Text};
use uuid::Uuid;

/// The columns that hold the title of a record of one kind, and the record to which it belongs.
#[derive(Debug, Clone, Copy)]
pub struct TitleColumns {
    pub table: &'static str,
    pub title: &'static str,
    /// The column with the id of a user. If `title` is null, the name of that user is the title.
    pub name_of: Option<&'static str>,
    /// The column with the id of the parent record.
    pub parent: Option<&'static str>,
    /// The column with a time. From that time on, the record is no longer found.
    pub until: Option<&'static str>,
}

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Titled {
    pub id: Uuid,
    pub title: String,
    pub parent: Option<Uuid>,
}

/// How many ids are looked up in one statement. All three databases accept as many parameters.
const MAX_IDS: usize = 1_000;

impl ReadTx {
    /// Finds the titles of those records that belong to the lease's tenant, in no particular order.
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
        let tenant = declared.and_then(|table| table.key.first()).copied().unwrap_or("tenant_id"); // `id` for `tenants`
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

impl WriteTx {
    /// Locks a record in this table until the transaction ends, so that it isn't deleted meanwhile. It need not exist.
    pub async fn lock_shared(&mut self, table: &'static str, id: Uuid) -> Result<()> {
        let row = TableStatement::<Uid>::new().sql("SELECT id FROM ").name(table).sql(" WHERE tenant_id = ");
        let row = row.id(self.tenant().0).sql(" AND id = ").id(id);
        let _: Vec<AnyId> = for_share(uncached(row)).get_results(self).await?;
        Ok(())
    }
}
