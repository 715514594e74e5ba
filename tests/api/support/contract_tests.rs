//! Tests of the checker itself: what it accepts and what it reports.
use super::*;

fn sample() -> Value {
    let task = json!({"$ref": "#/components/schemas/Task"});
    json!({
        "components": {"schemas": {"Task": {
            "type": "object",
            "required": ["id", "due"],
            "additionalProperties": false,
            "properties": {
                "id": {"type": "string", "format": "uuid"},
                "due": {"type": "string", "format": "date", "nullable": true},
                "at": {"type": "string", "format": "date-time"},
                "next": {"nullable": true, "allOf": [task]},
                "kind": {"type": "string", "enum": ["a"], "nullable": true},
                "share": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
            },
        }}},
        "paths": {
            "/tasks/{id}": {"get": {"operationId": "task_get", "responses": {
                "200": {
                    "headers": {
                        "ETag": {"required": true, "schema": {"type": "string"}},
                        "Age": {"schema": {"type": "integer"}},
                    },
                    "content": {"application/json": {"schema": task}},
                },
                "204": {},
                "4XX": {"content": {"application/json": {"schema": {"type": "object"}}}},
            }}},
            "/tasks/export": {"get": {
                "operationId": "task_export",
                "responses": {"200": {"content": {"text/csv": {}}}},
            }},
        },
    })
}

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn ask(path: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Result<(), String> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Contract::load(&sample()).check_response("GET", path, status, &headers, body.as_bytes())
}

fn task(body: Value) -> Result<(), String> {
    ask("/tasks/1?x=/y", 200, &[("content-type", "application/json"), ("etag", "\"1\"")], &body.to_string())
}

#[track_caller]
fn assert_problem(result: Result<(), String>, expected: &str) {
    let problem = result.expect_err("a problem");
    assert!(problem.contains(expected), "{problem}");
}

#[test]
fn an_answer_that_fits_passes() {
    task(json!({"id": ID, "due": "2026-02-28", "at": "2026-02-28T10:00:00.123456Z", "share": 0.5})).unwrap();
    task(json!({"id": ID, "due": null, "kind": null, "next": null})).unwrap();
    task(json!({"id": ID, "due": null, "kind": "a", "next": {"id": ID, "due": null}})).unwrap();
    ask("/tasks/1", 204, &[], "").unwrap();
    ask("/tasks/1", 404, &[("Content-Type", "application/json; charset=utf-8")], "{}").unwrap();
    ask("/tasks/1", 404, &[("content-type", "application/problem+json")], "{}").unwrap();
    ask("/tasks/export", 200, &[("content-type", "text/csv")], "a,b").unwrap();
}

#[test]
fn bodies_are_held_to_the_schema() {
    assert_problem(task(json!({"id": ID})), "task_get (GET /tasks/{id}) 200: : \"due\" is a required property");
    assert_problem(task(json!({"id": "1", "due": null})), "/id: ");
    assert_problem(task(json!({"id": ID, "due": "2026-02-30"})), "/due: ");
    assert_problem(task(json!({"id": ID, "due": null, "at": "yesterday"})), "/at: ");
    assert_problem(task(json!({"id": ID, "due": null, "kind": "b"})), "/kind: ");
    assert_problem(task(json!({"id": ID, "due": null, "share": 0})), "/share: ");
    assert_problem(task(json!({"id": ID, "due": null, "next": {"id": ID}})), "/next: ");
    assert_problem(task(json!({"id": null, "due": null})), "/id: ");
    assert_problem(task(json!({"id": ID, "due": null, "secret": 1})), "secret");
}

#[test]
fn statuses_headers_and_media_types_are_declared() {
    let json = ("content-type", "application/json");
    assert_problem(ask("/tasks/1", 500, &[json], "{}"), "this status is not declared");
    assert_problem(ask("/tasks/1", 200, &[json], "{}"), "the header etag is missing");
    assert_problem(ask("/tasks/1", 200, &[json, ("ETag", "1"), ("age", "old")], "{}"), "header age: ");
    assert_problem(ask("/tasks/1", 404, &[("content-type", "text/html")], "x"), "text/html is not declared");
    assert_problem(ask("/tasks/1", 404, &[json], "x"), "is not JSON");
    assert_problem(ask("/tasks/1", 404, &[], ""), "there is no content-type");
    assert_problem(ask("/tasks/1", 204, &[json], "{}"), "application/json is not declared");
    assert_problem(ask("/tasks/export", 200, &[json], "{}"), "task_export");
}

#[test]
fn only_what_the_contract_names_is_checked() {
    let contract = Contract::load(&sample());
    let ask = |method, path, status| contract.check_response(method, path, status, &[], b"x");
    assert_eq!(ask("GET", "/docs", 200), Ok(()));
    assert_eq!(ask("GET", "/tasks/", 500), Ok(()));
    assert_eq!(ask("HEAD", "/tasks/1", 500), Ok(()));
    assert_eq!(ask("DELETE", "/tasks/1", 405), Ok(()));
    assert_problem(ask("DELETE", "/tasks/1", 204), "not in the contract");
}

#[test]
fn examples_are_held_to_their_schemas() {
    let schema = json!({"type": "integer"});
    let document = json!({
        "components": {"schemas": {
            "Good": {"type": "object", "properties": {"example": {"type": "string", "example": "text"}}},
            "Bad": {"type": "string", "format": "uuid", "example": "1"},
        }},
        "paths": {"/": {"get": {
            "parameters": [{"name": "page", "in": "query", "schema": schema, "example": "one"}],
            "responses": {"200": {"content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Bad"}, "examples": {"a": {"value": 7}}},
                "text/event-stream": {"schema": schema, "example": "data: 1"},
            }}},
        }}},
    });
    let (checked, problems) = example_problems(&document);
    let places: Vec<_> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    let expected = [
        "components › schemas › Bad",
        "paths › / › get › parameters › 0",
        "paths › / › get › responses › 200 › content › application/json › a",
    ];
    assert_eq!((checked, places), (4, expected.to_vec()));
}

#[test]
fn the_contract_loads() {
    assert!(!CONTRACT.operations.is_empty());
}
