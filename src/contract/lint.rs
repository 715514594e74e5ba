//! Checks the rules for the contract that go beyond those of OpenAPI.
use super::{dereference, example, keys, raw_operations};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

const ERROR: &str = "#/components/schemas/Error";
const JSON: &str = "application/json";

/// A member of a response with an error status. It gives the reason why the body is not the usual one (a readiness
/// report, say).
const OTHER_BODY: &str = "x-other-body";

/// A member of an object that clients send. It gives the reason why the object may have unknown members.
const OPEN: &str = "x-open";

/// The violations of the rules, each with its place in the document.
pub fn lint(document: &Value) -> Vec<String> {
    let mut lint = Lint { document, ids: HashSet::new(), problems: Vec::new() };
    for (method, path, operation) in raw_operations(document) {
        let id = operation["operationId"].as_str().unwrap_or("no operationId");
        let at = format!("{id} ({} {path})", method.to_uppercase());
        lint.operation(&at, operation);
        lint.parameters(&at, &document["paths"][path]["parameters"]);
    }
    lint.schemas("", document);
    let mut seen = HashSet::new();
    lint.problems.retain(|problem| seen.insert(problem.clone()));
    lint.problems
}

struct Lint<'a> {
    document: &'a Value,
    ids: HashSet<&'a str>,
    problems: Vec<String>,
}

impl<'a> Lint<'a> {
    fn expect(&mut self, holds: bool, at: &str, rule: &str) {
        if !holds {
            self.problems.push(format!("{at}: {rule}"));
        }
    }

    fn operation(&mut self, at: &str, operation: &'a Value) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        self.expect(is_snake_case(id), at, "operationId must be in snake_case");
        let is_new = self.ids.insert(id);
        self.expect(is_new, at, "operationId must be used once");
        let summary = operation["summary"].as_str().unwrap_or_default();
        self.expect(is_verb_and_noun(summary), at, "summary must be a verb and a noun, without a full stop");
        let says_security = operation.get("security").or_else(|| self.document.get("security")).is_some();
        self.expect(says_security, at, "must say which credentials it needs; `security: []` where it needs none");
        self.tags(at, &operation["tags"]);
        self.parameters(at, &operation["parameters"]);
        self.request_body(at, operation);
        for (status, response) in operation["responses"].as_object().into_iter().flatten() {
            let at = format!("{at} {status}");
            self.not_a_copy(&at, response);
            self.response(&at, status, dereference(self.document, response));
        }
    }

    /// Refuses a copy of a shared response. If there were two copies, one would sooner or later be forgotten in a
    /// change.
    fn not_a_copy(&mut self, at: &str, response: &Value) {
        let shared = self.document["components"]["responses"].as_object().into_iter().flatten();
        for (name, _) in shared.filter(|(_, shared)| *shared == response) {
            self.expect(false, at, &format!("says word by word what responses › {name} says; refer to that"));
        }
    }

    fn tags(&mut self, at: &str, tags: &Value) {
        let known = self.document["tags"].as_array().into_iter().flatten();
        let is_known = |tag: &Value| known.clone().any(|known| known["name"] == *tag);
        let holds = matches!(tags.as_array().map(Vec::as_slice), Some([tag]) if is_known(tag));
        self.expect(holds, at, "there must be one tag, which the document lists");
    }

    fn parameters(&mut self, at: &str, parameters: &Value) {
        for parameter in parameters.as_array().into_iter().flatten() {
            let parameter = dereference(self.document, parameter);
            let name = parameter["name"].as_str().unwrap_or_default();
            self.expect(has_text(parameter, "description"), at, &format!("parameter {name} must have a description"));
        }
    }

    fn request_body(&mut self, at: &str, operation: &Value) {
        let body = dereference(self.document, &operation["requestBody"]);
        for (media_type, content) in body["content"].as_object().into_iter().flatten() {
            let at = format!("{at} body {media_type}");
            self.expect(example(self.document, content).is_some(), &at, "must have an example");
            self.closed(&at, &content["schema"], &mut HashSet::new());
        }
    }

    /// Objects in a request must refuse unknown members, so that a misspelt member is an error and is not silently
    /// ignored.
    fn closed(&mut self, at: &str, schema: &Value, seen: &mut HashSet<String>) {
        let mut at = at.to_owned();
        if let Some(reference) = schema["$ref"].as_str() {
            if !seen.insert(reference.to_owned()) {
                return;
            }
            at = reference.trim_start_matches("#/components/").replace('/', " › ");
        }
        let schema = dereference(self.document, schema);
        if schema["type"] == "object" || schema["properties"].is_object() {
            let additional = &schema["additionalProperties"];
            let is_map = additional.as_object().is_some_and(|schema| !schema.is_empty());
            let holds = is_map || *additional == json!(false) || has_text(schema, OPEN);
            self.expect(holds, &at, "is sent by clients, so it must have additionalProperties: false");
        }
        for (name, inner) in inner_schemas(schema) {
            self.closed(&format!("{at} › {name}"), inner, seen);
        }
    }

