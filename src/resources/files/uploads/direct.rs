//! Uploads that clients send to the storage themselves. The content is sent to a draft, which has a name of its own: its
//! address stays good for a while after the upload, and what is sent there then must not change the file.
use super::{Pending, RESERVED, Upload, Uploads, signed};
use crate::api::{Caller, Input};
use crate::base::error::{Detail, Error, Result};
use crate::base::files::{Content, contradicts, safe_name};
use crate::db::stored_objects::{Reservation, Room, given_up};
use crate::db::types::{FileId, Instant};
use crate::db::{ReadTx, WriteTx};
use crate::resources::files::queries;
use crate::resources::files::types::{File, FileParents, Reader};
use crate::server::body_limit::BodyLimit;
use crate::services::storage::ObjectName;
use futures_util::TryStreamExt;
use poem::http::{HeaderValue, header};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the address of an upload is good.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The greatest object that S3 takes or copies in one request.
const LARGEST: u64 = 5 * 1024 * 1024 * 1024;

/// How many uploads a user may have announced at once. S3 does not limit what is sent to an address.
const MAX_ANNOUNCED: i64 = 50;

#[derive(Debug, Clone, Object, Serialize, Deserialize)]
pub struct DirectUploadInput {
    #[oai(validator(min_length = 1, max_length = 1000))]
    pub name: String,
    /// The exact number of bytes.
    #[oai(validator(minimum(value = "0")))]
    pub size: i64,
    #[oai(nullable, validator(max_length = 120, pattern = "^[!-~]+/[!-~]+$"))]
    pub content_type: Option<String>,
    #[oai(flatten)]
    #[serde(flatten)]
    pub parents: FileParents,
}

impl Input for DirectUploadInput {}

/// A file whose content is not there yet.
#[derive(Debug, Clone, Object)]
pub struct PendingFile {
    /// The id of the file to come.
    pub id: FileId,
    pub name: String,
    pub size: i64,
    pub content_type: String,
    #[oai(flatten)]
    pub parents: FileParents,
}

/// The request by which a client sends the content.
#[derive(Debug, Clone, Object)]
pub struct DirectUpload {
    pub file: PendingFile,
    pub url: String,
    pub method: String,
    pub headers: BTreeMap<String, String>,
    pub expires_at: Instant,
}

/// What is kept of the request until the upload is completed.
#[derive(Serialize, Deserialize)]
struct Announced {
    input: DirectUploadInput,
    /// The object that the client writes.
    draft: FileId,
}

