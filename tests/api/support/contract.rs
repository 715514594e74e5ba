//! Checks every answer that a test gets against the contract.
use bizcenter::contract::document;
use jsonschema::{Draft, Registry, Validator};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The contract, compiled for checking answers.
pub struct Contract {
    operations: Vec<Operation>,
}

struct Operation {
    /// `task_get (GET /api/v1/tasks/{task_id})`.
    name: String,
    method: String,
    path: String,
    responses: HashMap<String, Response>,
}

struct Response {
    /// By name in lower case.
    headers: HashMap<String, Header>,
    /// By media type.
    content: HashMap<String, Arc<Validator>>,
}

struct Header {
    required: bool,
    kind: String,
    validator: Arc<Validator>,
}

pub static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::load(document()));

impl Contract {
    pub fn load(document: &Value) -> Self {
        let schemas = Schemas::of(document);
        let mut loader = Loader { document, schemas: &schemas, validators: HashMap::new() };
        let operations = bizcenter::contract::operations(document)
            .into_iter()
            .map(|operation| {
                let raw = &document["paths"][&operation.path][operation.method.to_lowercase()];
                Operation {
                    name: format!("{} ({} {})", operation.id, operation.method, operation.path),
                    responses: loader.responses(&raw["responses"]),
                    method: operation.method,
                    path: operation.path,
                }
            })
            .collect();
        Self { operations }
    }

    /// Checks an answer against the contract. `path` may have a query. Answers that the contract does not describe
    /// (pages, preflight requests) are not checked.
    pub fn check_response(
        &self,
        method: &str,
        path: &str,
        status: u16,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<(), String> {
        if matches!(method, "HEAD" | "OPTIONS") {
            return Ok(());
        }
        let Some(template) = self.template(path.split('?').next().unwrap_or_default()) else { return Ok(()) };
        let mut operations = self.operations.iter().filter(|operation| operation.path == template);
        let Some(operation) = operations.find(|operation| operation.method == method) else {
            let message = format!("{method} {template} is answered with {status}, but is not in the contract");
            return if status == 405 { Ok(()) } else { Err(message) };
        };
        operation.check(status, headers, body).map_err(|problem| format!("{} {status}: {problem}", operation.name))
    }

    /// The path of the contract that matches. If two match, returns the one with fewer parameters: `/tasks/export` and
    /// not `/tasks/{id}`.
    fn template(&self, path: &str) -> Option<&str> {
        let templates = self.operations.iter().map(|operation| operation.path.as_str());
        templates.filter(|template| fits(template, path)).min_by_key(|template| template.matches('{').count())
    }
}

fn fits(template: &str, path: &str) -> bool {
    let is_parameter = |segment: &str| segment.starts_with('{');
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(&path)
            .all(|(wanted, given)| wanted == given || (is_parameter(wanted) && !given.is_empty()))
}

impl Operation {
    fn check(&self, status: u16, headers: &[(String, String)], body: &[u8]) -> Result<(), String> {
        let keys = [status.to_string(), format!("{}XX", status / 100), "default".to_owned()];
        let response = keys.iter().find_map(|key| self.responses.get(key)).ok_or("this status is not declared")?;
        response.check_headers(headers)?;
        let media_type = value_of("content-type", headers).map(bare_media_type);
        match (media_type.as_deref(), body.is_empty()) {
            // Clients may ask for errors in the format of RFC 9457. Such bodies are not checked.
            (Some("application/problem+json"), _) if status >= 400 => Ok(()),
            (_, true) if response.content.is_empty() => Ok(()),
            (None, _) => Err("there is no content-type".to_owned()),
            (Some(media_type), _) => response.check_body(media_type, body),
        }
    }
}

impl Response {
    fn check_headers(&self, headers: &[(String, String)]) -> Result<(), String> {
        for (name, header) in &self.headers {
            match value_of(name, headers) {
                Some(value) => {
                    let value = header_value(&header.kind, value);
                    check(&header.validator, &value).map_err(|problem| format!("header {name}: {problem}"))?;
                }
                None if header.required => return Err(format!("the header {name} is missing")),
                None => {}
            }
        }
        Ok(())
    }

    fn check_body(&self, media_type: &str, body: &[u8]) -> Result<(), String> {
        let group = format!("{}/*", media_type.split('/').next().unwrap_or_default());
        let declared = [media_type, &group, "*/*"].into_iter().find_map(|key| self.content.get(key));
        let validator = declared.ok_or_else(|| format!("the media type {media_type} is not declared"))?;
        if !is_json(media_type) {
            return Ok(());
        }
        let value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
        check(validator, &value)
    }
}

fn value_of<'a>(name: &str, headers: &'a [(String, String)]) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A header is text. If its schema is of a number or a boolean, the text is parsed, so that it can be checked as such.
fn header_value(kind: &str, text: &str) -> Value {
    let parsed = matches!(kind, "integer" | "number" | "boolean").then(|| serde_json::from_str(text).ok());
    parsed.flatten().unwrap_or_else(|| json!(text))
}

fn bare_media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_lowercase()
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

fn check(validator: &Validator, value: &Value) -> Result<(), String> {
    let problem = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    let problems: Vec<_> = validator.iter_errors(value).map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// Reads the responses of a document, compiling each schema once.
struct Loader<'a> {
    document: &'a Value,
    schemas: &'a Schemas,
    validators: HashMap<String, Arc<Validator>>,
}

