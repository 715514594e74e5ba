//! Files over HTTP.
use super::Tag;
use super::types::{File, FileFilter, FileLink, FileParents, Reader};
use super::uploads::Uploads;
use super::{Delete, Read, Upload, queries};
use crate::api::content::{Wanted, disposition};
use crate::api::list::List;
use crate::api::{
    Also, Answer, Caller, Content, Created, Deleted, Found, IfMatch, IfNoneMatch, IfRange, Listed, Query, Ranges,
    Upload as Form,
};
use crate::auth::Permission;
use crate::base::error::{Error, Result};
use crate::db::types::{FileId, Instant};
use crate::db::{Db, Once, Scope};
use crate::services::storage::{ObjectName, Storage};
use futures_util::StreamExt;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use std::time::Duration;

/// How long a link to a file is good.
const LINK_LIFETIME: Duration = Duration::from_secs(5 * 60);

pub struct FilesApi {
    pub db: Db,
    pub storage: Storage,
    pub uploads: Uploads,
}

fn reader<P: Permission>(caller: &Caller<P>) -> Reader {
    Reader { user: caller.user(), role: caller.role() }
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Files")]
impl FilesApi {
    /// List files
    #[oai(path = "/files", method = "get", operation_id = "file_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<List<FileFilter>>) -> Result<Listed<File>> {
        let reader = reader(&caller);
        let page = list.read(&self.db, &caller, async |tx| queries::list(tx, reader, &list).await).await?;
        Ok(Listed(page))
    }

    /// Upload a file
    #[oai(path = "/files", method = "post", operation_id = "file_upload")]
    async fn upload(&self, caller: Caller<Upload>, form: Form<FileParents>) -> Result<Created<File>> {
        let result = self.uploads.receive(&caller, form).await?;
        Ok(Created(Once { result, replayed: false }))
    }

    /// Get a file's description
    #[oai(path = "/files/:file_id", method = "get", operation_id = "file_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(file_id): Path<FileId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<File>> {
        let reader = reader(&caller);
        let file = self.db.find(&caller, async |tx| queries::find(tx, reader, file_id).await).await?;
        Ok(Found(file, if_none_match))
    }

    /// Delete a file
    #[oai(path = "/files/:file_id", method = "delete", operation_id = "file_delete")]
    async fn delete(&self, caller: Caller<Delete>, Path(file_id): Path<FileId>, if_match: IfMatch) -> Result<Deleted> {
        let reader = reader(&caller);
        let delete = async |tx: &mut _| {
            let file = caller.authorize(queries::find_to_change(tx, reader, file_id).await?, &if_match)?;
            queries::delete(tx, file).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }

    /// Get a link to a file
    #[oai(path = "/files/:file_id/link", method = "get", operation_id = "file_link")]
    async fn link(&self, caller: Caller<Read>, Path(file_id): Path<FileId>) -> Result<Answer<FileLink>, Also<422>> {
        let reader = reader(&caller);
        let file = self.db.find(&caller, async |tx| queries::find(tx, reader, file_id).await).await?;
        let object = ObjectName { tenant: caller.tenant(), file: file.id };
        let name = disposition(&file.name);
        let url = self.storage.link_to_read(object, &name, &file.content_type, LINK_LIFETIME).await?;
        let expires_at = Instant::from(self.db.env().now() + LINK_LIFETIME);
        Ok(Answer(FileLink { url: url.into(), expires_at }))
    }

    /// Download a file
    #[oai(path = "/files/:file_id/content", method = "get", operation_id = "file_content")]
    async fn content(
        &self,
        caller: Caller<Read>,
        Path(file_id): Path<FileId>,
        if_none_match: IfNoneMatch,
        range: Ranges,
        if_range: IfRange,
    ) -> Result<Content, Also<416>> {
        let reader = reader(&caller);
        let find = async || self.db.find(&caller, async |tx| queries::find(tx, reader, file_id).await).await;
        let File { id: file, name, size, content_type: media_type, sha256: tag, .. } = find().await?;
        let size = u64::try_from(size).unwrap_or_default();
        let wanted = range.wanted(&if_range, &if_none_match, size, &tag)?;
        let part = match &wanted {
            Wanted::Nothing => 0..0,
            Wanted::Whole => 0..size,
            Wanted::Part(range) => range.clone(),
        };
        let slot = caller.begin_download()?;
        let object = ObjectName { tenant: caller.tenant(), file };
        let bytes = match self.storage.read(object, part).await {
            Err(Error::Internal(cause)) => {
                find().await?; // it may have been deleted meanwhile
                return Err(Error::Internal(cause).into());
            }
            bytes => bytes?,
        };
        let held = move |piece| {
            let _ = &slot; // the download is under way until its last piece is sent
            piece
        };
        Ok(Content { wanted, size, tag, name, media_type, bytes: bytes.map(held).boxed() })
    }
}
