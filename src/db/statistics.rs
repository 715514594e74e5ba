//! What PostgreSQL knows about the rows of the tables, by which it plans queries.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::schema::TABLES;
use super::scope::System;
use super::table_statement::TableStatement;
use super::{Audited, Db, Execute, WriteTx};
use crate::base::error::Result;

impl Db {
    /// Has PostgreSQL look at samples of all tables, after many rows were stored at once. It would do so itself, but only
    /// within minutes, and until then it takes the tables for empty and sorts whole lists. MariaDB and SQLite plan these
    /// lists by their indexes.
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
