//! API keys over HTTP.
use super::Tag;
use super::types::{ApiKey, ApiKeyFilter, ApiKeyInput, NewApiKey};
use super::{Delete, Read, Write, queries};
use crate::api::list::List;
use crate::api::{Caller, Created, Deleted, Found, IdempotencyKey, IfNoneMatch, Json, Listed, Query, Verification};
use crate::auth::sessions::Sessions;
use crate::base::error::{Error, Result};
use crate::db::types::ApiKeyId;
use crate::db::{Db, Scope, WriteTx};
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct ApiKeysApi {
    pub db: Db,
    pub sessions: Sessions,
    pub verification: Verification,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::ApiKeys")]
impl ApiKeysApi {
    /// List API keys
    #[oai(path = "/api-keys", method = "get", operation_id = "api_key_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<List<ApiKeyFilter>>) -> Result<Listed<ApiKey>> {
        Ok(Listed(list.read(&self.db, &caller, async |tx| queries::list(tx, &list).await).await?))
    }

    /// Create an API key
    #[oai(path = "/api-keys", method = "post", operation_id = "api_key_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<ApiKeyInput>,
    ) -> Result<Created<NewApiKey>> {
        if caller.role() < input.role {
            return Err(Error::Forbidden);
        }
        let key = idempotency_key.of(&input)?;
        let create = async |tx: &mut WriteTx| {
            let maker = self.verification.check(tx, &caller).await?;
            queries::insert(tx, input, maker).await
        };
        let created = self.db.write_once(&caller, key, create).await;
        Ok(Created(self.verification.remind(&caller, created).await?))
    }

    /// Get an API key
    #[oai(path = "/api-keys/:api_key_id", method = "get", operation_id = "api_key_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(api_key_id): Path<ApiKeyId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<ApiKey>> {
        let key = self.db.find(&caller, async |tx| queries::find(tx, api_key_id).await).await?;
        Ok(Found(key, if_none_match))
    }

    /// Delete an API key
    #[oai(path = "/api-keys/:api_key_id", method = "delete", operation_id = "api_key_delete")]
    async fn delete(&self, caller: Caller<Delete>, Path(api_key_id): Path<ApiKeyId>) -> Result<Deleted> {
        let delete = async |tx: &mut WriteTx| queries::delete(tx, api_key_id, caller.role()).await;
        self.sessions.fenced(caller.tenant(), self.db.write(&caller, delete)).await?;
        Ok(Deleted)
    }
}
