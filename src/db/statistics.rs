//! The statistics of the tables, by which PostgreSQL plans queries.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::schema::TABLES;
use super::scope::System;
use super::table_statement::TableStatement;
use super::{Audited, Db, Execute, WriteTx};
use crate::base::error::Result;

impl Db {
    /// Runs `ANALYZE` on all tables of PostgreSQL. It is called after many rows were stored at once. PostgreSQL would
    /// collect these statistics itself, but only after minutes. Until then it plans as if the tables were empty, and
    /// sorts whole lists. MariaDB and SQLite need no statistics to use the indexes of the lists.
    pub async fn refresh_statistics(&self) -> Result<()> {
        let refresh = async |tx: &mut WriteTx| {
            if !tx.is_postgres() {
                return Ok(Audited::without_row(()));
            }
            for table in TABLES {
                TableStatement::<()>::new().sql("ANALYZE ").name(table.name).execute(tx).await?;
            }
            Ok(Audited::without_row(())) // no row is changed
        };
        self.write(&System::without_tenant(), refresh).await
    }
}
