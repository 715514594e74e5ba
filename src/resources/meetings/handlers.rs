//! Meetings over HTTP.
use super::Tag;
use super::types::{Meeting, MeetingFilter, MeetingId, MeetingInput};
use super::{Delete, Read, Write, queries};
use crate::api::export::ExportOf;
use crate::api::list::List;
use crate::api::{
    Caller, Created, Deleted, Export, Found, IdempotencyKey, IfMatch, IfNoneMatch, Json, Listed, Patch, Query, Saved,
};
use crate::base::error::Result;
use crate::db::Db;
use futures_util::FutureExt;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct MeetingsApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Meetings")]
impl MeetingsApi {
    /// List meetings
    #[oai(path = "/meetings", method = "get", operation_id = "meeting_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<List<MeetingFilter>>) -> Result<Listed<Meeting>> {
        let page = list.read(&self.db, &caller, async |tx| queries::list(tx, &list, caller.user()).await).await?;
        Ok(Listed(page))
    }

    /// Export meetings
    #[oai(path = "/meetings/export", method = "get", operation_id = "meeting_export")]
    async fn export(&self, caller: Caller<Read>, Query(export): Query<ExportOf<MeetingFilter>>) -> Result<Export> {
        let reader = caller.user();
        Export::stream(self.db.clone(), caller, export, move |tx, list| queries::list(tx, list, reader).boxed()).await
    }

    /// Create a meeting
    #[oai(path = "/meetings", method = "post", operation_id = "meeting_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<MeetingInput>,
    ) -> Result<Created<Meeting>> {
        let key = idempotency_key.of(&input)?;
        let meeting = self.db.write_once(&caller, key, async |tx| queries::insert(tx, input).await).await?;
        Ok(Created(meeting))
    }

    /// Get a meeting
    #[oai(path = "/meetings/:meeting_id", method = "get", operation_id = "meeting_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(meeting_id): Path<MeetingId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Meeting>> {
        let meeting = self.db.find(&caller, async |tx| queries::find(tx, meeting_id).await).await?;
        Ok(Found(meeting, if_none_match))
    }

    /// Replace a meeting
    #[oai(path = "/meetings/:meeting_id", method = "put", operation_id = "meeting_replace")]
    async fn replace(
        &self,
        caller: Caller<Write>,
        Path(meeting_id): Path<MeetingId>,
        if_match: IfMatch,
        Json(input): Json<MeetingInput>,
    ) -> Result<Saved<Meeting>> {
        let change = async |tx: &mut _| {
            let meeting = caller.authorize(queries::find_to_change(tx, meeting_id).await?, &if_match)?;
            queries::update(tx, meeting, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Change a meeting
    #[oai(path = "/meetings/:meeting_id", method = "patch", operation_id = "meeting_change")]
    async fn change(
        &self,
        caller: Caller<Write>,
        Path(meeting_id): Path<MeetingId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<MeetingInput>>,
    ) -> Result<Saved<Meeting>> {
        let change = async |tx: &mut _| {
            let meeting = caller.authorize(queries::find_to_change(tx, meeting_id).await?, &if_match)?;
            let input = patch.apply(&meeting.input)?;
            queries::update(tx, meeting, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Delete a meeting
    #[oai(path = "/meetings/:meeting_id", method = "delete", operation_id = "meeting_delete")]
    async fn delete(
        &self,
        caller: Caller<Delete>,
        Path(meeting_id): Path<MeetingId>,
        if_match: IfMatch,
    ) -> Result<Deleted> {
        let delete = async |tx: &mut _| {
            let meeting = caller.authorize(queries::find_to_change(tx, meeting_id).await?, &if_match)?;
            queries::delete(tx, meeting).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }
}