impl Loader<'_> {
    fn responses(&mut self, responses: &Value) -> HashMap<String, Response> {
        members(responses).map(|(status, response)| (status.clone(), self.response(response))).collect()
    }

    fn response(&mut self, response: &Value) -> Response {
        let response = dereference(self.document, response);
        let headers = members(&response["headers"]).map(|(name, header)| (name.to_lowercase(), self.header(header)));
        let headers = headers.collect();
        let content = members(&response["content"]);
        let content = content.map(|(name, content)| (bare_media_type(name), self.validator(&content["schema"])));
        Response { headers, content: content.collect() }
    }

    fn header(&mut self, header: &Value) -> Header {
        let header = dereference(self.document, header);
        let schema = dereference(self.document, &header["schema"]);
        Header {
            required: header["required"] == true,
            kind: schema["type"].as_str().unwrap_or_default().to_owned(),
            validator: self.validator(&header["schema"]),
        }
    }

    fn validator(&mut self, schema: &Value) -> Arc<Validator> {
        let compile = || Arc::new(self.schemas.validator(schema));
        self.validators.entry(schema.to_string()).or_insert_with(compile).clone()
    }
}

fn members(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flat_map(Map::iter)
}

/// Follows a reference within the document to its target. Returns any other value as it is.
pub fn dereference<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    match pointer.and_then(|pointer| document.pointer(pointer)) {
        Some(target) => dereference(document, target),
        None => value,
    }
}

/// The components of a document as JSON Schema.
pub struct Schemas(Registry<'static>);

/// The URI of the document in references.
const BASE: &str = "urn:contract";

impl Schemas {
    pub fn of(document: &Value) -> Self {
        let schemas: Map<_, _> = members(&document["components"]["schemas"])
            .map(|(name, schema)| (name.clone(), json_schema(schema)))
            .collect();
        let resource = Draft::Draft202012.create_resource(json!({"components": {"schemas": schemas}}));
        let registry = Registry::new().add(BASE, resource).and_then(|registry| registry.prepare());
        Self(registry.unwrap_or_else(|error| panic!("the schemas can't be referred to: {error}")))
    }

    /// Compiles a schema. If it is null, the validator accepts everything.
    pub fn validator(&self, schema: &Value) -> Validator {
        let options = jsonschema::options().with_draft(Draft::Draft202012).with_registry(&self.0);
        let schema = if schema.is_null() { json!(true) } else { json_schema(schema) };
        options.should_validate_formats(true).build(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
    }
}

/// Converts a schema of OpenAPI 3.0 to JSON Schema 2020-12.
fn json_schema(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut out: Map<_, _> = members.iter().map(|(key, value)| (key.clone(), keyword(key, value))).collect();
    for (flag, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if out.remove(flag) == Some(json!(true))
            && let Some(value) = out.remove(limit)
        {
            out.insert(flag.to_owned(), value);
        }
    }
    let may_be_null = out.remove("nullable") == Some(json!(true));
    match (out.get("type").cloned(), out.contains_key("enum")) {
        _ if !may_be_null => {}
        (Some(kind), false) => drop(out.insert("type".to_owned(), json!([kind, "null"]))),
        _ => return json!({"anyOf": [out, {"type": "null"}]}),
    }
    Value::Object(out)
}

fn keyword(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("$ref", Value::String(reference)) => json!(format!("{BASE}{reference}")),
        ("properties", Value::Object(properties)) => {
            properties.iter().map(|(name, schema)| (name.clone(), json_schema(schema))).collect()
        }
        ("items" | "not" | "additionalProperties", schema) => json_schema(schema),
        ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().map(json_schema).collect(),
        _ => value.clone(),
    }
}

/// Checks every example of media types, parameters, headers and schemas against its schema. Returns the number of
/// examples and the problems of those that do not match.
pub fn example_problems(document: &Value) -> (usize, Vec<String>) {
    let mut examples = Examples { document, schemas: Schemas::of(document), checked: 0, problems: Vec::new() };
    examples.walk("", document);
    (examples.checked, examples.problems)
}

struct Examples<'a> {
    document: &'a Value,
    schemas: Schemas,
    checked: usize,
    problems: Vec<String>,
}

impl Examples<'_> {
    /// Walks through an object whose keys are keywords of OpenAPI.
    fn walk(&mut self, at: &str, value: &Value) {
        // An example is beside a `schema` or within a schema. A value without the key `schema` is therefore a schema
        // itself.
        let schema = value.get("schema").unwrap_or(value);
        if let Some(example) = value.get("example") {
            self.check(at, schema, example);
        }
        for (name, example) in members(&value["examples"]) {
            let example = dereference(self.document, example);
            self.check(&format!("{at} › {name}"), schema, &example["value"]);
        }
        for (key, inner) in members(value) {
            let at = format!("{at} › {key}");
            match key.as_str() {
                "example" | "examples" | "default" | "enum" => {}
                "properties" | "headers" | "content" | "responses" => self.walk_named(&at, inner),
                _ => self.walk(&at, inner),
            }
        }
        for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
            self.walk(&format!("{at} › {index}"), inner);
        }
    }

    /// Walks through an object whose keys are names. One of the names may be `example`.
    fn walk_named(&mut self, at: &str, map: &Value) {
        // An example of an event stream is text, while its schema describes one event.
        for (name, inner) in members(map).filter(|(name, _)| *name != "text/event-stream") {
            self.walk(&format!("{at} › {name}"), inner);
        }
    }

    fn check(&mut self, at: &str, schema: &Value, example: &Value) {
        self.checked += 1;
        if let Err(problem) = check(&self.schemas.validator(schema), example) {
            self.problems.push(format!("{}: {problem}", at.trim_start_matches(" › ")));
        }
    }
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
