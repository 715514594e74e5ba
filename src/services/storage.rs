//! The storage of files' contents: a folder, or a bucket of S3. Content is written and read piece by piece, so that it
//! is never in memory as a whole. Each object has the ids of its tenant and its file as its name, never a name that a
//! client has chosen.
use crate::base::error::{Error, Result};
use crate::base::private_files;
use crate::db::stored_objects::Reservation;
use crate::db::types::{FileId, TenantId};
use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{
    ClientOptions, GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
};
use poem::http::{HeaderValue, Method, header};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use url::Url;

/// The size of the parts in which large objects are sent to S3, which takes no smaller ones and no more than 10,000. It
/// is also the greatest size of an object that is sent at once.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// How long one step may take, such as storing a part. If a storage is away or too slow, the step fails after this time at
/// the latest, and the request is answered with 503.
const STEP_TIME: Duration = Duration::from_secs(20);
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long S3 may send nothing. It is tried once more within the time of the step.
const SILENCE: Duration = Duration::from_secs(8);

/// After how many bytes it is looked again whether the disk has room.
const BYTES_BETWEEN_LOOKS: u64 = 1024 * 1024;

/// The size of the pieces in which a file of the folder is read.
const PIECE_BYTES: usize = 64 * 1024;

/// By what a machine of Amazon's says how to get a key: the settings of the builder, and the variables that name them.
const KEYS_OF_MACHINE: [(AmazonS3ConfigKey, &str); 6] = [
    (AmazonS3ConfigKey::WebIdentityTokenFile, "AWS_WEB_IDENTITY_TOKEN_FILE"),
    (AmazonS3ConfigKey::RoleArn, "AWS_ROLE_ARN"),
    (AmazonS3ConfigKey::RoleSessionName, "AWS_ROLE_SESSION_NAME"),
    (AmazonS3ConfigKey::ContainerCredentialsRelativeUri, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    (AmazonS3ConfigKey::ContainerCredentialsFullUri, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    (AmazonS3ConfigKey::ContainerAuthorizationTokenFile, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
];

/// A bucket of S3, and how it is reached.
#[derive(Debug, Clone)]
pub struct S3Options {
    pub bucket: String,
    /// What the names of all objects begin with. It may be empty.
    pub prefix: String,
    /// The address of the server, if it is not Amazon's.
    pub endpoint: Option<String>,
    pub region: String,
    /// The key's id and its secret. Without it, the machine that the server runs on is asked for one.
    pub key: Option<(String, String)>,
}

/// The storage. Cheap to clone.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    place: Place,
    prefix: Path,
    /// How many bytes of the disk uploads leave free.
    min_free_bytes: u64,
}

enum Place {
    Folder(PathBuf, Arc<LocalFileSystem>),
    S3(AmazonS3),
}

/// The name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectName {
    pub tenant: TenantId,
    pub file: FileId,
}

impl From<Reservation> for ObjectName {
    fn from(Reservation { tenant, id, .. }: Reservation) -> Self {
        Self { tenant, file: id }
    }
}

impl Storage {
    /// A folder, which is created if it does not exist.
    pub fn folder(path: PathBuf, min_free_bytes: u64) -> anyhow::Result<Self> {
        private_files::create_folder(&path).with_context(|| format!("{} can't be created", path.display()))?;
        let files = LocalFileSystem::new_with_prefix(&path).context("the folder can't be used")?.with_fsync(true);
        let place = Place::Folder(path, Arc::new(files));
        Ok(Self(Arc::new(Inner { place, prefix: Path::default(), min_free_bytes })))
    }

    /// A bucket. Nothing is connected to yet.
    pub fn s3(options: S3Options) -> anyhow::Result<Self> {
        // reqwest takes the process's own. It fails if there is one already, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let S3Options { bucket, prefix, endpoint, region, key } = options;
        let client = ClientOptions::new()
            .with_allow_http(true) // the settings refuse it where it is not safe
            .with_connect_timeout(CONNECT_TIME)
            .with_read_timeout(SILENCE)
            .with_timeout_disabled(); // a download may take long
        let retry = RetryConfig { max_retries: 1, retry_timeout: STEP_TIME / 2, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        match key {
            Some((id, secret)) => builder = builder.with_access_key_id(id).with_secret_access_key(secret),
            None => {
                for (setting, name) in KEYS_OF_MACHINE {
                    if let Ok(value) = std::env::var(name) {
                        builder = builder.with_config(setting, value);
                    }
                }
            }
        }
        let place = Place::S3(builder.build().context("the bucket can't be used")?);
        Ok(Self(Arc::new(Inner { place, prefix: Path::from(prefix), min_free_bytes: 0 })))
    }

    /// Fails with `StorageFull` if the disk has less free space than uploads must leave.
    pub async fn must_have_room(&self) -> Result<()> {
        let Place::Folder(path, _) = &self.0.place else { return Ok(()) };
        let path = path.clone();
        let looked = spawn_blocking(move || rustix::fs::statvfs(&path)).await;
        let disk = looked.map_err(|error| Error::Internal(error.into()))?;
        let disk = disk.map_err(|error| Error::Unavailable(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        match free >= self.0.min_free_bytes {
            true => Ok(()),
            false => Err(Error::StorageFull(anyhow::anyhow!("the disk of the files has {free} bytes free"))),
        }
    }

    /// Begins to write an object of at most so many bytes.
    pub async fn write(&self, name: ObjectName, at_most: u64) -> Result<Writing> {
        let path = self.path(name);
        let target = match &self.0.place {
            Place::Folder(_, files) => {
                let (files, path, runtime) = (files.clone(), path.clone(), Handle::current());
                let begun = spawn_blocking(move || runtime.block_on(files.put_multipart(&path))); // it opens the file itself
                let begun = async { begun.await.unwrap_or_else(|error| Err(error.into())) };
                Target::File(in_time(begun).await?)
            }
            Place::S3(_) if at_most <= PART_BYTES as u64 => Target::Whole(BytesMut::new()),
            Place::S3(bucket) => {
                let id = in_time(bucket.create_multipart(&path)).await?;
                Target::Parts { id, parts: vec![], next: BytesMut::new() }
            }
        };
        Ok(Writing { storage: self.clone(), path, target, since_look: 0 })
    }

    /// The bytes of an object from `range.start` up to `range.end`.
    pub async fn read(&self, name: ObjectName, range: Range<u64>) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        if range.is_empty() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let path = self.path(name);
        let found = in_time(self.store().get_opts(&path, options)).await?;
        let (length, start) = (found.range.end.saturating_sub(found.range.start), found.range.start);
        match found.payload {
            GetResultPayload::File(file, _) => {
                let mut file = tokio::fs::File::from_std(file);
                file.seek(io::SeekFrom::Start(start)).await.map_err(|error| Error::Unavailable(error.into()))?;
                Ok(ReaderStream::with_capacity(file.take(length), PIECE_BYTES).boxed())
            }
            GetResultPayload::Stream(stream) => Ok(stream.map_err(io::Error::other).boxed()),
        }
    }

    /// Copies an object to another name.
    pub async fn copy(&self, from: ObjectName, to: ObjectName) -> Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        in_time(self.store().copy(&from, &to)).await
    }

    /// The size of an object in bytes. `None` if it does not exist.
    pub async fn size(&self, name: ObjectName) -> Result<Option<u64>> {
        let path = self.path(name);
        match timeout(STEP_TIME, self.store().head(&path)).await.map_err(|late| Error::Unavailable(late.into()))? {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes an object, and what an upload that was broken off has left of it: parts in S3 with this `multipart_id`,
    /// or drafts in the folder. It is no error if nothing exists.
    pub async fn remove(&self, name: ObjectName, multipart_id: Option<&str>) -> Result<()> {
        let path = self.path(name);
        match &self.0.place {
            Place::Folder(folder, _) => {
                let folder = folder.join(name.tenant.to_string());
                remove_files(folder, name.file.to_string()).await.map_err(|error| Error::Unavailable(error.into()))
            }
            Place::S3(bucket) => {
                if let Some(id) = multipart_id {
                    removed(bucket.abort_multipart(&path, &id.to_owned())).await?;
                }
                removed(bucket.delete(&path)).await
            }
        }
    }

    /// Removes all objects of a tenant.
    pub async fn remove_all(&self, tenant: TenantId) -> Result<()> {
        let path = self.0.prefix.clone().join(tenant.to_string());
        match &self.0.place {
            Place::Folder(folder, _) => match tokio::fs::remove_dir_all(folder.join(tenant.to_string())).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Unavailable(error.into())),
                _ => Ok(()),
            },
            Place::S3(bucket) => {
                let objects = bucket.list(Some(&path)).map_ok(|object| object.location).boxed();
                let mut gone = bucket.delete_stream(objects); // by a thousand at a time
                while removed_next(&mut gone).await? {}
                Ok(())
            }
        }
    }

    /// Whether clients can be given links to the storage itself, as S3 has them.
    pub fn has_links(&self) -> bool {
        matches!(self.0.place, Place::S3(_))
    }

    /// Fails with 422 if the storage has no links.
    pub fn must_have_links(&self) -> Result<()> {
        if self.has_links() { Ok(()) } else { Err(no_links()) }
    }

    /// A link by which anybody can read an object for this time. The answer has this `Content-Disposition` and this
    /// media type.
    pub async fn link_to_read(
        &self,
        name: ObjectName,
        disposition: &str,
        media_type: &str,
        lifetime: Duration,
    ) -> Result<Url> {
        let query = [("response-content-disposition", disposition), ("response-content-type", media_type)];
        self.link(Method::GET, name, SignedUrlOptions::default().with_query(query), lifetime).await
    }

    /// A link by which anybody can write an object of this media type for this time.
    pub async fn link_to_write(&self, name: ObjectName, media_type: HeaderValue, lifetime: Duration) -> Result<Url> {
        let options = SignedUrlOptions::default().with_signed_header(header::CONTENT_TYPE, media_type);
        self.link(Method::PUT, name, options, lifetime).await
    }

    async fn link(
        &self,
        method: Method,
        name: ObjectName,
        options: SignedUrlOptions,
        lifetime: Duration,
    ) -> Result<Url> {
        let Place::S3(bucket) = &self.0.place else { return Err(no_links()) };
        let path = self.path(name);
        in_time(bucket.signed_url_opts(method, &path, lifetime, &options)).await
    }

    fn store(&self) -> &dyn ObjectStore {
        match &self.0.place {
            Place::Folder(_, files) => &**files,
            Place::S3(bucket) => bucket,
        }
    }

    fn path(&self, ObjectName { tenant, file }: ObjectName) -> Path {
        self.0.prefix.clone().join(tenant.to_string()).join(file.to_string())
    }
}

/// An object that is being written. If it is dropped, [`Storage::remove`] removes what was written.
pub struct Writing {
    storage: Storage,
    path: Path,
    target: Target,
    /// The bytes since the disk was last looked at.
    since_look: u64,
}

enum Target {
    File(Box<dyn MultipartUpload>),
    /// A small object of S3, which is sent at once.
    Whole(BytesMut),
    Parts {
        id: String,
        parts: Vec<PartId>,
        next: BytesMut,
    },
}

impl Writing {
    /// The id of the multipart upload to S3.
    pub fn multipart_id(&self) -> Option<&str> {
        match &self.target {
            Target::Parts { id, .. } => Some(id),
            Target::File(_) | Target::Whole(_) => None,
        }
    }

    pub async fn push(&mut self, chunk: Bytes) -> Result<()> {
        self.since_look += chunk.len() as u64;
        match &mut self.target {
            Target::File(file) => {
                in_time(file.put_part(chunk.into())).await?;
                if self.since_look >= BYTES_BETWEEN_LOOKS {
                    self.since_look = 0;
                    self.storage.must_have_room().await?;
                }
            }
            Target::Whole(whole) => whole.extend_from_slice(&chunk),
            Target::Parts { next, .. } => {
                next.extend_from_slice(&chunk);
                while self.has_part() {
                    self.send_part(PART_BYTES).await?;
                }
            }
        }
        Ok(())
    }

    fn has_part(&self) -> bool {
        matches!(&self.target, Target::Parts { next, .. } if next.len() >= PART_BYTES)
    }

    async fn send_part(&mut self, length: usize) -> Result<()> {
        if let (Target::Parts { id, parts, next }, Place::S3(bucket)) = (&mut self.target, &self.storage.0.place) {
            let part = PutPayload::from(next.split_to(length).freeze());
            parts.push(in_time(bucket.put_part(&self.path, id, parts.len(), part)).await?);
        }
        Ok(())
    }

    /// Completes the object. Only then it exists, as a whole.
    pub async fn finish(mut self) -> Result<()> {
        if let Target::Parts { next, parts, .. } = &self.target
            && (!next.is_empty() || parts.is_empty())
        {
            let rest = next.len();
            self.send_part(rest).await?;
        }
        match self.target {
            Target::File(mut file) => in_time(file.complete()).await.map(drop),
            Target::Whole(whole) => {
                in_time(self.storage.store().put(&self.path, whole.freeze().into())).await.map(drop)
            }
            Target::Parts { id, parts, .. } => match &self.storage.0.place {
                Place::S3(bucket) => in_time(bucket.complete_multipart(&self.path, &id, parts)).await.map(drop),
                Place::Folder(..) => Ok(()), // it has no parts
            },
        }
    }
}

/// Removes a file of a folder, and its drafts, which object_store numbers from 1: `name#1`.
async fn remove_files(folder: PathBuf, name: String) -> io::Result<()> {
    let remove = move || {
        let is_gone = |name: &str| match std::fs::remove_file(folder.join(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        is_gone(&name)?;
        let mut number = 1;
        while is_gone(&format!("{name}#{number}"))? {
            number += 1;
        }
        Ok(())
    };
    spawn_blocking(remove).await.map_err(io::Error::other)?
}

fn no_links() -> Error {
    Error::unprocessable("storage", "has no links. Upload and download files through the server.")
}

/// Runs one step of the storage, within its time.
async fn in_time<T>(step: impl Future<Output = object_store::Result<T>>) -> Result<T> {
    match timeout(STEP_TIME, step).await {
        Ok(result) => result.map_err(failed),
        Err(late) => Err(Error::Unavailable(late.into())),
    }
}

/// What a failure of the storage means for a request.
fn failed(error: object_store::Error) -> Error {
    let first: &(dyn std::error::Error + 'static) = &error;
    let causes = std::iter::successors(Some(first), |cause| cause.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let is_full = kinds.any(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
    match error {
        error if is_full => Error::StorageFull(error.into()),
        object_store::Error::NotFound { .. } => {
            Error::Internal(anyhow::Error::from(error).context("an object is missing"))
        }
        error => Error::Unavailable(error.into()),
    }
}

/// As [`in_time`], for a step that removes something. It is no error if there is nothing to remove.
async fn removed<T>(step: impl Future<Output = object_store::Result<T>>) -> Result<()> {
    let step = async {
        match step.await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            result => result.map(drop),
        }
    };
    in_time(step).await
}

/// Waits for the next removal of several. Returns whether there was one.
async fn removed_next(gone: &mut BoxStream<'static, object_store::Result<Path>>) -> Result<bool> {
    match timeout(STEP_TIME, gone.next()).await.map_err(|late| Error::Unavailable(late.into()))? {
        None => Ok(false),
        Some(Ok(_) | Err(object_store::Error::NotFound { .. })) => Ok(true),
        Some(Err(error)) => Err(failed(error)),
    }
}
