//! Comments over HTTP.
use super::types::{Comment, CommentFilter, CommentId, CommentInput};
use super::{Change, Delete, Read, Write, queries};
use crate::api::list::List;
use crate::api::{
    Caller, Created, Deleted, Found, IdempotencyKey, IfMatch, IfNoneMatch, Json, Listed, Patch, Query, Saved,
};
use crate::base::error::Result;
use crate::db::Db;
use crate::resources::tasks::Tag;
use crate::resources::tasks::TaskId;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct TaskCommentsApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tasks")]
impl TaskCommentsApi {
    /// List a task's comments
    #[oai(path = "/tasks/:task_id/comments", method = "get", operation_id = "task_comment_list")]
    async fn list(
        &self,
        caller: Caller<Read>,
        Path(task_id): Path<TaskId>,
        Query(list): Query<List<CommentFilter>>,
    ) -> Result<Listed<Comment>> {
        Ok(Listed(list.read(&self.db, &caller, async |tx| queries::list(tx, task_id, &list).await).await?))
    }

    /// Comment on a task
    #[oai(path = "/tasks/:task_id/comments", method = "post", operation_id = "task_comment_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        Path(task_id): Path<TaskId>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<CommentInput>,
    ) -> Result<Created<Comment>> {
        let key = idempotency_key.of(&input)?;
        let comment = self.db.write_once(&caller, key, async |tx| queries::insert(tx, task_id, input).await).await?;
        Ok(Created(comment))
    }

    /// Get a comment
    #[oai(path = "/tasks/:task_id/comments/:comment_id", method = "get", operation_id = "task_comment_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(task_id): Path<TaskId>,
        Path(comment_id): Path<CommentId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Comment>> {
        let comment = self.db.read(&caller, async |tx| queries::find(tx, task_id, comment_id).await).await?;
        Ok(Found(comment, if_none_match))
    }

    /// Change a comment
    #[oai(path = "/tasks/:task_id/comments/:comment_id", method = "patch", operation_id = "task_comment_change")]
    async fn change(
        &self,
        caller: Caller<Change>,
        Path(task_id): Path<TaskId>,
        Path(comment_id): Path<CommentId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<CommentInput>>,
    ) -> Result<Saved<Comment>> {
        let change = async |tx: &mut _| {
            let comment = caller.authorize(queries::find_to_change(tx, task_id, comment_id).await?, &if_match)?;
            let input = patch.apply(&comment.stored.input)?;
            queries::update(tx, comment, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Delete a comment
    #[oai(path = "/tasks/:task_id/comments/:comment_id", method = "delete", operation_id = "task_comment_delete")]
    async fn delete(
        &self,
        caller: Caller<Delete>,
        Path(task_id): Path<TaskId>,
        Path(comment_id): Path<CommentId>,
        if_match: IfMatch,
    ) -> Result<Deleted> {
        let delete = async |tx: &mut _| {
            let comment = caller.authorize(queries::find_to_change(tx, task_id, comment_id).await?, &if_match)?;
            queries::delete(tx, comment).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }
}
