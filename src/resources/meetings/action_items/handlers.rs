//! Action items over HTTP.
use super::types::{ActionItem, ActionItemFilter, ActionItemId, ActionItemInput};
use super::{Read, Write, queries};
use crate::api::list::List;
use crate::api::{
    Also, Caller, Created, Deleted, Found, IdempotencyKey, IfMatch, IfNoneMatch, Json, Listed, Patch, Query, Saved,
};
use crate::base::error::Result;
use crate::db::Db;
use crate::resources::meetings::MeetingId;
use crate::resources::meetings::Tag;
use crate::resources::tasks;
use crate::resources::tasks::Task;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct ActionItemsApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Meetings")]
impl ActionItemsApi {
    /// List action items
    #[oai(path = "/meetings/:meeting_id/action-items", method = "get", operation_id = "action_item_list")]
    async fn list(
        &self,
        caller: Caller<Read>,
        Path(meeting_id): Path<MeetingId>,
        Query(list): Query<List<ActionItemFilter>>,
    ) -> Result<Listed<ActionItem>> {
        let page = list.read(&self.db, &caller, async |tx| queries::list(tx, meeting_id, &list).await).await?;
        Ok(Listed(page))
    }

    /// Create an action item
    #[oai(path = "/meetings/:meeting_id/action-items", method = "post", operation_id = "action_item_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        Path(meeting_id): Path<MeetingId>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<ActionItemInput>,
    ) -> Result<Created<ActionItem>> {
        let key = idempotency_key.of(&input)?;
        let insert = async |tx: &mut _| queries::insert(tx, meeting_id, input).await;
        Ok(Created(self.db.write_once(&caller, key, insert).await?))
    }

    /// Get an action item
    #[oai(
        path = "/meetings/:meeting_id/action-items/:action_item_id",
        method = "get",
        operation_id = "action_item_get"
    )]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(meeting_id): Path<MeetingId>,
        Path(action_item_id): Path<ActionItemId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<ActionItem>> {
        let find = async |tx: &mut _| queries::find(tx, meeting_id, action_item_id).await;
        Ok(Found(self.db.find(&caller, find).await?, if_none_match))
    }

    /// Change an action item
    #[oai(
        path = "/meetings/:meeting_id/action-items/:action_item_id",
        method = "patch",
        operation_id = "action_item_change"
    )]
    async fn change(
        &self,
        caller: Caller<Write>,
        Path(meeting_id): Path<MeetingId>,
        Path(action_item_id): Path<ActionItemId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<ActionItemInput>>,
    ) -> Result<Saved<ActionItem>> {
        let change = async |tx: &mut _| {
            let item = queries::find_to_change(tx, meeting_id, action_item_id).await?;
            let item = caller.authorize(item, &if_match)?;
            let input = patch.apply(&item.input)?;
            queries::update(tx, item, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Delete an action item
    #[oai(
        path = "/meetings/:meeting_id/action-items/:action_item_id",
        method = "delete",
        operation_id = "action_item_delete"
    )]
    async fn delete(
        &self,
        caller: Caller<Write>,
        Path(meeting_id): Path<MeetingId>,
        Path(action_item_id): Path<ActionItemId>,
        if_match: IfMatch,
    ) -> Result<Deleted> {
        let delete = async |tx: &mut _| {
            let item = queries::find_to_change(tx, meeting_id, action_item_id).await?;
            queries::delete(tx, caller.authorize(item, &if_match)?).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }

    /// Create a task from an action item
    #[oai(
        path = "/meetings/:meeting_id/action-items/:action_item_id/task",
        method = "post",
        operation_id = "action_item_make_task"
    )]
    async fn make_task(
        &self,
        caller: Caller<tasks::Write>,
        Path(meeting_id): Path<MeetingId>,
        Path(action_item_id): Path<ActionItemId>,
        idempotency_key: IdempotencyKey,
    ) -> Result<Created<Task>, Also<409, 422>> {
        let key = idempotency_key.of(&String::new())?;
        let make = async |tx: &mut _| queries::make_task(tx, meeting_id, action_item_id).await;
        Ok(Created(self.db.write_once(&caller, key, make).await?))
    }
}
