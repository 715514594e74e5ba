//! An iCalendar file as an answer.
use super::ical::print;
use super::types::Event;
use crate::api::IfNoneMatch;
use crate::api::headers::etag;
use crate::api::response::declare;
use crate::base::crypto::sha256;
use crate::base::error_body::header;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;

/// 200 with the events, or 304 if the caller has them already.
pub struct CalendarFile {
    text: String,
    known: IfNoneMatch,
}

impl CalendarFile {
    pub fn of(events: &[Event], known: IfNoneMatch) -> Self {
        Self { text: print(events), known }
    }
}

impl IntoResponse for CalendarFile {
    fn into_response(self) -> Response {
        let tag = BASE64.encode(&sha256(self.text.as_bytes())[..16]);
        let response = Response::builder()
            .header("etag", etag(&tag))
            .header("cache-control", "private, no-cache")
            .header("vary", "Authorization");
        if self.known.has(&tag) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        let response = response.content_type("text/calendar; charset=utf-8");
        response.header("content-disposition", "attachment; filename=\"calendar.ics\"").body(self.text)
    }
}

impl ApiResponse for CalendarFile {
    fn meta() -> MetaResponses {
        let found = MetaResponse {
            description: "The calendar",
            status: Some(200),
            status_range: None,
            content: vec![MetaMediaType { content_type: "text/calendar", schema: String::schema_ref() }],
            headers: ["ETag", "Content-Disposition"].map(|name| header(name, "string")).into(),
        };
        MetaResponses { responses: vec![found, declare(304, "Not changed", &["ETag"], None)] }
    }
    fn register(_: &mut Registry) {}
}
