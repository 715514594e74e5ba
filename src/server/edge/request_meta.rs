//! What the edge remembers of a request while the endpoint handles it.
use super::EdgeOptions;
use crate::base::queue::Claimant;
use crate::base::request::{ClientIp, ForwardedScheme, RequestId};
use crate::server::client_ip;
use crate::server::compression::Compression;
use crate::server::negotiate::weight;
use crate::server::unsent::Recipient;
use poem::Request;
use poem::http::{HeaderMap, HeaderValue, Method, header};

pub struct RequestMeta {
    pub id: String,
    pub client: Option<ClientIp>,
    pub is_https: bool,
    pub method: Method,
    pub path: String,
    pub origin: Option<HeaderValue>,
    /// Whether this is a CORS preflight.
    pub is_preflight: bool,
    pub wants_problem: bool,
    pub compression: Compression,
    pub recipient: Recipient,
}

impl RequestMeta {
    /// Reads what the edge needs to know of a request, and adds to the request what only the edge can find out.
    pub fn of(request: &mut Request, options: &EdgeOptions) -> Self {
        keep_media_type(request.headers_mut());
        let id = given_id(request.headers()).unwrap_or_else(|| (options.ids)());
        let client = client_ip::client_ip(request, &options.trusted_proxies);
        let scheme = client_ip::forwarded_scheme(request, &options.trusted_proxies);
        let meta = Self {
            is_https: scheme.is_https(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            origin: request.headers().get(header::ORIGIN).cloned(),
            is_preflight: is_preflight(request),
            wants_problem: wants_problem(request.headers()),
            compression: Compression::negotiate(request.headers_mut()),
            recipient: options.unsent.recipient(Claimant::visitor(client.map(|ClientIp(ip)| ip))),
            client,
            id,
        };
        meta.tell(request, scheme);
        meta
    }

    fn tell(&self, request: &mut Request, scheme: ForwardedScheme) {
        request.extensions_mut().insert(RequestId(self.id.clone()));
        request.extensions_mut().insert(scheme);
        request.extensions_mut().insert(self.recipient.clone());
        if let Some(client) = self.client {
            request.extensions_mut().insert(client);
        }
        if self.is_head() {
            request.set_method(Method::GET); // poem would do so too, but would lose the length of the body
        }
    }

    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// Removes the parameters of a `Content-Type` if its bytes are not plain ASCII. Endpoints only read the media type, and
/// poem would ignore the whole header.
fn keep_media_type(headers: &mut HeaderMap) {
    let value = headers.get(header::CONTENT_TYPE).filter(|value| value.to_str().is_err());
    let media_type = value.and_then(|value| value.as_bytes().split(|byte| *byte == b';').next());
    if let Some(media_type) = media_type.and_then(|media_type| HeaderValue::from_bytes(media_type).ok()) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
}

/// The request id that the client has sent, if it is harmless in headers and logs.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let is_sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    ((1..=128).contains(&id.len()) && id.bytes().all(is_sane)).then(|| id.to_owned())
}

fn is_preflight(request: &Request) -> bool {
    let has = |name| request.headers().contains_key(name);
    request.method() == Method::OPTIONS && has(header::ORIGIN) && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether the client prefers `application/problem+json`. A client that gives both kinds of JSON the same weight gets
/// `application/json`.
fn wants_problem(headers: &HeaderMap) -> bool {
    let weight = |name| weight(headers, header::ACCEPT, name);
    let problem = weight("application/problem+json").unwrap_or(0.0);
    let wildcard = weight("application/*").or_else(|| weight("*/*")).unwrap_or(0.0);
    match weight("application/json") {
        Some(json) => problem > json,
        None => problem > 0.0 && problem >= wildcard,
    }
}