    fn response(&mut self, at: &str, status: &str, response: &Value) {
        let json_body = &response["content"][JSON];
        if status.starts_with(['4', '5']) && response.get(OTHER_BODY).is_none() {
            self.expect(json_body["schema"]["$ref"] == ERROR, at, "must have the Error schema as its body");
        }
        if matches!(status, "200" | "201") && json_body.is_object() {
            self.expect(example(self.document, json_body).is_some(), at, "must have an example");
        }
    }

    /// Checks the properties of all schemas within a value, wherever they are.
    fn schemas(&mut self, at: &str, value: &Value) {
        match value {
            Value::Object(members) => self.schemas_of_map(at, members),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.schemas(&below(at, &index.to_string()), item);
                }
            }
            _ => {}
        }
    }

    fn schemas_of_map(&mut self, at: &str, members: &Map<String, Value>) {
        let alone = members.len() == 1 || !members.get("$ref").is_some_and(Value::is_string);
        self.expect(alone, at, "$ref must stand alone; beside nullable or a default, use allOf");
        for (key, value) in members {
            let at = below(at, key);
            match (key.as_str(), value) {
                ("example" | "examples" | "default" | "enum", _) => {} // data
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        let at = below(&at, name);
                        self.expect(has_type(property), &at, "must have a type, or refer to a schema");
                        self.schemas(&at, property);
                    }
                }
                _ => self.schemas(&at, value),
            }
        }
    }
}

/// The schemas directly within a schema, each with the key or the property name that leads to it.
fn inner_schemas(schema: &Value) -> Vec<(&str, &Value)> {
    let properties = keys(&schema["properties"]).map(|name| (name, &schema["properties"][name]));
    let single = ["items", "additionalProperties"].into_iter().filter_map(|key| Some((key, schema.get(key)?)));
    let lists = ["allOf", "oneOf", "anyOf"].into_iter().flat_map(|key| {
        let parts = schema[key].as_array().into_iter().flatten();
        parts.map(move |part| (key, part))
    });
    properties.chain(single).chain(lists).collect()
}

fn has_type(schema: &Value) -> bool {
    ["type", "$ref", "allOf", "oneOf", "anyOf"].iter().any(|key| schema.get(*key).is_some())
}

fn has_text(value: &Value, key: &str) -> bool {
    value[key].as_str().is_some_and(|text| !text.trim().is_empty())
}

fn is_snake_case(id: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    id.starts_with(|first: char| first.is_ascii_lowercase()) && id.split('_').all(is_word)
}

fn is_verb_and_noun(summary: &str) -> bool {
    summary.starts_with(char::is_uppercase) && summary.contains(' ') && !summary.ends_with('.')
}

