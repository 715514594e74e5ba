//! Renders the API's error body for everything that went wrong in an endpoint.
use super::{Allow, RequestMeta};
use crate::base::error::{Detail, Error};
use crate::base::error_body::{ErrorType, Failure};
use poem::Response;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError, ResponseError};
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use std::any::Any;

/// Turns an error into an answer. Our own [`Error`] must not go through poem's `into_response`, which drops the data of
/// the response, and with it the [`Failure`].
pub fn answer_to(error: poem::Error, path: &str, allow: &Allow) -> Response {
    let error = match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) if error.is::<NotFoundError>() => Error::NotFound,
        Err(error) if error.is::<MethodNotAllowedError>() => {
            Error::MethodNotAllowed(allow(path).unwrap_or_default()) // `Allow` is empty for an unknown path
        }
        Err(error) if matches!(error.downcast_ref(), Some(ReadBodyError::PayloadTooLarge)) => Error::PayloadTooLarge,
        Err(error) if error.status().is_server_error() => {
            tracing::error!(%error, "Request failed");
            return error.into_response();
        }
        Err(error) => return error.into_response(),
    };
    if let Error::Internal(cause) | Error::Unavailable(cause) = &error {
        tracing::error!(error = ?cause, "Request failed");
    }
    error.as_response()
}

pub fn answer_to_panic(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text");
    tracing::error!(panic = text, "Handler panicked");
    Error::Internal(anyhow::anyhow!("panic")).as_response()
}

/// Writes the API's error body into an answer with an error status, unless the answer has a JSON body of its own.
pub fn render(mut response: Response, meta: &RequestMeta, allow: &Allow) -> Response {
    let status = response.status();
    if !is_error(status) {
        return response;
    }
    let failure = match response.extensions_mut().remove::<Failure>() {
        Some(failure) => failure,
        None if has_json(&mut response) => return response,
        None => stand_in(status),
    };
    forget_body(&mut response);
    complete(&mut response, meta, allow);
    failure.render(&mut response, &meta.id, meta.wants_problem);
    response
}

pub fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Whether the answer has a JSON body of its own, as a readiness report with 503 has.
fn has_json(response: &mut Response) -> bool {
    let media_type = response.content_type().and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    let body = response.take_body();
    let is_empty = body.is_empty();
    response.set_body(body);
    is_json && !is_empty
}

fn forget_body(response: &mut Response) {
    const OF_THE_BODY: [HeaderName; 5] = [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_DISPOSITION,
        header::CACHE_CONTROL,
    ];
    for name in OF_THE_BODY {
        response.headers_mut().remove(name);
    }
}

/// Adds the header that RFC 9110 requires for 401 or 405.
fn complete(response: &mut Response, meta: &RequestMeta, allow: &Allow) {
    let (name, value) = match response.status() {
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, Some(HeaderValue::from_static("Bearer"))),
        StatusCode::METHOD_NOT_ALLOWED => (header::ALLOW, allow(&meta.path).and_then(|methods| methods.parse().ok())),
        _ => return,
    };
    if let Some(value) = value {
        response.headers_mut().entry(name).or_insert(value);
    }
}

/// The failure for an answer that consists only of an error status.
pub(super) fn stand_in(status: StatusCode) -> Failure {
    let (kind, message) = match status.as_u16() {
        401 => (ErrorType::Unauthenticated, Error::Unauthenticated.to_string()),
        403 => (ErrorType::Forbidden, Error::Forbidden.to_string()),
        404 => (ErrorType::NotFound, Error::NotFound.to_string()),
        405 => (ErrorType::MethodNotAllowed, Error::MethodNotAllowed(String::new()).to_string()),
        408 => (ErrorType::RequestTimeout, Error::RequestTimeout.to_string()),
        409 => (ErrorType::Conflict, Error::Conflict(Detail::default()).to_string()),
        412 => (ErrorType::PreconditionFailed, Error::PreconditionFailed.to_string()),
        413 => (ErrorType::PayloadTooLarge, Error::PayloadTooLarge.to_string()),
        414 => (ErrorType::MalformedRequest, "The address of the request is too long.".to_owned()),
        415 => (ErrorType::UnsupportedMediaType, Error::UnsupportedMediaType.to_string()),
        416 => (ErrorType::RangeNotSatisfiable, "The range is outside of the file.".to_owned()),
        422 => (ErrorType::Unprocessable, Error::Unprocessable(Detail::default()).to_string()),
        429 => (ErrorType::RateLimited, "Too many requests were sent. Retry later.".to_owned()),
        431 => (ErrorType::MalformedRequest, "The headers of the request are too large, or too many.".to_owned()),
        502..=504 => (ErrorType::Unavailable, Error::Unavailable(anyhow::anyhow!("")).to_string()),
        507 => (ErrorType::StorageFull, "There is no space left to store the data.".to_owned()),
        500.. => (ErrorType::InternalError, Error::Internal(anyhow::anyhow!("")).to_string()),
        _ => (ErrorType::MalformedRequest, "The request can't be read.".to_owned()),
    };
    Failure { status, kind, message, detail: Detail::default() }
}
