//! Checks whether a client of the old contract still works with the new one.
//!
//! The server may accept more requests than before, but it may only send answers that it could have sent before. A new
//! member in an answer breaks nobody, because clients must ignore members that they don't know. A change counts as
//! breaking unless it is known to be harmless.
mod schema;

use super::normalise::{CLOSED_OBJECTS, normalise_except};
use schema::{Direction, SchemaCheck};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The breaking changes between two contracts as they are published (not normalised), sorted.
pub fn breaking(old: &Value, new: &Value) -> Vec<String> {
    let old = normalise_except(old, &[CLOSED_OBJECTS]);
    let new = normalise_except(new, &[CLOSED_OBJECTS]);
    let mut check = Check { old: &old, new: &new, found: BTreeSet::new() };
    check.document();
    for (key, operation) in entries(&old["operations"]) {
        let name = format!("{key} ({})", operation["operationId"].as_str().unwrap_or("no id"));
        match new["operations"].get(key) {
            Some(now) => check.operation(&name, operation, now),
            None => check.report(&name, "operation removed"),
        }
    }
    check.found.into_iter().collect()
}

fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flat_map(Map::iter)
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a flag has become true. In the normal form, a flag that is false is left out.
fn became_true(flag: &str, old: &Value, new: &Value) -> bool {
    old[flag] != true && new[flag] == true
}

struct Check<'a> {
    old: &'a Value,
    new: &'a Value,
    found: BTreeSet<String>,
}

impl Check<'_> {
    fn report(&mut self, at: &str, what: &str) {
        self.found.insert(format!("{at}: {what}"));
    }

    fn schema(&mut self, at: &str, direction: Direction, old: &Value, new: &Value) {
        let mut check = SchemaCheck::new(self.old, self.new, direction);
        check.compare(at, old, new);
        self.found.extend(check.found);
    }

    fn document(&mut self) {
        for (name, scheme) in entries(&self.old["securitySchemes"]) {
            if self.new["securitySchemes"].get(name) != Some(scheme) {
                self.report(&format!("security scheme {name}"), "removed or changed");
            }
        }
        if self.old["servers"] != self.new["servers"] {
            self.report("servers", "changed");
        }
    }

    fn operation(&mut self, name: &str, old: &Value, new: &Value) {
        if old["operationId"] != new["operationId"] {
            self.report(name, "operationId changed, which names a method of generated clients");
        }
        if !still_lets_in(items(&old["security"]), items(&new["security"])) {
            self.report(name, &format!("security {} → {}", old["security"], new["security"]));
        }
        self.parameters(name, &old["parameters"], &new["parameters"]);
        self.body(name, old.get("requestBody"), new.get("requestBody"));
        self.responses(name, &old["responses"], &new["responses"]);
    }

    fn parameters(&mut self, operation: &str, old: &Value, new: &Value) {
        for (key, parameter) in entries(old) {
            let at = format!("{operation} {key}");
            match new.get(key) {
                Some(now) => self.parameter(&at, parameter, now),
                None => self.report(&at, "parameter removed"),
            }
        }
        for (key, _) in entries(new).filter(|(key, now)| old.get(*key).is_none() && now["required"] == true) {
            self.report(&format!("{operation} {key}"), "new required parameter");
        }
    }

    fn parameter(&mut self, at: &str, old: &Value, new: &Value) {
        if became_true("required", old, new) {
            self.report(at, "became required");
        }
        if old["style"] != new["style"] || old["explode"] != new["explode"] {
            self.report(at, "written differently (style, explode)");
        }
        self.schema(at, Direction::Taken, &old["schema"], &new["schema"]);
    }

    fn body(&mut self, operation: &str, old: Option<&Value>, new: Option<&Value>) {
        let at = format!("{operation} body");
        match (old, new) {
            (None, Some(new)) if new["required"] == true => self.report(&at, "new and required"),
            (None, _) => {}
            (Some(_), None) => self.report(&at, "removed"),
            (Some(old), Some(new)) => {
                if became_true("required", old, new) {
                    self.report(&at, "became required");
                }
                self.content(&at, Direction::Taken, &old["content"], &new["content"]);
            }
        }
    }

    /// Error statuses may be added and removed. Success statuses may not, because clients act on them.
    fn responses(&mut self, operation: &str, old: &Value, new: &Value) {
        let is_success = |status: &str| status.starts_with(['2', '3']);
        for (status, response) in entries(old) {
            let at = format!("{operation} {status}");
            match new.get(status) {
                Some(now) => {
                    self.headers(&at, &response["headers"], &now["headers"]);
                    self.content(&at, Direction::Sent, &response["content"], &now["content"]);
                }
                None if is_success(status) => self.report(&at, "response removed"),
                None => {}
            }
        }
        for (status, _) in entries(new).filter(|(status, _)| old.get(*status).is_none() && is_success(status)) {
            self.report(&format!("{operation} {status}"), "new success response");
        }
    }

    fn headers(&mut self, response: &str, old: &Value, new: &Value) {
        for (name, header) in entries(old) {
            let at = format!("{response} header {name}");
            let Some(now) = new.get(name) else {
                self.report(&at, "removed");
                continue;
            };
            if became_true("required", now, header) {
                self.report(&at, "is no longer always sent");
            }
            self.schema(&at, Direction::Sent, &header["schema"], &now["schema"]);
        }
    }

    fn content(&mut self, at: &str, direction: Direction, old: &Value, new: &Value) {
        for (media_type, body) in entries(old) {
            match new.get(media_type) {
                Some(now) => self.schema(at, direction, &body["schema"], &now["schema"]),
                None => self.report(at, &format!("media type {media_type} removed")),
            }
        }
    }
}

