//! Uploads: how the content of a file comes into the storage. First room is reserved, then the content is written, and
//! then the file is made in one transaction. An upload that ends before that leaves a reservation, by which what it has
//! written is found and removed, by [`RemoveLeftovers`] at the latest.
mod direct;
mod handlers;
mod leftovers;

pub use handlers::DirectUploadsApi;
pub use leftovers::RemoveLeftovers;

use super::types::{File, FileParents};
use super::{Upload, queries};
use crate::api::{Caller, FilePart, Upload as Form};
use crate::base::error::{Error, Result};
use crate::base::files::{Content, safe_name};
use crate::db::stored_objects::{Reservation, Room, over_quota};
use crate::db::{Db, WriteTx};
use crate::services::storage::{ObjectName, Storage, Writing};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long an upload may take, however fast it goes on.
const UPLOAD_TIME: Duration = Duration::from_secs(60 * 60);
/// How long room is reserved for it: longer than an upload may take, and longer than the address of a direct upload is good.
const RESERVED: chrono::Duration = chrono::Duration::minutes(70);

/// The slowest upload: so many bytes a second, on average, after this time. A slower one would keep a place for long.
const SLOWEST: u64 = 4096;
const GRACE: Duration = Duration::from_secs(60);

/// What tenants may store.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// The greatest size of a file in bytes.
    pub file_bytes: u64,
    /// The greatest size of all files of a tenant.
    pub tenant_bytes: u64,
}

/// Receives files.
#[derive(Clone)]
pub struct Uploads {
    pub db: Db,
    pub storage: Storage,
    pub limits: UploadLimits,
}

/// What was found out about a file while it was received.
struct Received {
    name: String,
    size: u64,
    content_type: String,
    sha256: String,
}

impl Uploads {
    /// Stores the file of a form. Fails with 413, 429, 503 or 507 if there is no place for it, and leaves nothing then.
    pub async fn receive(&self, caller: &Caller<Upload>, mut form: Form<FileParents>) -> Result<File> {
        let _slot = caller.begin_upload()?;
        let UploadLimits { file_bytes, tenant_bytes } = self.limits;
        form.allow(file_bytes)?;
        self.storage.must_have_room().await?;
        let wanted = form.declared_bytes().unwrap_or(u64::MAX).min(file_bytes);
        let room = Room {
            wanted: signed(wanted),
            needed: signed(wanted.min(1)),
            quota: signed(tenant_bytes),
            lifetime: RESERVED,
        };
        let reserved = self.db.reserve(caller, room, None).await?;
        let mut pending = Pending { uploads: self.clone(), reserved, multipart_id: None, is_file: false };
        let received = timeout(UPLOAD_TIME, self.receive_into(&mut pending, &mut form)).await;
        let Received { name, size, content_type, sha256 } = received.map_err(|_| form.break_off())??;
        form.go_on();
        let parents = form.members()?;
        let role = caller.recheck().await?; // the upload may have taken long
        let id = reserved.id;
        let make = async |tx: &mut WriteTx| {
            let (uploaded_by, created_at) = (caller.user(), tx.now());
            let (size, version) = (signed(size), 1);
            let file = File { id, name, size, content_type, sha256, parents, uploaded_by, version, created_at };
            queries::insert(tx, role, reserved, file).await
        };
        let file = self.db.write(caller, make).await?;
        pending.is_file = true;
        Ok(file)
    }

    async fn receive_into(&self, pending: &mut Pending, form: &mut Form<FileParents>) -> Result<Received> {
        let (mut received, at_most) = (None, u64::try_from(pending.reserved.bytes).unwrap_or_default());
        while let Some(part) = form.next_file().await? {
            let writing = self.storage.write(pending.reserved.into(), at_most).await?;
            if let Some(id) = writing.multipart_id() {
                pending.multipart_id = Some(id.to_owned());
                self.db.note_multipart(pending.reserved, id).await?;
            }
            received = Some(self.store(part, writing, at_most).await?);
        }
        received.ok_or_else(|| Error::invalid("file", "is required"))
    }

    /// Writes a file to the storage as it arrives.
    async fn store(&self, mut part: FilePart, mut writing: Writing, at_most: u64) -> Result<Received> {
        let (mut content, begun) = (Content::default(), Instant::now());
        while let Some(piece) = part.next_piece().await? {
            content.push(&piece);
            match content.size {
                size if size > self.limits.file_bytes => return Err(Error::PayloadTooLarge),
                size if size > at_most => return Err(over_quota(signed(self.limits.tenant_bytes))),
                _ => {}
            }
            let seconds = begun.elapsed().saturating_sub(GRACE).as_secs();
            if content.size < seconds * SLOWEST {
                return Err(part.break_off());
            }
            writing.push(piece).await?;
        }
        writing.finish().await?;
        let (name, size) = (safe_name(part.name.as_deref().unwrap_or_default()), content.size);
        let (sha256, content_type) = content.end(part.media_type.as_deref());
        Ok(Received { name, size, content_type, sha256 })
    }

    /// Gives an upload up, and removes what it has written. Does nothing if it has become a file.
    async fn give_up(&self, object: ObjectName, multipart_id: Option<&str>) -> Result<()> {
        let ObjectName { tenant, file } = object;
        let Some(leftover) = self.db.give_up(tenant, file).await? else { return Ok(()) };
        self.storage.remove(object, multipart_id.or(leftover.multipart_id.as_deref())).await
    }
}

/// A number of bytes as the database stores it. No setting allows more than fit.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// An upload that is under way. Unless it becomes a file, what it has written is removed when this is dropped.
struct Pending {
    uploads: Uploads,
    reserved: Reservation,
    multipart_id: Option<String>,
    is_file: bool,
}

/// Runs also if the client has left, or if it is unknown whether the transaction was committed.
impl Drop for Pending {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_file {
            return;
        }
        let (uploads, object, multipart_id) =
            (self.uploads.clone(), ObjectName::from(self.reserved), self.multipart_id.take());
        runtime.spawn(async move {
            if let Err(error) = uploads.give_up(object, multipart_id.as_deref()).await {
                tracing::warn!(?error, file.id = %object.file, "What an upload has left will be removed later");
            }
        });
    }
}
