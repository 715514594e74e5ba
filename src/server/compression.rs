//! Compresses answers for clients that accept it. poem's `Compression` is not used: it also compresses 206 answers and
//! event streams, and decompresses request bodies without a limit.
//!
//! A strong `ETag` names one sequence of bytes, so a compressed answer needs a tag of its own: `"5"` becomes
//! `"5--gzip"`. The suffix is removed from the tags in `If-Match` and `If-None-Match`, so that they match again. A 304
//! gets the suffix back, because it names the copy that the client has. The suffix stays in `If-Range`, because a part
//! of the plain bytes must never be joined to a compressed copy.
use super::coding::Coding;
use super::copies::Copies;
use super::negotiate::weight;
use crate::base::error::Error;
use poem::error::ResponseError;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use poem::web::{Compress, CompressionAlgo, CompressionLevel};
use poem::{IntoResponse, Response};

/// Answers below this size, in bytes, are not compressed: the added headers would be larger than what is saved.
pub const WORTHWHILE: u64 = 1024;

/// Answers up to this size are compressed completely before they are sent. A compressor that waits for a slow client
/// would take more memory than the answer.
const AT_ONCE: u64 = 1024 * 1024;

/// The media types that become smaller. `text/event-stream` is not among them, because clients wait for each of its
/// events.
const COMPRESSIBLE: [&str; 11] = [
    "application/javascript",
    "application/json",
    "application/x-ndjson",
    "application/yaml",
    "image/svg+xml",
    "text/calendar",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/plain",
];

/// The codings that were negotiated for one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compression {
    accepted: Option<Coding>,
    /// The coding of the copy that the client has, as the tags in its conditional request show.
    held: Option<Coding>,
}

impl Compression {
    /// Reads what the client accepts, and takes our suffixes off the tags that it sends back.
    pub fn negotiate(request: &mut HeaderMap) -> Self {
        Self { accepted: accepted(request), held: untag(request) }
    }

    pub async fn apply(self, mut response: Response) -> Response {
        if response.status() == StatusCode::NOT_MODIFIED {
            self.held.inspect(|coding| coding.tag(response.headers_mut())); // a 304 names the copy that the client has
            response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if !is_compressible(&response) {
            return response;
        }
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let length = length(&mut response);
        match self.accepted {
            Some(coding) if length.is_none_or(|length| length >= WORTHWHILE) => {
                coding.tag(response.headers_mut());
                if let Some(copies) = response.data::<&'static Copies>().copied() {
                    return replaced(response, copies, coding).await;
                }
                let response = compressed(response, coding);
                if length.is_some_and(|length| length <= AT_ONCE) { whole(response).await } else { response }
            }
            _ => response,
        }
    }
}

fn compressed(response: Response, coding: Coding) -> Response {
    let algorithm = match coding {
        Coding::Brotli => CompressionAlgo::BR,
        Coding::Gzip => CompressionAlgo::GZIP,
    };
    Compress::new(response, algorithm).with_quality(CompressionLevel::Fastest).into_response()
}

fn accepted(request: &HeaderMap) -> Option<Coding> {
    let any = weight(request, header::ACCEPT_ENCODING, "*").unwrap_or(0.0);
    let weigh = |coding: Coding| (coding, weight(request, header::ACCEPT_ENCODING, coding.name()).unwrap_or(any));
    let [first, second] = Coding::ALL.map(weigh);
    let (coding, weight) = if second.1 > first.1 { second } else { first };
    (weight > 0.0).then_some(coding)
}

fn untag(request: &mut HeaderMap) -> Option<Coding> {
    let is_condition = |name: &HeaderName| [header::IF_MATCH, header::IF_NONE_MATCH].contains(name);
    let mut held = None;
    for (_, value) in request.iter_mut().filter(|(name, _)| is_condition(name)) {
        for coding in Coding::ALL {
            // Tags that others made may be no valid UTF-8. They match nothing here, so that the lossy conversion does
            // no harm.
            let tags = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let tags = Some(tags).filter(|tags| tags.contains(coding.tag_suffix()));
            let plain = tags.map(|tags| tags.replace(coding.tag_suffix(), "\""));
            if let Some(plain) = plain.and_then(|plain| HeaderValue::from_bytes(plain.as_bytes()).ok()) {
                *value = plain;
                held = Some(coding);
            }
        }
    }
    held
}

fn is_compressible(response: &Response) -> bool {
    let headers = response.headers();
    let fixed = [header::CONTENT_ENCODING, header::CONTENT_RANGE].iter().any(|name| headers.contains_key(name));
    let forbidden = response.header(header::CACHE_CONTROL).is_some_and(|control| control.contains("no-transform"));
    let no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    let media_type = response.content_type().and_then(|value| value.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let shrinks = COMPRESSIBLE.contains(&media_type.as_str()) || media_type.ends_with("+json");
    shrinks && !fixed && !forbidden && !no_body && response.status() != StatusCode::PARTIAL_CONTENT
}

/// Replaces the body, which is a file, with the compressed copy that is made once for all clients.
async fn replaced(mut response: Response, copies: &'static Copies, coding: Coding) -> Response {
    match copies.packed(coding).await {
        Ok(copy) => {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response.set_body(copy);
            response
        }
        Err(error) => error.as_response(),
    }
}

/// Compresses the whole body before it is sent. It waits for no source, because the uncompressed body is in memory.
async fn whole(mut response: Response) -> Response {
    match response.take_body().into_bytes().await {
        Ok(bytes) => response.set_body(bytes),
        // The body is in memory, so that reading it does not fail. If it fails nevertheless, the client must get an
        // error.
        Err(error) => return Error::Internal(error.into()).as_response(),
    }
    response
}

/// The length of the body, or `None` if the body is made while it is sent.
pub fn length(response: &mut Response) -> Option<u64> {
    type RawBody = http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>;
    let body: RawBody = response.take_body().into();
    let length = hyper::body::Body::size_hint(&body).exact();
    response.set_body(body);
    length
}
