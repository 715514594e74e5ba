//! The body of all errors, and the HTTP status and headers of each error.
//!
//! An error is passed on as a [`Failure`] inside an empty response. [`crate::server::edge`] renders it, because the
//! request id and the client's `Accept` are known there. All errors therefore look the same, wherever they were raised.
use crate::base::error::{Detail, Error};
use poem::error::ResponseError;
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Body, Response};
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Enum, Object};
use std::collections::BTreeMap;

/// The kind of an error, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ErrorType {
    ValidationError,
    MalformedRequest,
    Unauthenticated,
    InvalidCredentials,
    InvalidToken,
    Forbidden,
    InactiveUser,
    RegistrationClosed,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    Unprocessable,
    IdempotencyMismatch,
    RateLimited,
    InternalError,
    Unavailable,
    StorageFull,
}

/// The body of every error.
#[derive(Debug, Object)]
#[oai(rename = "Error")]
pub struct ErrorBody {
    pub error: ErrorInfo,
}

#[derive(Debug, Object)]
pub struct ErrorInfo {
    #[oai(rename = "type")]
    pub kind: ErrorType,
    /// A sentence for a person.
    pub message: String,
    /// Member path or parameter name → what is wrong with it.
    pub detail: BTreeMap<String, Vec<String>>,
    /// The `X-Request-Id` of the answer.
    pub request_id: String,
}

/// The data of an error from which the edge renders the body.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: StatusCode,
    pub kind: ErrorType,
    pub message: String,
    pub detail: Detail,
}

impl Error {
    fn public(&self) -> (StatusCode, ErrorType) {
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, ErrorType::ValidationError),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, ErrorType::MalformedRequest),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, ErrorType::Unauthenticated),
            Self::InvalidCredentials => (StatusCode::UNAUTHORIZED, ErrorType::InvalidCredentials),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, ErrorType::InvalidToken),
            Self::Forbidden | Self::NotForApiKeys | Self::UnverifiedCaller => {
                (StatusCode::FORBIDDEN, ErrorType::Forbidden)
            }
            Self::InactiveUser | Self::UnverifiedEmail => (StatusCode::FORBIDDEN, ErrorType::InactiveUser),
            Self::RegistrationClosed => (StatusCode::FORBIDDEN, ErrorType::RegistrationClosed),
            Self::NotFound => (StatusCode::NOT_FOUND, ErrorType::NotFound),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, ErrorType::MethodNotAllowed),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, ErrorType::RequestTimeout),
            Self::Conflict(_) => (StatusCode::CONFLICT, ErrorType::Conflict),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, ErrorType::PreconditionFailed),
            Self::RangeNotSatisfiable(_) => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorType::RangeNotSatisfiable),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, ErrorType::PayloadTooLarge),
            Self::UnsupportedMediaType | Self::UnsupportedEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorType::UnsupportedMediaType)
            }
            Self::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, ErrorType::Unprocessable),
            Self::IdempotencyMismatch => (StatusCode::UNPROCESSABLE_ENTITY, ErrorType::IdempotencyMismatch),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, ErrorType::RateLimited),
            Self::Unavailable(_) | Self::SlowStatement(..) | Self::NotReady(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, ErrorType::Unavailable)
            }
            Self::StorageFull(_) | Self::QuotaExceeded(_) => (StatusCode::INSUFFICIENT_STORAGE, ErrorType::StorageFull),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, ErrorType::InternalError),
        }
    }

    /// The header that this kind of error adds to the answer.
    fn headers(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated | Self::InvalidCredentials | Self::InvalidToken => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Self::RangeNotSatisfiable(size) => {
                Some((header::CONTENT_RANGE, HeaderValue::from_str(&format!("bytes */{size}")).ok()?))
            }
            Self::MethodNotAllowed(allow) => Some((header::ALLOW, HeaderValue::from_str(allow).ok()?)),
            // `UnsupportedMediaType` has no such header: it would mean that the encoding was wrong (RFC 9110, 12.5.3).
            Self::UnsupportedEncoding => Some((header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
            Self::RateLimited { retry_after } => {
                Some((header::RETRY_AFTER, HeaderValue::from(whole_seconds(*retry_after))))
            }
            _ => None,
        }
    }
}

/// Whole seconds, rounded up, so that a client that waits this long is not too early.
fn whole_seconds(wait: std::time::Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}

impl ResponseError for Error {
    fn status(&self) -> StatusCode {
        self.public().0
    }

    fn as_response(&self) -> Response {
        let (status, kind) = self.public();
        let detail = match self {
            Self::Invalid(detail)
            | Self::Unprocessable(detail)
            | Self::Conflict(detail)
            | Self::SlowStatement(detail, _)
            | Self::NotReady(detail)
            | Self::QuotaExceeded(detail) => detail.clone(),
            _ => Detail::default(),
        };
        let mut response = Response::builder().status(status).finish();
        response.headers_mut().extend(self.headers());
        response.set_data(Failure { status, kind, message: self.to_string(), detail });
        response
    }
}

impl Failure {
    /// Writes the body, as `application/problem+json` (RFC 9457) if the client asked for that.
    pub fn render(self, response: &mut Response, request_id: &str, as_problem: bool) {
        let Self { status, kind, message, detail: Detail(detail) } = self;
        let (content_type, body) = if as_problem {
            let problem = serde_json::json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or_default(),
                "status": status.as_u16(),
                "detail": message,
                "instance": format!("urn:request:{request_id}"),
                "error_type": kind.to_json(),
                "errors": detail,
                "request_id": request_id,
            });
            ("application/problem+json", problem.to_string())
        } else {
            let error = ErrorInfo { kind, message, detail, request_id: request_id.to_owned() };
            ("application/json", ErrorBody { error }.to_json_string())
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.set_body(Body::from_string(body));
    }
}

/// Declares no errors for a handler: `guard` derives them from the input of the operation.
impl ApiResponse for Error {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![] }
    }
    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

/// The error of an operation that can also answer with these statuses: `Result<Created<Item>, Also<409>>`.
#[derive(Debug)]
pub struct Also<const A: u16, const B: u16 = 0>(Error);

impl<const A: u16, const B: u16> From<Error> for Also<A, B> {
    fn from(error: Error) -> Self {
        Self(error)
    }
}
impl<const A: u16, const B: u16> From<Also<A, B>> for poem::Error {
    fn from(Also(error): Also<A, B>) -> Self {
        error.into()
    }
}
impl<const A: u16, const B: u16> ApiResponse for Also<A, B> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: [A, B].into_iter().filter(|status| *status != 0).map(declare).collect() }
    }
    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

/// The declaration of an error answer in the OpenAPI document.
pub fn declare(status: u16) -> MetaResponse {
    let headers = match status {
        401 => vec![header("WWW-Authenticate", "string")],
        416 => vec![header("Content-Range", "string")],
        415 => vec![MetaHeader { required: false, ..header("Accept-Encoding", "string") }],
        429 => vec![header("Retry-After", "integer")],
        _ => vec![],
    };
    let content = vec![MetaMediaType { content_type: "application/json", schema: ErrorBody::schema_ref() }];
    MetaResponse { description: "An error", status: Some(status), status_range: None, content, headers }
}

pub fn header(name: &str, ty: &'static str) -> MetaHeader {
    let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new(ty)));
    MetaHeader { name: name.into(), description: None, required: true, deprecated: false, schema }
}
