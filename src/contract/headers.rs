//! Which headers the answers of a document have.
//!
//! `build.rs` includes this file too, and so it uses nothing else of the crate.
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The names of all headers that any answer of any operation is declared to have.
pub fn response_headers(document: &Value) -> BTreeSet<&str> {
    let responses =
        members(&document["paths"]).flat_map(members).flat_map(|operation| members(&operation["responses"]));
    let headers = responses.filter_map(|response| dereference(document, response)["headers"].as_object());
    headers.flat_map(Map::keys).map(String::as_str).collect()
}

fn members(object: &Value) -> impl Iterator<Item = &Value> {
    object.as_object().into_iter().flat_map(Map::values)
}

/// Follows a reference within the document. Any other value is returned as it is.
pub(super) fn dereference<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    match pointer.and_then(|pointer| document.pointer(pointer)) {
        Some(target) => dereference(document, target),
        None => value,
    }
}
