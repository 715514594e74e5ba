//! The answer to bytes that never become a request, because they are not HTTP or because the head is too large to be
//! read.
use super::{Ids, failure};
use crate::server::security;
use crate::server::serve::Refusal;
use poem::Response;
use poem::http::{HeaderValue, StatusCode};
use std::sync::Arc;

/// Answers with the API's error body, and writes a line in the access log. Only the client's address is known. It is
/// not known which media types the client accepts, or whether it is a page of another origin.
pub fn refusal(ids: Ids) -> Refusal {
    Arc::new(move |status, peer| {
        let id = ids();
        let mut response = bare(status);
        failure::stand_in(status).render(&mut response, &id, false);
        security::harden(response.headers_mut(), false);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", id);
        }
        // no work was done for it
        response.headers_mut().insert("x-process-time", HeaderValue::from_static("0.000000"));
        tracing::info!(http.status = status.as_u16(), request.id = id, client.ip = %peer, "Refused what can't be read");
        response
    })
}

fn bare(status: StatusCode) -> Response {
    Response::builder().status(status).finish()
}
