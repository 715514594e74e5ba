//! Brings documents that mean the same into the same form.
//!
//! First the document gets a new layout. It has one map of operations, in which everything shared is inserted where it
//! is used. Lists become maps with keys that identify their entries (`"GET /tasks"`, `"query per_page"`, a status, a
//! media type), so that neither order nor place of definition can make a difference. Then each [rule](rules::RULES) is
//! applied wherever it belongs. The result is compared word by word.
mod rules;

use rules::Rule;
pub use rules::{At, CLOSED_OBJECTS, RULES};
use serde_json::{Map, Value, json};

pub const METHODS: [&str; 8] = ["get", "put", "post", "delete", "patch", "head", "options", "trace"];

/// Returns `{openapi, info, servers, tags, securitySchemes, schemas, operations}` after all rules were applied.
pub fn normalise(document: &Value) -> Value {
    normalise_except(document, &[])
}

/// Normalises the document without the rules of these names.
pub(super) fn normalise_except(document: &Value, except: &[&str]) -> Value {
    let rules = RULES.iter().filter(|rule| !except.contains(&rule.name)).collect();
    let normaliser = Normaliser { document, rules };
    let mut out = json!({
        "openapi": document["openapi"],
        "info": document["info"],
        "servers": document["servers"],
        "tags": document["tags"],
        "securitySchemes": normaliser.each(&document["components"]["securitySchemes"], At::SecurityScheme),
        "schemas": normaliser.each(&document["components"]["schemas"], At::Schema),
        "operations": normaliser.operations(),
    });
    normaliser.apply(&mut out, At::Document);
    out
}

struct Normaliser<'a> {
    document: &'a Value,
    rules: Vec<&'a Rule>,
}

impl Normaliser<'_> {
    fn apply(&self, value: &mut Value, at: At) {
        if let Value::Object(members) = value {
            for rule in self.rules.iter().filter(|rule| rule.at.contains(&at)) {
                (rule.apply)(members, self.document);
            }
        }
    }

    /// Normalises each value of a map of names.
    fn each(&self, map: &Value, at: At) -> Value {
        let entries = map.as_object().into_iter().flatten();
        entries.map(|(name, value)| (name.clone(), self.part(value, at))).collect()
    }

    /// Normalises a part of the document, together with the schemas in it.
    fn part(&self, value: &Value, at: At) -> Value {
        let mut value = dereference(self.document, value, at).clone();
        match at {
            At::Schema => self.walk_schema(&mut value),
            At::Parameter | At::Header | At::MediaType => {
                if let Some(schema) = value.get_mut("schema") {
                    *schema = self.part(schema, At::Schema);
                }
            }
            At::Body | At::Response => {
                value["content"] = self.content(&value["content"]);
            }
            _ => {}
        }
        if at == At::Response {
            value["headers"] = self.headers(&value["headers"]);
        }
        self.apply(&mut value, at);
        value
    }

    /// Normalises the inner schemas. This comes first, so that a rule for the outer schema sees them in their final
    /// form.
    fn walk_schema(&self, schema: &mut Value) {
        let Value::Object(members) = schema else { return };
        for (key, value) in members.iter_mut() {
            match (key.as_str(), value) {
                ("properties", map) => *map = self.each(map, At::Schema),
                ("items" | "not" | "additionalProperties", inner) => *inner = self.part(inner, At::Schema),
                ("allOf" | "anyOf" | "oneOf", Value::Array(list)) => {
                    list.iter_mut().for_each(|inner| *inner = self.part(inner, At::Schema));
                }
                _ => {}
            }
        }
    }

    fn operations(&self) -> Value {
        let mut operations = Map::new();
        for (path, item) in self.document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                if let Some(operation) = item.get(method) {
                    operations.insert(format!("{} {path}", method.to_uppercase()), self.operation(item, operation));
                }
            }
        }
        Value::Object(operations)
    }

    fn operation(&self, item: &Value, operation: &Value) -> Value {
        let mut out = operation.clone();
        out["parameters"] = self.parameters(item, operation);
        out["responses"] = self.each(&operation["responses"], At::Response);
        // An operation without `security` has that of the document.
        if operation.get("security").is_none() {
            out["security"] = self.document.get("security").cloned().unwrap_or_else(|| json!([]));
        }
        if let Some(body) = operation.get("requestBody") {
            out["requestBody"] = self.part(body, At::Body);
        }
        self.apply(&mut out, At::Operation);
        out
    }

    /// The parameters of the path and of the operation. If both have the same parameter, the operation's counts.
    fn parameters(&self, item: &Value, operation: &Value) -> Value {
        let lists = [&item["parameters"], &operation["parameters"]];
        let mut parameters = Map::new();
        for parameter in lists.into_iter().filter_map(Value::as_array).flatten() {
            let parameter = self.part(parameter, At::Parameter);
            let (place, name) = (&parameter["in"], &parameter["name"]);
            let key = format!("{} {}", place.as_str().unwrap_or("?"), name.as_str().unwrap_or("?"));
            parameters.insert(key, parameter);
        }
        Value::Object(parameters)
    }

    /// Header names are put in lower case, because their case does not matter.
    fn headers(&self, headers: &Value) -> Value {
        let headers = headers.as_object().into_iter().flatten();
        headers.map(|(name, header)| (name.to_lowercase(), self.part(header, At::Header))).collect()
    }

    /// Parameters of media types are dropped: `application/json; charset=utf-8` becomes `application/json`.
    fn content(&self, content: &Value) -> Value {
        let content = content.as_object().into_iter().flatten();
        let bare = |media_type: &str| media_type.split(';').next().unwrap_or_default().trim().to_lowercase();
        content.map(|(name, media_type)| (bare(name), self.part(media_type, At::MediaType))).collect()
    }
}

