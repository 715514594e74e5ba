//! Uploads to the storage itself, over HTTP.
use super::direct::{DirectUpload, DirectUploadInput};
use super::{Upload, Uploads};
use crate::api::{Also, Answer, Caller, Created, Json, LongWork};
use crate::base::error::Result;
use crate::db::Once;
use crate::db::types::FileId;
use crate::resources::files::{File, Tag};
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct DirectUploadsApi {
    pub uploads: Uploads,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Files")]
impl DirectUploadsApi {
    /// Prepare the upload of a file to the storage
    #[oai(path = "/files/uploads", method = "post", operation_id = "file_reserve")]
    async fn reserve(
        &self,
        caller: Caller<Upload>,
        Json(input): Json<DirectUploadInput>,
    ) -> Result<Answer<DirectUpload>> {
        Ok(Answer(self.uploads.announce(&caller, input).await?))
    }

    /// Complete an upload to the storage
    #[oai(path = "/files/:file_id/complete", method = "post", operation_id = "file_complete")]
    async fn complete(
        &self,
        caller: Caller<Upload>,
        Path(file_id): Path<FileId>,
        LongWork(limit): LongWork,
    ) -> Result<Created<File>, Also<422>> {
        let result = self.uploads.complete(&caller, file_id, &limit).await?;
        Ok(Created(Once { result, replayed: false }))
    }
}
