//! Items over HTTP.
use super::Tag;
use super::types::{Item, ItemFilter, ItemId, ItemInput};
use super::{Read, Write, queries};
use crate::api::export::ExportOf;
use crate::api::list::List;
use crate::api::{
    CachedList, Caller, Created, Deleted, Export, Found, IdempotencyKey, IfMatch, IfNoneMatch, Json, Patch, Query,
    Saved,
};
use crate::base::error::Result;
use crate::db::Db;
use crate::db::cache_versions::CacheScope;
use crate::services::cache::Cache;
use futures_util::FutureExt;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

const CACHE_SCOPE: CacheScope = CacheScope::of("item");

pub struct ItemsApi {
    pub db: Db,
    pub cache: Cache,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Items")]
impl ItemsApi {
    /// List items
    #[oai(path = "/items", method = "get", operation_id = "item_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<List<ItemFilter>>) -> Result<CachedList<Item>> {
        let Self { db, cache } = self;
        CachedList::find(db, cache, &caller, CACHE_SCOPE, &list, |tx, list| queries::list(tx, list).boxed()).await
    }

    /// Export items
    #[oai(path = "/items/export", method = "get", operation_id = "item_export")]
    async fn export(&self, caller: Caller<Read>, Query(export): Query<ExportOf<ItemFilter>>) -> Result<Export> {
        Export::stream(self.db.clone(), caller, export, |tx, list| queries::list(tx, list).boxed()).await
    }

    /// Create an item
    #[oai(path = "/items", method = "post", operation_id = "item_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<ItemInput>,
    ) -> Result<Created<Item>> {
        let key = idempotency_key.of(&input)?;
        let owner = caller.owner(caller.user(), input.owner_id)?;
        let item = self.db.write_once(&caller, key, async |tx| queries::insert(tx, input, owner).await).await?;
        Ok(Created(item))
    }

    /// Get an item
    #[oai(path = "/items/:item_id", method = "get", operation_id = "item_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(item_id): Path<ItemId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Item>> {
        let item = self.db.find(&caller, async |tx| queries::find(tx, item_id).await).await?;
        Ok(Found(item, if_none_match))
    }

    /// Replace an item
    #[oai(path = "/items/:item_id", method = "put", operation_id = "item_replace")]
    async fn replace(
        &self,
        caller: Caller<Write>,
        Path(item_id): Path<ItemId>,
        if_match: IfMatch,
        Json(input): Json<ItemInput>,
    ) -> Result<Saved<Item>> {
        let change = async |tx: &mut _| {
            let item = caller.authorize(queries::find_to_change(tx, item_id).await?, &if_match)?;
            let owner = caller.owner(item.owner_id, input.owner_id)?;
            queries::update(tx, item, input, owner).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Change an item
    #[oai(path = "/items/:item_id", method = "patch", operation_id = "item_change")]
    async fn change(
        &self,
        caller: Caller<Write>,
        Path(item_id): Path<ItemId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<ItemInput>>,
    ) -> Result<Saved<Item>> {
        let change = async |tx: &mut _| {
            let item = caller.authorize(queries::find_to_change(tx, item_id).await?, &if_match)?;
            let input = patch.apply(&item.as_input())?;
            let owner = caller.owner(item.owner_id, input.owner_id)?;
            queries::update(tx, item, input, owner).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Delete an item
    #[oai(path = "/items/:item_id", method = "delete", operation_id = "item_delete")]
    async fn delete(&self, caller: Caller<Write>, Path(item_id): Path<ItemId>, if_match: IfMatch) -> Result<Deleted> {
        let delete = async |tx: &mut _| {
            let item = caller.authorize(queries::find_to_change(tx, item_id).await?, &if_match)?;
            queries::delete(tx, item).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }
}
