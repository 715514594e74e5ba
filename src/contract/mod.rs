//! The API contract: the document that people write, first, in `openapi/`.
//!
//! Clients are generated from it, and `/openapi.json` and the pages show it. An engineer who changes the API changes
//! the contract first, and then the code until both agree:
//!
//! - `build.rs` [bundles](self) the files to one document. An inconsistent contract does not build.
//! - The document that poem-openapi derives from the code must be equal to it, once both are in [one form](normalise).
//!   [compare] finds where they differ.
//! - [lint] checks it against the rules of our house style.
//! - The integration tests check every answer against it, and every example in it.
//! - A change that [breaks](breaking) clients of the last release (`openapi/released/`) is refused.
//!
//! Nobody edits the derived document, and no tool writes to `openapi/` by itself.
#[cfg(test)]
mod bundle;

pub mod breaking;
pub mod compare;
mod headers;
pub mod lint;
pub mod normalise;

pub use headers::response_headers;

use headers::dereference;
use serde_json::Value;
use std::sync::LazyLock;

/// The contract as one document, as `build.rs` bundled it.
pub const JSON: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));
pub const YAML: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.yaml"));

/// The contract in JSON, compressed by brotli and by gzip, for `api::pages`.
pub const JSON_PACKED: [&[u8]; 2] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.br")),
    include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz")),
];
pub const YAML_PACKED: [&[u8]; 2] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/openapi.yaml.br")),
    include_bytes!(concat!(env!("OUT_DIR"), "/openapi.yaml.gz")),
];

/// The names of all headers that any answer of any operation is declared to have, each in a line of its own. A server
/// does not parse the contract for them, which took 20 MiB of memory.
pub const RESPONSE_HEADERS: &str = include_str!(concat!(env!("OUT_DIR"), "/response_headers.txt"));

/// The contract, which is parsed when it is asked for first. A server does without.
#[expect(clippy::expect_used, reason = "proven when it was built")]
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(JSON).expect("build.rs printed it as JSON"));
    &DOCUMENT
}

/// The facts about an operation that a test needs when it walks the contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub id: String,
    /// In upper case.
    pub method: String,
    /// The template, such as `/api/v1/tasks/{task_id}`.
    pub path: String,
    /// Whether the operation requires credentials. It does not if one of its alternative security requirements is
    /// empty.
    pub secured: bool,
    /// The media type of the body and an example of it.
    pub request: Option<Request>,
    /// The declared statuses, such as `"200"` and `"404"`, in the contract's order.
    pub statuses: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub media_type: String,
    pub required: bool,
    /// The example of the media type or, if it has none, of its schema.
    pub example: Option<Value>,
}

impl Operation {
    /// The declared statuses of success and redirection.
    pub fn success(&self) -> impl Iterator<Item = &str> {
        self.statuses.iter().map(String::as_str).filter(|status| status.starts_with(['2', '3']))
    }
}

/// All operations. The paths are in the contract's order.
pub fn operations(document: &Value) -> Vec<Operation> {
    raw_operations(document)
        .map(|(method, path, operation)| Operation {
            id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
            method: method.to_uppercase(),
            path: path.to_owned(),
            secured: is_secured(document, operation),
            request: request(document, &operation["requestBody"]),
            statuses: keys(&operation["responses"]).map(str::to_owned).collect(),
        })
        .collect()
}

/// All operations as `(method in lower case, path, operation)`.
fn raw_operations(document: &Value) -> impl Iterator<Item = (&'static str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = normalise::METHODS.into_iter();
        methods.filter_map(move |method| Some((method, path.as_str(), item.get(method)?)))
    })
}

fn is_secured(document: &Value, operation: &Value) -> bool {
    let requirements = operation.get("security").or_else(|| document.get("security")).and_then(Value::as_array);
    let is_empty = |requirement: &Value| requirement.as_object().is_none_or(serde_json::Map::is_empty);
    requirements.is_some_and(|requirements| !requirements.is_empty() && !requirements.iter().any(is_empty))
}

fn request(document: &Value, body: &Value) -> Option<Request> {
    let body = dereference(document, body);
    let (media_type, content) = body["content"].as_object()?.iter().next()?;
    let example = example(document, content).cloned();
    Some(Request { media_type: media_type.clone(), required: body["required"] == true, example })
}

/// The example of a media type: its own, the first of several, or that of its schema.
fn example<'a>(document: &'a Value, media_type: &'a Value) -> Option<&'a Value> {
    let several = media_type["examples"].as_object().and_then(|examples| examples.values().next());
    let first = several.and_then(|example| dereference(document, example).get("value"));
    let own = media_type.get("example").or(first);
    own.or_else(|| dereference(document, &media_type["schema"]).get("example"))
}

fn keys(map: &Value) -> impl Iterator<Item = &str> {
    map.as_object().into_iter().flatten().map(|(key, _)| key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn operations_say_what_tests_need() {
        let document = json!({
            "security": [{"bearerAuth": []}],
            "components": {"schemas": {"Input": {"example": {"title": "Call"}}}},
            "paths": {"/tasks/{task_id}": {
                "put": {
                    "operationId": "task_replace",
                    "requestBody": {"required": true, "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Input"}},
                    }},
                    "responses": {"200": {}, "404": {}},
                },
                "get": {"operationId": "task_get", "security": [{"bearerAuth": []}, {}]},
            }},
        });
        let [get, put] = operations(&document).try_into().unwrap();
        assert_eq!((get.id.as_str(), get.secured, get.request), ("task_get", false, None));
        let request = Request {
            media_type: "application/json".to_owned(),
            required: true,
            example: Some(json!({"title": "Call"})),
        };
        assert_eq!((put.method.as_str(), put.path.as_str()), ("PUT", "/tasks/{task_id}"));
        assert_eq!((put.secured, put.request.as_ref()), (true, Some(&request)));
        assert_eq!(put.statuses, ["200", "404"]);
        assert_eq!(put.success().collect::<Vec<_>>(), ["200"]);
    }

    #[test]
    fn headers_of_all_responses_are_found() {
        let document = json!({
            "components": {"responses": {"Busy": {"headers": {"Retry-After": {}}}}},
            "paths": {"/tasks": {
                "get": {"responses": {"200": {"headers": {"ETag": {}}}, "429": {"$ref": "#/components/responses/Busy"}}},
                "post": {"responses": {"201": {"headers": {"ETag": {}, "Location": {}}}, "400": {}}},
            }},
        });
        assert_eq!(response_headers(&document).into_iter().collect::<Vec<_>>(), ["ETag", "Location", "Retry-After"]);
    }

    #[test]
    fn an_example_of_its_own_goes_first() {
        let schema = json!({"example": 3});
        assert_eq!(example(&json!({}), &json!({"schema": schema, "example": 1})), Some(&json!(1)));
        let several = json!({"schema": schema, "examples": {"a": {"value": 2}}});
        assert_eq!(example(&json!({}), &several), Some(&json!(2)));
        assert_eq!(example(&json!({}), &json!({"schema": schema})), Some(&json!(3)));
    }

    #[test]
    fn the_bundled_document_is_the_contract() {
        assert_eq!(document()["openapi"], "3.0.3");
        assert!(!operations(document()).is_empty());
        let headers: BTreeSet<_> = RESPONSE_HEADERS.lines().collect();
        assert_eq!(headers, response_headers(document()));
        assert!(headers.contains("ETag"), "{headers:?}");
    }
}
