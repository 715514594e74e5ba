//! Finds out whether row-level security applies to the role with which the server connects.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::scope::System;
use super::{Db, ReadTx, RunQueryDsl};
use crate::base::error::Result;
use diesel::dsl::sql;
use diesel::sql_types::Bool;

impl Db {
    /// Whether the role is a superuser of PostgreSQL or has `BYPASSRLS`. Such a role sees every tenant's rows, whatever
    /// the policies say. Always `false` for the other databases.
    pub async fn bypasses_row_security(&self) -> Result<bool> {
        let query = async |tx: &mut ReadTx| {
            if !tx.is_postgres() {
                return Ok(false);
            }
            let role = sql::<Bool>("(SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)");
            Ok(diesel::select(role).get_result(tx).await?)
        };
        self.read(&System::probe(), query).await
    }
}