/// Follows a reference, unless it refers to a schema. Schemas may refer to themselves, and their names are part of the
/// contract, because clients are generated from it. The names of shared parameters, headers, bodies and responses are
/// not part of it.
fn dereference<'a>(document: &'a Value, value: &'a Value, at: At) -> &'a Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) if at != At::Schema => document.pointer(pointer).unwrap_or(value),
        _ => value,
    }
}

#[cfg(test)]
mod derive_tests;

#[cfg(test)]
mod tests {
    use super::*;

    /// Normalises a document with one operation, `GET /tasks`, and returns that operation.
    fn operation(item: Value, components: Value) -> Value {
        let document = json!({"openapi": "3.0.3", "paths": {"/tasks": item}, "components": components});
        normalise(&document)["operations"]["GET /tasks"].take()
    }

    #[test]
    fn shared_definitions_are_put_in_place() {
        let shared = json!({
            "parameters": {"Page": {"name": "page", "in": "query", "schema": {"type": "integer"}}},
            "headers": {"Tag": {"schema": {"type": "string"}}},
            "requestBodies": {"Text": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
            "responses": {"Done": {"headers": {"ETag": {"$ref": "#/components/headers/Tag"}}}},
        });
        let by_reference = json!({"get": {
            "parameters": [{"$ref": "#/components/parameters/Page"}],
            "requestBody": {"$ref": "#/components/requestBodies/Text"},
            "responses": {"204": {"$ref": "#/components/responses/Done"}},
        }});
        let in_place = json!({"get": {
            "parameters": [shared["parameters"]["Page"]],
            "requestBody": shared["requestBodies"]["Text"],
            "responses": {"204": {"headers": {"ETag": shared["headers"]["Tag"]}}},
        }});
        assert_eq!(operation(by_reference, shared), operation(in_place, json!({})));
    }

    #[test]
    fn parameters_of_the_path_belong_to_each_operation_in_any_order() {
        let page = json!({"name": "page", "in": "query", "schema": {"type": "integer"}});
        let sort = json!({"name": "sort", "in": "query", "schema": {"type": "string"}});
        let apart = operation(json!({"parameters": [page], "get": {"parameters": [sort]}}), json!({}));
        assert_eq!(apart, operation(json!({"get": {"parameters": [sort, page]}}), json!({})));
        assert_eq!(apart["parameters"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn security_of_the_document_is_that_of_an_operation_that_says_nothing() {
        let document = json!({"security": [{"bearerAuth": []}], "paths": {"/": {"get": {}, "put": {"security": []}}}});
        let operations = normalise(&document)["operations"].take();
        assert_eq!(operations["GET /"]["security"], json!([{"bearerAuth": []}]));
        assert_eq!(operations["PUT /"]["security"], json!([]));
    }

    #[test]
    fn header_names_have_no_case_and_media_types_no_parameters() {
        let response = |header: &str, media_type: &str| {
            let content = json!({media_type: {"schema": {"type": "string"}}});
            let response = json!({"headers": {header: {"schema": {"type": "string"}}}, "content": content});
            operation(json!({"get": {"responses": {"200": response}}}), json!({}))
        };
        let normal = response("etag", "application/json");
        assert_eq!(response("ETag", "Application/JSON; charset=utf-8"), normal);
        assert_eq!(normal["responses"]["200"]["headers"]["etag"]["schema"]["type"], "string");
    }

    #[test]
    fn names_of_schemas_count() {
        let with = |name: &str| {
            let response =
                json!({"content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}}});
            operation(json!({"get": {"responses": {"200": response}}}), json!({"schemas": {name: {"type": "object"}}}))
        };
        assert_ne!(with("Task"), with("TaskRead"));
    }

    /// For schemas, the normal form is its own normal form.
    #[test]
    fn normalising_twice_changes_nothing() {
        let schema = json!({"allOf": [{"$ref": "#/a"}, {"default": 1.0}], "nullable": true, "type": "object"});
        let once = normalise(&json!({"components": {"schemas": {"A": schema}}}));
        let twice = normalise(&json!({"components": {"schemas": once["schemas"]}}));
        assert_eq!(once["schemas"], twice["schemas"]);
    }
}
