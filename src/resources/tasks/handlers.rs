//! Tasks over HTTP.
use super::Tag;
use super::types::{Task, TaskFilter, TaskId, TaskInput};
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

pub struct TasksApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tasks")]
impl TasksApi {
    /// List tasks
    #[oai(path = "/tasks", method = "get", operation_id = "task_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<List<TaskFilter>>) -> Result<Listed<Task>> {
        let page = list.read(&self.db, &caller, async |tx| queries::list(tx, &list).await).await?;
        Ok(Listed(page))
    }

    /// Export tasks
    #[oai(path = "/tasks/export", method = "get", operation_id = "task_export")]
    async fn export(&self, caller: Caller<Read>, Query(export): Query<ExportOf<TaskFilter>>) -> Result<Export> {
        Export::stream(self.db.clone(), caller, export, |tx, list| queries::list(tx, list).boxed()).await
    }

    /// Create a task
    #[oai(path = "/tasks", method = "post", operation_id = "task_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<TaskInput>,
    ) -> Result<Created<Task>> {
        let key = idempotency_key.of(&input)?;
        let task = self.db.write_once(&caller, key, async |tx| queries::insert(tx, input).await).await?;
        Ok(Created(task))
    }

    /// Get a task
    #[oai(path = "/tasks/:task_id", method = "get", operation_id = "task_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(task_id): Path<TaskId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Task>> {
        let task = self.db.find(&caller, async |tx| queries::find(tx, task_id).await).await?;
        Ok(Found(task, if_none_match))
    }

    /// Replace a task
    #[oai(path = "/tasks/:task_id", method = "put", operation_id = "task_replace")]
    async fn replace(
        &self,
        caller: Caller<Write>,
        Path(task_id): Path<TaskId>,
        if_match: IfMatch,
        Json(input): Json<TaskInput>,
    ) -> Result<Saved<Task>> {
        let change = async |tx: &mut _| {
            let task = caller.authorize(queries::find_to_change(tx, task_id).await?, &if_match)?;
            queries::update(tx, task, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Change a task
    #[oai(path = "/tasks/:task_id", method = "patch", operation_id = "task_change")]
    async fn change(
        &self,
        caller: Caller<Write>,
        Path(task_id): Path<TaskId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<TaskInput>>,
    ) -> Result<Saved<Task>> {
        let change = async |tx: &mut _| {
            let task = caller.authorize(queries::find_to_change(tx, task_id).await?, &if_match)?;
            let input = patch.apply(&task.input)?;
            queries::update(tx, task, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Delete a task
    #[oai(path = "/tasks/:task_id", method = "delete", operation_id = "task_delete")]
    async fn delete(&self, caller: Caller<Delete>, Path(task_id): Path<TaskId>, if_match: IfMatch) -> Result<Deleted> {
        let delete = async |tx: &mut _| {
            let task = caller.authorize(queries::find_to_change(tx, task_id).await?, &if_match)?;
            queries::delete(tx, task).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }
}
