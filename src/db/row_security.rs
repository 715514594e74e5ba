//! Whether the database's role is one that row-level security does not bind.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::scope::System;
use super::{Db, ReadTx, RunQueryDsl};
use crate::base::error::Result;
use diesel::dsl::sql;
use diesel::sql_types::Bool;

impl Db {
    /// On PostgreSQL: a superuser, or a role with BYPASSRLS, sees every tenant's rows whatever the policies say.
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
