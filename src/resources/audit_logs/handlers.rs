//! The audit log over HTTP.
use super::Tag;
use super::types::{AuditEntry, AuditFilter};
use super::{Read, queries};
use crate::api::export::ExportOf;
use crate::api::list::List;
use crate::api::{Caller, Export, Listed, Query};
use crate::base::error::Result;
use crate::db::Db;
use futures_util::FutureExt;
use poem_openapi::OpenApi;

pub struct AuditApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Audit")]
impl AuditApi {
    /// List audit entries
    #[oai(path = "/audit-logs", method = "get", operation_id = "audit_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<List<AuditFilter>>) -> Result<Listed<AuditEntry>> {
        Ok(Listed(list.read(&self.db, &caller, async |tx| queries::list(tx, &list).await).await?))
    }

    /// Export audit entries
    #[oai(path = "/audit-logs/export", method = "get", operation_id = "audit_export")]
    async fn export(&self, caller: Caller<Read>, Query(export): Query<ExportOf<AuditFilter>>) -> Result<Export> {
        Export::stream(self.db.clone(), caller, export, |tx, list| queries::list(tx, list).boxed()).await
    }
}