impl Uploads {
    /// Reserves room for a file that the client sends to the storage.
    pub async fn announce(&self, caller: &Caller<Upload>, mut input: DirectUploadInput) -> Result<DirectUpload> {
        self.storage.must_have_links()?;
        if u64::try_from(input.size).unwrap_or_default() > self.limits.file_bytes.min(LARGEST) {
            return Err(Error::PayloadTooLarge);
        }
        if self.db.announced(caller).await? >= MAX_ANNOUNCED {
            let message = format!("of yours are open: complete some of the {MAX_ANNOUNCED}, or wait for an hour");
            return Err(Error::QuotaExceeded(Detail::of("uploads", message)));
        }
        let (role, parents) = (caller.role(), input.parents.clone());
        self.db.read(caller, async |tx: &mut ReadTx| queries::must_be_readable(tx, role, &parents).await).await?;
        input.name = safe_name(&input.name);
        let content_type = input.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned());
        let quota = signed(self.limits.tenant_bytes);
        let room = |bytes| Room { wanted: bytes, needed: bytes, quota, lifetime: RESERVED };
        let draft = self.db.reserve(caller, room(0), None).await?.id;
        let announced = serde_json::to_string(&Announced { input: input.clone(), draft });
        let announced = announced.map_err(|error| Error::Internal(error.into()))?;
        let Reservation { tenant, id, .. } = self.db.reserve(caller, room(input.size), Some(announced)).await?;
        let value = HeaderValue::try_from(&content_type).map_err(|error| Error::Internal(error.into()))?;
        let object = ObjectName { tenant, file: draft };
        let url = self.storage.link_to_write(object, value, LIFETIME).await?;
        let DirectUploadInput { name, size, parents, .. } = input;
        let headers = [(header::CONTENT_TYPE.to_string(), content_type.clone())].into();
        Ok(DirectUpload {
            file: PendingFile { id, name, size, content_type, parents },
            url: url.into(),
            method: "PUT".to_owned(),
            headers,
            expires_at: Instant::from(self.db.env().now() + LIFETIME),
        })
    }

    /// Makes a file of what the caller has sent to the storage, or returns the file if that was done before.
    pub async fn complete(&self, caller: &Caller<Upload>, id: FileId, limit: &BodyLimit) -> Result<File> {
        self.storage.must_have_links()?;
        let _slot = caller.begin_upload()?;
        let (reserved, announced) = match self.db.reserved(caller, id).await {
            Err(Error::NotFound) => return self.completed(caller, id).await,
            found => found?,
        };
        let announced = announced.ok_or_else(given_up)?;
        let Announced { input, draft } =
            serde_json::from_str(&announced).map_err(|error| Error::Internal(error.into()))?;
        let (sent, object) = (ObjectName { tenant: reserved.tenant, file: draft }, ObjectName::from(reserved));
        let size = self.storage.size(sent).await?;
        let size = size.ok_or_else(|| Error::unprocessable("file", "has not been sent to the storage yet"))?;
        // From here on, the upload becomes a file, or it is given up.
        self.db.claim(caller, id, RESERVED).await?;
        let mut pending = Pending { uploads: self.clone(), reserved, multipart_id: None, is_file: false };
        limit.go_on();
        self.storage.copy(sent, object).await?;
        let content = self.look_at(object, size, limit).await?;
        // The client may have sent other content to the draft meanwhile.
        let copied = self.storage.size(object).await?.unwrap_or_default();
        if [size, copied, content.size].iter().any(|size| signed(*size) != input.size) {
            return Err(Error::unprocessable(
                "size",
                format!("is not {}, but {size}. Begin a new upload.", input.size),
            ));
        }
        let (sha256, content_type) = content.end(input.content_type.as_deref());
        if input.content_type.as_ref().is_some_and(|given| contradicts(given, &content_type)) {
            return Err(Error::unprocessable("content_type", format!("is {content_type}. Begin a new upload.")));
        }
        let DirectUploadInput { name, size, parents, .. } = input;
        let role = caller.recheck().await?;
        let make = async |tx: &mut WriteTx| {
            let (uploaded_by, created_at) = (caller.user(), tx.now());
            let file = File { id, name, size, content_type, sha256, parents, uploaded_by, version: 1, created_at };
            queries::insert(tx, role, reserved, file).await
        };
        let file = self.db.write(caller, make).await?;
        pending.is_file = true;
        Ok(file)
    }

    /// The file that the caller has completed before.
    async fn completed(&self, caller: &Caller<Upload>, id: FileId) -> Result<File> {
        let reader = Reader { user: caller.user(), role: caller.role() };
        let file = self.db.find(caller, async |tx| queries::find(tx, reader, id).await).await?;
        if file.uploaded_by == caller.user() { Ok(file) } else { Err(Error::NotFound) }
    }

    /// Reads an object for its hash and its type.
    async fn look_at(&self, object: ObjectName, size: u64, limit: &BodyLimit) -> Result<Content> {
        let mut content = Content::default();
        let mut pieces = self.storage.read(object, 0..size).await?;
        while let Some(piece) = pieces.try_next().await.map_err(|error| Error::Unavailable(error.into()))? {
            limit.go_on();
            content.push(&piece);
        }
        Ok(content)
    }
}