fn below(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at} › {key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        let error = json!({"description": "Bad", "content": {JSON: {"schema": {"$ref": ERROR}}}});
        let task = json!({"$ref": "#/components/schemas/Task"});
        json!({
            "tags": [{"name": "tasks"}],
            "paths": {"/tasks/{task_id}": {
                "parameters": [{"name": "task_id", "in": "path", "description": "Which one."}],
                "put": {
                    "operationId": "task_replace",
                    "summary": "Replace a task",
                    "tags": ["tasks"],
                    "security": [],
                    "requestBody": {"content": {JSON: {"schema": task}}},
                    "responses": {"200": {"content": {JSON: {"schema": task}}}, "404": error},
                },
            }},
            "components": {"schemas": {
                "Error": {"type": "object", "properties": {"message": {"type": "string"}}},
                "Task": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "title": {"type": "string"},
                        "next": {"nullable": true, "allOf": [task]},
                        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                    "example": {"title": "Call", "notes": {"$ref": "data", "a": 1}},
                },
            }},
        })
    }

    const PUT: &str = "/paths/~1tasks~1{task_id}/put";
    const TASK: &str = "/components/schemas/Task";

    /// Changes one place of the good document (null removes it) and expects one problem.
    fn assert_problem(pointer: &str, change: Value, expected: &str) {
        let mut document = good();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).expect("the place is there");
        if change.is_null() {
            drop(parent.as_object_mut().unwrap().remove(key))
        } else {
            parent[key] = change
        }
        assert_eq!(lint(&document), [expected]);
    }

    fn assert_operation_problem(key: &str, change: Value, expected: &str) {
        assert_problem(&format!("{PUT}/{key}"), change, &format!("task_replace (PUT /tasks/{{task_id}}){expected}"));
    }

    #[test]
    fn a_good_document_has_no_problems() {
        assert_eq!(lint(&good()), [""; 0]);
    }

    #[test]
    fn operation_ids() {
        let bad = "replaceTask (PUT /tasks/{task_id}): operationId must be in snake_case";
        assert_problem(&format!("{PUT}/operationId"), json!("replaceTask"), bad);
        let twice = "task_replace (GET /tasks): operationId must be used once";
        let operation = good().pointer(PUT).cloned();
        let mut document = good();
        document["paths"]["/tasks"] = json!({"get": operation});
        assert_eq!(lint(&document), [twice]);
        assert!(is_snake_case("task_list_2") && !is_snake_case("task__list") && !is_snake_case(""));
    }

    #[test]
    fn summaries() {
        for bad in ["Replace a task.", "Replace", "replace a task", ""] {
            let problem = ": summary must be a verb and a noun, without a full stop";
            assert_operation_problem("summary", json!(bad), problem);
        }
    }

    #[test]
    fn tags() {
        for bad in [json!([]), json!(["unknown"]), json!(["tasks", "tasks"]), json!(null)] {
            assert_operation_problem("tags", bad, ": there must be one tag, which the document lists");
        }
    }

    #[test]
    fn operations_say_what_credentials_they_need() {
        let problem = ": must say which credentials it needs; `security: []` where it needs none";
        assert_operation_problem("security", Value::Null, problem);
        let mut document = good();
        document.pointer_mut(PUT).and_then(Value::as_object_mut).unwrap().remove("security");
        document["security"] = json!([{"bearerAuth": []}]);
        assert_eq!(lint(&document), [""; 0], "the document says it for them");
    }

    #[test]
    fn parameters_are_described() {
        let problem = ": parameter q must have a description";
        assert_operation_problem("parameters", json!([{"name": "q", "in": "query", "description": " "}]), problem);
        let mut document = good();
        document["paths"]["/tasks/{task_id}"]["parameters"][0]["description"].take();
        assert_eq!(lint(&document).len(), 1, "those of the path too");
    }

    #[test]
    fn errors_have_the_one_body() {
        let other = json!({"404": {"content": {JSON: {"schema": {"type": "string"}}}}});
        assert_operation_problem("responses", other, " 404: must have the Error schema as its body");
        assert_operation_problem("responses", json!({"500": {}}), " 500: must have the Error schema as its body");
        let mut document = good();
        *document.pointer_mut(&format!("{PUT}/responses")).unwrap() = json!({"503": {OTHER_BODY: "Says what is down"}});
        assert_eq!(lint(&document), [""; 0]);
    }

    #[test]
    fn shared_responses_are_referred_to() {
        let mut document = good();
        let written_out = document.pointer(&format!("{PUT}/responses/404")).cloned().unwrap();
        document["components"]["responses"] = json!({"NotFound": written_out});
        let problem = "says word by word what responses › NotFound says; refer to that";
        assert_eq!(lint(&document), [format!("task_replace (PUT /tasks/{{task_id}}) 404: {problem}")]);
        let reference = json!({"$ref": "#/components/responses/NotFound"});
        *document.pointer_mut(&format!("{PUT}/responses/404")).unwrap() = reference;
        assert_eq!(lint(&document), [""; 0]);
    }

    #[test]
    fn bodies_have_examples() {
        let mut document = good();
        document.pointer_mut(TASK).and_then(Value::as_object_mut).unwrap().remove("example");
        let at = "task_replace (PUT /tasks/{task_id})";
        let expected =
            [format!("{at} body application/json: must have an example"), format!("{at} 200: must have an example")];
        assert_eq!(lint(&document), expected);
    }

    #[test]
    fn objects_in_requests_are_closed() {
        let rule = "is sent by clients, so it must have additionalProperties: false";
        assert_problem(&format!("{TASK}/additionalProperties"), Value::Null, &format!("schemas › Task: {rule}"));
        let nested = json!({"type": "array", "items": {"type": "object", "additionalProperties": {}}});
        let expected = format!("schemas › Task › notes › items: {rule}");
        assert_problem(&format!("{TASK}/properties/notes"), nested, &expected);
        let mut document = good();
        document.pointer_mut(TASK).and_then(Value::as_object_mut).unwrap().remove("additionalProperties");
        document.pointer_mut(TASK).unwrap()[OPEN] = json!("A standard has it so");
        assert_eq!(lint(&document), [""; 0]);
    }

    #[test]
    fn properties_have_a_type_and_references_stand_alone() {
        let at = "components › schemas › Task › properties › title";
        let expected = format!("{at}: must have a type, or refer to a schema");
        assert_problem(&format!("{TASK}/properties/title"), json!({"nullable": true}), &expected);
        let own = "#/components/schemas/Task";
        let expected = format!("{at}: $ref must stand alone; beside nullable or a default, use allOf");
        assert_problem(&format!("{TASK}/properties/title"), json!({"$ref": own, "nullable": true}), &expected);
    }
}
