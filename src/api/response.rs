//! The answers that all resources use. `ETag`, `Location` and the format of a page are defined only here.
use super::headers::{IfNoneMatch, etag};
use super::resource::Resource;
use super::schema::{amend, complete};
use crate::api::list::{Page, PageMeta};
use crate::base::error_body::header;
use crate::db::idempotency::Once;
use crate::server::pieces::Pieces;
use poem::http::{HeaderValue, StatusCode};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use serde::Serialize;

/// Browsers may store the answer for their user, but must ask each time whether it is still current.
const REVALIDATED: HeaderValue = HeaderValue::from_static("private, no-cache");
const NOT_STORED: HeaderValue = HeaderValue::from_static("no-store");

/// Makes a header value. Our versions, ids and paths are ASCII, so this does not fail.
fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

pub fn json_response(status: StatusCode, text: &str) -> Response {
    let mut pieces = Pieces::default();
    pieces.push(text);
    json_pieces(status, pieces)
}

fn json_pieces(status: StatusCode, pieces: Pieces) -> Response {
    Response::builder().status(status).content_type("application/json").body(pieces.into_body())
}

/// The JSON of a resource or of a row. serde prints it straight from the members. poem-openapi would make a
/// [`Value`](serde_json::Value) of each first, which takes three times as long. The tests check that both give the same.
fn json<T: ToJSON + Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| value.to_json_string()); // no type of ours fails
    debug_assert_eq!(text, value.to_json_string(), "`serde` and `oai` attributes differ");
    text
}

fn resource_response<T: Resource>(status: StatusCode, resource: &T) -> Response {
    let mut response = json_response(status, &json(resource));
    response.headers_mut().insert("cache-control", if T::IS_CONFIDENTIAL { NOT_STORED } else { REVALIDATED });
    response.headers_mut().insert("vary", HeaderValue::from_static("Authorization"));
    response.headers_mut().insert("etag", header_value(etag(&resource.tag())));
    response
}

pub fn declare(
    status: u16,
    description: &'static str,
    headers: &[&str],
    schema: Option<MetaSchemaRef>,
) -> MetaResponse {
    let content = schema.map(|schema| MetaMediaType { content_type: "application/json", schema });
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: content.into_iter().collect(),
        headers: headers.iter().map(|name| header(name, "string")).collect(),
    }
}

/// Registers the type of an answer. Its schema says that every member is present, because answers are complete.
pub fn register_answer<T: Type>(registry: &mut Registry) {
    T::register(registry);
    amend(registry, &T::name(), complete);
}

/// 200 with the resource, or 304 if the client already has this version.
pub struct Found<T>(pub T, pub IfNoneMatch);

impl<T: Resource> IntoResponse for Found<T> {
    fn into_response(self) -> Response {
        let Self(resource, known) = self;
        let mut response = resource_response(StatusCode::OK, &resource);
        if known.has(&resource.tag()) {
            response.set_status(StatusCode::NOT_MODIFIED);
            response.headers_mut().remove("content-type");
            response.set_body(Body::empty());
        }
        response
    }
}
impl<T: Resource> ApiResponse for Found<T> {
    fn meta() -> MetaResponses {
        let found = declare(200, "The resource", &["ETag"], Some(T::schema_ref()));
        MetaResponses { responses: vec![found, declare(304, "Not changed", &["ETag"], None)] }
    }
    fn register(registry: &mut Registry) {
        register_answer::<T>(registry);
    }
}

/// 200 with the changed resource.
pub struct Saved<T>(pub T);

impl<T: Resource> IntoResponse for Saved<T> {
    fn into_response(self) -> Response {
        resource_response(StatusCode::OK, &self.0)
    }
}
impl<T: Resource> ApiResponse for Saved<T> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![declare(200, "The resource, changed", &["ETag"], Some(T::schema_ref()))] }
    }
    fn register(registry: &mut Registry) {
        register_answer::<T>(registry);
    }
}

/// 201 with the new resource and its address. A repeated request with the same idempotency key gets this answer again.
pub struct Created<T>(pub Once<T>);

impl<T: Resource> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let Once { result, replayed } = self.0;
        let mut response = resource_response(StatusCode::CREATED, &result);
        let location = result.location();
        if replayed {
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        response.headers_mut().insert("location", header_value(location));
        response
    }
}
impl<T: Resource> ApiResponse for Created<T> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![declare(201, "Created", &["ETag", "Location"], Some(T::schema_ref()))] }
    }
    fn register(registry: &mut Registry) {
        register_answer::<T>(registry);
    }
}

/// 200 with data that is no resource: it has no address and no version.
pub struct Answer<T>(pub T);

impl<T: ToJSON> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, &self.0.to_json_string())
    }
}
impl<T: Type + ToJSON> ApiResponse for Answer<T> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![declare(200, "What was asked for", &[], Some(T::schema_ref()))] }
    }
    fn register(registry: &mut Registry) {
        register_answer::<T>(registry);
    }
}

/// 202: the work is done later, and the answer does not wait for it.
pub struct Accepted;

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into_response()
    }
}
impl ApiResponse for Accepted {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![declare(202, "Accepted", &[], None)] }
    }
    fn register(_: &mut Registry) {}
}

/// 204 without a body.
pub struct Deleted;

impl IntoResponse for Deleted {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}
impl ApiResponse for Deleted {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![declare(204, "Deleted", &[], None)] }
    }
    fn register(_: &mut Registry) {}
}

/// 200 with one page. Its schema in the document is called, for example, `TaskPage`.
pub struct Listed<T>(pub Page<T>);

impl<T: ToJSON + Serialize> Listed<T> {
    /// Renders row by row and frees each row afterwards. If the page were rendered as one value, it would be in memory
    /// three times.
    fn print(self, mut put: impl FnMut(&str)) {
        let Page { items, meta } = self.0;
        put("{\"items\":[");
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                put(",");
            }
            put(&json(&item));
        }
        put("],\"meta\":");
        put(&meta.to_json_string());
        put("}");
    }

    /// Renders the whole page as one text, for the cache.
    pub fn into_text(self) -> String {
        let mut text = String::new();
        self.print(|part| text.push_str(part));
        text
    }
}

impl<T: ToJSON + Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut pieces = Pieces::default();
        self.print(|part| pieces.push(part));
        json_pieces(StatusCode::OK, pieces)
    }
}
impl<T: Type + ToJSON + Serialize> ApiResponse for Listed<T> {
    fn meta() -> MetaResponses {
        let schema = MetaSchemaRef::Reference(format!("{}Page", T::name()));
        MetaResponses { responses: vec![declare(200, "One page", &[], Some(schema))] }
    }
    fn register(registry: &mut Registry) {
        register_answer::<T>(registry);
        PageMeta::register(registry);
        registry.create_schema::<Page<T>, _>(format!("{}Page", T::name()), |_| {
            let items = MetaSchema { items: Some(Box::new(T::schema_ref())), ..MetaSchema::new("array") };
            let items = MetaSchemaRef::Inline(Box::new(items));
            let properties = vec![("items", items), ("meta", PageMeta::schema_ref())];
            complete(MetaSchema { properties, ..MetaSchema::new("object") })
        });
    }
}
