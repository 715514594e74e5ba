//! Answers with the content of a stored file: whole, or one range of it (RFC 9110, 14).
use super::headers::{IfNoneMatch, etag, header_argument, joined};
use super::response::declare;
use crate::base::error::{Error, Result};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaMediaType, MetaParamIn, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use std::io;
use std::ops::Range;

/// `Range`: the part of a file that the client wants.
pub struct Ranges(Option<String>);

/// `If-Range`: the part is wanted only if the file is still this one. Otherwise the whole file is.
pub struct IfRange(Option<String>);

header_argument!(Ranges, "Range", String::schema_ref(), |request| Self(joined(request.headers(), Self::NAME)));
header_argument!(IfRange, "If-Range", String::schema_ref(), |request| Self(joined(request.headers(), Self::NAME)));

/// What a client wants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: it has the file already.
    Nothing,
    Whole,
    Part(Range<u64>),
}

impl Ranges {
    /// What is wanted of a file with this size and tag. A header that asks for several ranges, or that can't be read, is
    /// ignored, as it may be (RFC 9110, 14.2). Fails with 416 if the range begins behind the end of the file.
    pub fn wanted(&self, if_range: &IfRange, known: &IfNoneMatch, size: u64, tag: &str) -> Result<Wanted> {
        if known.has(tag) {
            return Ok(Wanted::Nothing);
        }
        let is_current = if_range.0.as_ref().is_none_or(|wanted| wanted.trim() == etag(tag));
        match self.0.as_deref().filter(|_| is_current).and_then(Spec::parse) {
            None => Ok(Wanted::Whole),
            Some(spec) => spec.of(size).map(Wanted::Part).ok_or(Error::RangeNotSatisfiable(size)),
        }
    }
}

/// One range as it is written: `5-9`, `5-` or `-5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    From(u64, Option<u64>),
    Last(u64),
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().unwrap_or(u64::MAX)) // only a number that is too large does not parse
        };
        let spec = match (first.trim(), last.trim()) {
            ("", last) => Self::Last(number(last)?),
            (first, "") => Self::From(number(first)?, None),
            (first, last) => Self::From(number(first)?, Some(number(last)?)),
        };
        let is_sound = !matches!(spec, Self::From(first, Some(last)) if last < first);
        (unit.trim().eq_ignore_ascii_case("bytes") && is_sound).then_some(spec)
    }

    /// The range in a file of this size. `None` if the file has no byte of it.
    fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// `Content-Disposition` for a download under this name (RFC 6266). Programs that do not know UTF-8 there get a name in
/// ASCII.
pub fn disposition(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !"\"\\%;".contains(c) || c == ' ' { c } else { '_' };
    let plain: String = name.chars().map(plain).collect();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte); // RFC 8187, 3.2.1
    let print = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let encoded: String = name.bytes().map(print).collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// 200 with a whole file, 206 with a part of it, or 304.
pub struct Content {
    pub wanted: Wanted,
    /// The size of the whole file in bytes.
    pub size: u64,
    /// Differs for different content.
    pub tag: String,
    pub name: String,
    pub media_type: String,
    /// The bytes that are wanted.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

impl IntoResponse for Content {
    fn into_response(self) -> Response {
        let Self { wanted, size, tag, name, media_type, bytes } = self;
        let header = |text: String| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.insert(header::ETAG, header(etag(&tag)));
        // A copy must be the same bytes, because ranges of it are joined.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache, no-transform"));
        headers.insert(header::VARY, HeaderValue::from_static("Authorization"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let length = match &wanted {
            Wanted::Nothing => {
                response.set_status(StatusCode::NOT_MODIFIED);
                return response;
            }
            Wanted::Whole => size,
            Wanted::Part(range) => {
                headers.insert(
                    header::CONTENT_RANGE,
                    header(format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))),
                );
                range.end.saturating_sub(range.start)
            }
        };
        headers.insert(header::CONTENT_TYPE, header(media_type));
        headers.insert(header::CONTENT_DISPOSITION, header(disposition(&name)));
        headers.insert(header::CONTENT_LENGTH, length.into());
        // If a browser shows it all the same, it runs nothing of it.
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox"),
        );
        if matches!(wanted, Wanted::Part(_)) {
            response.set_status(StatusCode::PARTIAL_CONTENT);
        }
        response.set_body(Body::from_bytes_stream(bytes));
        response
    }
}

impl ApiResponse for Content {
    fn meta() -> MetaResponses {
        let headers = ["ETag", "Accept-Ranges", "Content-Disposition"];
        let part = [&headers[..], &["Content-Range"]].concat();
        let bytes = || {
            let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")));
            vec![MetaMediaType { content_type: "*/*", schema }]
        };
        let with = |status, description, headers: &[&str]| MetaResponse {
            content: bytes(),
            ..declare(status, description, headers, None)
        };
        let found = with(200, "The file", &headers);
        let part = with(206, "A part of the file", &part);
        MetaResponses { responses: vec![found, part, declare(304, "Not changed", &["ETag"], None)] }
    }
    fn register(_: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(range: &str, size: u64) -> Option<Wanted> {
        let known = IfNoneMatch::none();
        Ranges(Some(range.to_owned())).wanted(&IfRange(None), &known, size, "tag").ok()
    }

    #[test]
    fn one_range_is_served_and_anything_else_is_the_whole() {
        let part = |range| Some(Wanted::Part(range));
        assert_eq!(wanted("bytes=0-3", 10), part(0..4));
        assert_eq!(wanted("Bytes = 5-", 10), part(5..10));
        assert_eq!(wanted("bytes=-3", 10), part(7..10));
        assert_eq!(wanted("bytes=-30", 10), part(0..10));
        assert_eq!(wanted("bytes=9-99999999999999999999999", 10), part(9..10));
        for whole in ["bytes=0-1,3-4", "lines=0-3", "bytes=3-1", "bytes=", "bytes=-", "bytes=a-3", "bytes=+1-3", "0-3"]
        {
            assert_eq!(wanted(whole, 10), Some(Wanted::Whole), "{whole}");
        }
        for nothing in ["bytes=10-", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(wanted(nothing, 10), None, "{nothing}");
        }
        assert_eq!(wanted("bytes=0-", 0), None);
    }

    #[test]
    fn a_range_is_of_the_file_that_the_client_has() {
        let ask = |if_range: &str| {
            let if_range = IfRange(Some(if_range.to_owned()));
            Ranges(Some("bytes=1-".to_owned())).wanted(&if_range, &IfNoneMatch::none(), 10, "tag").unwrap()
        };
        assert_eq!(ask("\"tag\""), Wanted::Part(1..10));
        for other in ["\"another\"", "W/\"tag\"", "Wed, 21 Oct 2015 07:28:00 GMT", "tag"] {
            assert_eq!(ask(other), Wanted::Whole, "{other}");
        }
    }

    #[test]
    fn names_of_downloads_are_one_header() {
        assert_eq!(disposition("a b.txt"), "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt");
        let korean = disposition("한\"\r\n;%.txt");
        assert_eq!(korean, "attachment; filename=\"______.txt\"; filename*=UTF-8''%ED%95%9C%22%0D%0A%3B%25.txt");
    }
}
