//! `multipart/form-data` with one file, read piece by piece (RFC 7578). The extractors of poem-openapi keep the whole
//! file in a temporary folder before the handler is called.
use super::body::{Input, parse_members, refuse_coding};
use crate::base::error::{Error, Result};
use crate::base::request::essence;
use crate::server::body_limit::BodyLimit;
use bytes::{Bytes, BytesMut};
use poem::http::header;
use poem::web::Multipart;
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// The name of the part with the file.
const FILE: &str = "file";

/// The media type of the body.
const MULTIPART: &str = "multipart/form-data";

/// How many parts there may be.
const MAX_PARTS: usize = 16;
/// The greatest size of a part other than the file.
const MAX_TEXT_BYTES: u64 = 4096;
/// How many bytes may arrive before the next part begins. They are kept in memory until then. One piece from the network
/// has less than half of it, and a transfer is read piece by piece.
const MAX_HEAD_BYTES: u64 = 1024 * 1024;
/// The size of the pieces in which the file is read.
const PIECE_BYTES: usize = 64 * 1024;
/// After this time, a piece is taken as it is.
const PIECE_TIME: Duration = Duration::from_secs(5);

/// A body with a file, and with the members of a `T` as further parts.
pub struct Upload<T> {
    form: Multipart,
    limit: BodyLimit,
    declared_bytes: Option<u64>,
    members: Map<String, Value>,
    parts: usize,
    has_file: bool,
    of: PhantomData<fn() -> T>,
}

/// The file of an upload.
pub struct FilePart {
    /// The name that the client gave, which may be anything.
    pub name: Option<String>,
    /// The media type that the client gave.
    pub media_type: Option<String>,
    reader: Pin<Box<dyn AsyncRead + Send>>,
    limit: BodyLimit,
}

impl FilePart {
    /// The next piece of the content, which is not empty. `None` at the end.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>> {
        let (mut piece, begun) = (BytesMut::with_capacity(PIECE_BYTES), Instant::now());
        while piece.len() < PIECE_BYTES && begun.elapsed() < PIECE_TIME {
            // After an error, the edge says whether the client has sent too much or too slowly.
            match self.reader.read_buf(&mut piece).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => return Err(unreadable()),
            }
        }
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }

    /// Breaks the upload off because its client is too slow. It is answered with 408.
    pub fn break_off(&self) -> Error {
        self.limit.break_off()
    }
}

fn unreadable() -> Error {
    Error::Malformed("The body can't be read as multipart/form-data.".into())
}

impl<T: Input> Upload<T> {
    /// Allows a body for a file of at most so many bytes. Must be called before the first part is read. Fails with 413 if
    /// the body is larger than that.
    pub fn allow(&self, max_bytes: u64) -> Result<()> {
        let max_bytes = max_bytes.saturating_add(MAX_HEAD_BYTES);
        self.limit.transfer(max_bytes);
        match self.declared_bytes {
            Some(declared) if declared > max_bytes => Err(Error::PayloadTooLarge),
            _ => Ok(()),
        }
    }

    /// The length of the whole body, which is more than that of its file. `None` if the client did not say it.
    pub fn declared_bytes(&self) -> Option<u64> {
        self.declared_bytes
    }

    /// Breaks the upload off because it has taken too long. It is answered with 408.
    pub fn break_off(&self) -> Error {
        self.limit.break_off()
    }

    /// Moves the deadline, for work that goes on after all has been read.
    pub fn go_on(&self) {
        self.limit.go_on();
    }

    /// Reads on to the file, which may come before or after other parts. `None` at the end of the body.
    pub async fn next_file(&mut self) -> Result<Option<FilePart>> {
        loop {
            self.limit.allow(MAX_HEAD_BYTES);
            let Some(part) = self.form.next_field().await.map_err(|_| unreadable())? else { break };
            self.limit.allow(u64::MAX);
            self.parts += 1;
            if self.parts > MAX_PARTS {
                return Err(Error::Malformed(format!("The body has more than {MAX_PARTS} parts.")));
            }
            let name = part.name().unwrap_or_default().to_owned();
            if name == FILE {
                if std::mem::replace(&mut self.has_file, true) {
                    return Err(Error::invalid(FILE, "must be given once"));
                }
                let (name, media_type) = (part.file_name().map(str::to_owned), part.content_type().map(str::to_owned));
                return Ok(Some(FilePart {
                    name,
                    media_type,
                    reader: Box::pin(part.into_async_read()),
                    limit: self.limit.clone(),
                }));
            }
            let mut text = vec![];
            let mut reader = Box::pin(part.into_async_read()).take(MAX_TEXT_BYTES + 1);
            reader.read_to_end(&mut text).await.map_err(|_| unreadable())?;
            if text.len() as u64 > MAX_TEXT_BYTES {
                return Err(Error::invalid(&name, format!("must have at most {MAX_TEXT_BYTES} bytes")));
            }
            let text = String::from_utf8(text).map_err(|_| Error::invalid(&name, "must be UTF-8"))?;
            if self.members.contains_key(&name) {
                return Err(Error::invalid(&name, "must be given once"));
            }
            self.members.insert(name, text.into());
        }
        match self.has_file {
            true => Ok(None),
            false => Err(Error::invalid(FILE, "is required")),
        }
    }

    /// The other parts, after the end of the body. A part without text counts as left out, as forms send it.
    pub fn members(mut self) -> Result<T> {
        self.members.retain(|_, text| text != "");
        parse_members(self.members)
    }
}

/// The deadline of a request whose work may take long. The handler moves it while the work goes on.
pub struct LongWork(pub BodyLimit);

impl<'a> ApiExtractor<'a> for LongWork {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];
    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(limit_of(request)?))
    }
}

fn limit_of(request: &Request) -> Result<BodyLimit> {
    let limit = request.data::<BodyLimit>().cloned();
    limit.ok_or_else(|| Error::Internal(anyhow::anyhow!("a body without a limit")))
}

impl<'a, T: Input> ApiExtractor<'a> for Upload<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let name = Self::schema_name();
        registry.create_schema::<T, _>(name, |registry| {
            let mut schema = registry.create_fake_schema::<T>();
            let file = MetaSchema::new_with_format("string", "binary");
            schema.properties.insert(0, (FILE, MetaSchemaRef::Inline(Box::new(file))));
            schema.required = vec![FILE];
            schema.description = None;
            schema
        });
    }
    fn request_meta() -> Option<MetaRequest> {
        let schema = MetaSchemaRef::Reference(Self::schema_name());
        let content = vec![MetaMediaType { content_type: MULTIPART, schema }];
        Some(MetaRequest { description: None, content, required: true })
    }
    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if request.content_type().map(essence).as_deref() != Some(MULTIPART) {
            return Err(Error::UnsupportedMediaType.into());
        }
        refuse_coding(request)?;
        let limit = limit_of(request)?;
        let declared = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let form = <Multipart as FromRequest>::from_request(request, body).await;
        let form = form.map_err(|_| Error::Malformed("The Content-Type has no boundary between the parts.".into()))?;
        Ok(Self {
            form,
            limit,
            declared_bytes: declared,
            members: Map::new(),
            parts: 0,
            has_file: false,
            of: PhantomData,
        })
    }
}

impl<T: Input> Upload<T> {
    /// `FileParents` becomes `FileUpload`.
    fn schema_name() -> String {
        let name = T::name();
        format!("{}Upload", name.strip_suffix("Parents").unwrap_or(&name))
    }
}