/// Whether each way to authenticate still works. If there are no requirements at all, everybody may call the operation.
fn still_lets_in(old: &[Value], new: &[Value]) -> bool {
    new.is_empty() || (!old.is_empty() && old.iter().all(|way| new.contains(way)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn contract() -> Value {
        json!({
            "servers": [{"url": "/"}],
            "components": {
                "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer"}},
                "schemas": {
                    "Input": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
                    "Task": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
                },
            },
            "paths": {"/tasks": {"post": {
                "operationId": "task_create",
                "security": [{"bearerAuth": []}],
                "parameters": [
                    {"name": "dry", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                ],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Input"}}},
                },
                "responses": {
                    "201": {
                        "headers": {"ETag": {"required": true, "schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Task"}}},
                    },
                    "404": {},
                },
            }}},
        })
    }

    /// The breaking changes after a change at a place within `POST /tasks`, or within the whole document if the pointer
    /// begins with `/components` or `/servers`.
    fn after(pointer: &str, change: Value) -> Vec<String> {
        let mut new = contract();
        let operation = "/paths/~1tasks/post";
        let full = if pointer.starts_with("/components") || pointer.starts_with("/servers") { "" } else { operation };
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = new.pointer_mut(&format!("{full}{parent}")).expect("the place is there");
        match (parent, change) {
            (Value::Array(list), Value::Null) => drop(list.remove(key.parse().unwrap())),
            (Value::Array(list), change) if key == "-" => list.push(change),
            (Value::Object(members), Value::Null) => drop(members.remove(key)),
            (parent, change) => parent[key] = change,
        }
        breaking(&contract(), &new)
    }

    const POST: &str = "POST /tasks (task_create)";

    fn assert_found(found: Vec<String>, at: &str, what: &str) {
        assert_eq!(found, [format!("{POST}{at}: {what}")]);
    }

    #[test]
    fn nothing_breaks_without_a_change() {
        assert!(breaking(&contract(), &contract()).is_empty());
    }

    #[test]
    fn what_is_only_added_breaks_nothing() {
        assert!(after("/responses/409", json!({})).is_empty());
        assert!(after("/responses/404", Value::Null).is_empty(), "an error that no longer comes");
        assert!(after("/parameters/-", json!({"name": "q", "in": "query"})).is_empty());
        assert!(after("/components/schemas/Input/properties/note", json!({"type": "string"})).is_empty());
        assert!(after("/components/schemas/Task/properties/note", json!({"type": "string"})).is_empty());
        assert!(after("/requestBody/content/text~1csv", json!({})).is_empty());
        assert!(after("/security", json!([])).is_empty());
        assert!(after("/security/-", json!({"apiKey": []})).is_empty());
    }

    #[test]
    fn operations() {
        let mut new = contract();
        new["paths"] = json!({});
        assert_found(breaking(&contract(), &new), "", "operation removed");
        let found = after("/operationId", json!("create_task"));
        assert_found(found, "", "operationId changed, which names a method of generated clients");
    }

    #[test]
    fn security() {
        let found = after("/security", json!([{"apiKey": []}]));
        assert_found(found, "", r#"security [{"bearerAuth":[]}] → [{"apiKey":[]}]"#);
        let mut public = contract();
        public["paths"]["/tasks"]["post"]["security"] = json!([]);
        assert_eq!(breaking(&public, &contract()).len(), 1, "a public operation now wants a token");
        let scheme = after("/components/securitySchemes/bearerAuth/scheme", json!("basic"));
        assert_eq!(scheme, ["security scheme bearerAuth: removed or changed"]);
        assert_eq!(after("/servers/0/url", json!("/v2")), ["servers: changed"]);
    }

    #[test]
    fn parameters() {
        assert_found(after("/parameters/0", Value::Null), " query dry", "parameter removed");
        let required = json!({"name": "q", "in": "query", "required": true});
        assert_found(after("/parameters/-", required), " query q", "new required parameter");
        assert_found(after("/parameters/0/required", json!(true)), " query dry", "became required");
        let found = after("/parameters/0/explode", json!(false));
        assert_found(found, " query dry", "written differently (style, explode)");
        let found = after("/parameters/0/schema/items/maxLength", json!(9));
        assert_found(found, " query dry[]", "maxLength nothing → 9");
    }

    #[test]
    fn bodies() {
        assert_found(after("/requestBody", Value::Null), " body", "removed");
        assert_found(after("/requestBody/required", json!(true)), " body", "became required");
        let found = after("/requestBody/content", json!({"text/csv": {}}));
        assert_found(found, " body", "media type application/json removed");
        let mut old = contract();
        old["paths"]["/tasks"]["post"].as_object_mut().unwrap().remove("requestBody");
        let mut new = contract();
        new["paths"]["/tasks"]["post"]["requestBody"]["required"] = json!(true);
        assert_found(breaking(&old, &new), " body", "new and required");
        assert!(breaking(&old, &contract()).is_empty(), "a body that may be left out");
    }

    #[test]
    fn responses_and_headers() {
        let found = after("/responses", json!({"404": {}}));
        assert_found(found, " 201", "response removed");
        assert_found(after("/responses/202", json!({})), " 202", "new success response");
        assert_found(after("/responses/201/headers", json!({})), " 201 header etag", "removed");
        let found = after("/responses/201/headers/ETag/required", json!(false));
        assert_found(found, " 201 header etag", "is no longer always sent");
        let found = after("/responses/201/content", json!({}));
        assert_found(found, " 201", "media type application/json removed");
    }

    #[test]
    fn schemas_by_direction() {
        let found = after("/components/schemas/Input/required/-", json!("note"));
        assert_found(found, " body", r#"required ["title"] → ["note","title"]"#);
        let found = after("/components/schemas/Task/required", json!([]));
        assert_found(found, " 201", r#"required ["id"] → nothing"#);
    }
}
