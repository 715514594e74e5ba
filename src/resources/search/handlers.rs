//! The search over HTTP.
use super::queries::Reader;
use super::types::{SearchQuery, SearchResult};
use super::{Read, Tag, queries};
use crate::api::{Caller, Listed, Query};
use crate::base::error::{Error, Result};
use crate::db::{Cost, Db};
use poem_openapi::OpenApi;
use tokio::task::spawn_blocking;

pub struct SearchApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Search")]
impl SearchApi {
    /// Search in all records
    #[oai(path = "/search", method = "get", operation_id = "search")]
    async fn search(&self, caller: Caller<Read>, Query(search): Query<SearchQuery>) -> Result<Listed<SearchResult>> {
        let SearchQuery(list) = search;
        let reader = Reader { user: caller.user(), role: caller.role() };
        let search = list.filter.search(reader)?;
        if search.audiences.is_empty() {
            return Ok(Listed(list.page(vec![], list.is_counted().then_some(0))));
        }
        let found = self.db.read_at(Cost::Long, &caller, async |tx| queries::find(tx, &list, &search).await).await?;
        let page = spawn_blocking(move || found.page(&list, &search.wish)).await;
        Ok(Listed(page.map_err(|failed| Error::Internal(failed.into()))?))
    }
}
