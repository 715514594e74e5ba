//! Smaller answers for clients that accept them. poem's `Compression` also compresses 206 and event streams, and
//! unpacks request bodies without a limit.
//!
//! A strong `ETag` names one sequence of bytes, so a compressed answer needs a tag of its own: `"5"` becomes
//! `"5--gzip"`. What clients send back loses the suffix again, so that a 304 names the copy that the client has.
//! Not so in `If-Range`: a part of the plain bytes must never be joined to a compressed copy.
use super::coding::Coding;
use super::copies::Copies;
use super::negotiate::weight;
use crate::base::error::Error;
use poem::error::ResponseError;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use poem::web::{Compress, CompressionAlgo, CompressionLevel};
use poem::{IntoResponse, Response};

/// Below this, the headers weigh more than what is saved.
pub const WORTHWHILE: u64 = 1024;

/// Up to this size an answer is compressed at once: while a client does not read, the compressor would take more memory
/// than the answer.
const AT_ONCE: u64 = 1024 * 1024;

/// The types that become smaller and, unlike `text/event-stream`, are not waited for piece by piece.
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

/// What client and answer agree on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compression {
    accepted: Option<Coding>,
    /// The coding of the copy that the client has got, by its conditional request.
    held: Option<Coding>,
}

impl Compression {
    /// Reads what the client accepts, and takes our suffixes off the tags that it sends back.
    pub fn negotiate(request: &mut HeaderMap) -> Self {
        Self { accepted: accepted(request), held: untag(request) }
    }

    pub async fn apply(self, mut response: Response) -> Response {
        if response.status() == StatusCode::NOT_MODIFIED {
            self.held.inspect(|coding| coding.tag(response.headers_mut())); // it speaks of the client's copy
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
            // Tags of others, which match nothing here, may be no text.
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

/// The answer with a copy of the file that it is, which is compressed already.
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

/// Reads the body to its end, which is at hand.
async fn whole(mut response: Response) -> Response {
    match response.take_body().into_bytes().await {
        Ok(bytes) => response.set_body(bytes),
        // It has been read from memory, so this does not happen; if it does, the client has to see it.
        Err(error) => return Error::Internal(error.into()).as_response(),
    }
    response
}

/// The length of the body, unless it is made on the way.
pub fn length(response: &mut Response) -> Option<u64> {
    type RawBody = http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>;
    let body: RawBody = response.take_body().into();
    let length = hyper::body::Body::size_hint(&body).exact();
    response.set_body(body);
    length
}
