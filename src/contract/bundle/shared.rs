//! What operations share beyond components. Shared parts are written once and inserted here:
//!
//! - `x-responses: [credentials, id]` in an operation adds the responses of these groups. The groups are listed under
//!   the same key in `common.yaml`.
//! - A reference among `parameters` may lead to a list of parameters, such as one under `x-parameters`. They all take
//!   the place of the reference.
//! - An operation without `security` gets the `security` of the root. It is copied into each operation, because some
//!   generators of clients look for it nowhere else.
//!
//! An operation that writes out what it could share does not bundle, because two copies sooner or later differ.
use super::{Bundler, Keys, Sources, Target};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const COMMON: &str = "common.yaml";
const GROUPS: &str = "x-responses";

/// Whether the map is an operation. Links have an `operationId` too, but no responses.
pub(super) fn is_operation(members: &Map<String, Value>) -> bool {
    let has = |key: &str| members.contains_key(key);
    has("operationId") && (has("responses") || has(GROUPS))
}

impl Bundler<'_> {
    pub(super) fn operation(&mut self, operation: &Map<String, Value>, file: &str) -> Result<Value> {
        let mut walked = Map::new();
        for (key, value) in operation.iter().filter(|(key, _)| !["responses", GROUPS].contains(&key.as_str())) {
            let value = self.walk(value, file, Keys::of_children(key, Keys::Fixed))?;
            let value = if key == "parameters" { json!(flattened(value)) } else { value };
            walked.insert(key.clone(), value);
        }
        if let Some(security) = self.sources.root()?.get("security") {
            walked.entry("security").or_insert_with(|| security.clone());
        }
        walked.insert("responses".to_owned(), self.responses(operation, file)?);
        Ok(Value::Object(walked))
    }

    /// The responses of the groups and the operation's own, by status.
    fn responses(&mut self, operation: &Map<String, Value>, file: &str) -> Result<Value> {
        let sources = self.sources;
        let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
        let mut responses = BTreeMap::new();
        if let Some(names) = operation.get(GROUPS) {
            let names = names.as_array().with_context(|| format!("{file}: {id}: {GROUPS} is not a list"))?;
            for name in names {
                let target = group(name.as_str().unwrap_or_default());
                let shared = sources.find(&target).and_then(Value::as_object);
                let shared = shared.with_context(|| format!("{file}: {id}: {target} is missing"))?;
                self.reached.insert(target);
                for (status, response) in shared {
                    responses.insert(status.clone(), self.walk(response, COMMON, Keys::Fixed)?);
                }
            }
        }
        for (status, response) in operation.get("responses").and_then(Value::as_object).into_iter().flatten() {
            let at = format!("{file}: {id} {status}");
            if let Some(name) = sources.group_with(status, response, file) {
                bail!("{at} is what the group {name} of {GROUPS} says; name the group instead");
            }
            let walked = self.walk(response, file, Keys::Fixed)?;
            self.refuse_repeat(&at, response, &walked)?;
            if responses.insert(status.clone(), walked).is_some() {
                bail!("{at} is also said by a group that {GROUPS} names");
            }
        }
        Ok(json!(responses))
    }

    /// Refuses a response that another operation has written out already. A line such as `description: Deleted` may be
    /// repeated.
    fn refuse_repeat(&mut self, at: &str, response: &Value, walked: &Value) -> Result<()> {
        let has_parts = response.get("headers").is_some() || response.get("content").is_some();
        if has_parts && let Some(other) = self.written.insert(walked.to_string(), at.to_owned()) {
            bail!("{at} says word by word what {other} says; refer to the other response");
        }
        Ok(())
    }
}

impl Sources {
    /// The name of the group that has this reference under this status.
    fn group_with(&self, status: &str, response: &Value, file: &str) -> Option<&str> {
        let target = Target::parse(response.get("$ref")?.as_str()?, file);
        let groups = self.files.get(COMMON)?.get(GROUPS)?.as_object()?;
        let says_it = |group: &Value| {
            let reference = group.get(status).and_then(|response| response["$ref"].as_str());
            reference.is_some_and(|reference| Target::parse(reference, COMMON) == target)
        };
        groups.iter().find(|(_, group)| says_it(group)).map(|(name, _)| name.as_str())
    }
}

fn group(name: &str) -> Target {
    Target { file: COMMON.to_owned(), pointer: format!("/{GROUPS}/{name}") }
}

/// Flattens lists within the list.
fn flattened(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.into_iter().flat_map(flattened).collect(),
        item => vec![item],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::bundle_files;
    use super::*;

    const ROOT: &str = "\
openapi: 3.0.3
security: [{bearerAuth: []}]
paths:
  /tasks: {$ref: 'tasks.yaml#/paths/tasks'}
";
    const SHARED: &str = "\
x-responses:
  id: {'404': {$ref: '#/components/responses/NotFound'}}
  credentials: {'401': {$ref: '#/components/responses/Unauthorized'}}
x-parameters:
  page: [{$ref: '#/components/parameters/page'}, {name: cursor}]
components:
  parameters: {page: {name: page}}
  responses: {NotFound: {description: Not found}, Unauthorized: {description: No credentials}}
";

    /// Bundles a `GET /tasks` with these members, and a `PUT /tasks` that uses all that is shared.
    fn bundle_get(members: &str) -> Result<Value> {
        let put = "operationId: put, parameters: [{$ref: 'common.yaml#/x-parameters/page'}], \
                   x-responses: [id, credentials], responses: {'200': {content: {text/plain: {}}}}";
        let tasks = format!("paths: {{tasks: {{put: {{{put}}}, get: {{operationId: get, {members}}}}}}}");
        bundle_files(&[("openapi.yaml", ROOT), ("common.yaml", SHARED), ("tasks.yaml", &tasks)])
    }

    fn message(members: &str) -> String {
        format!("{:#}", bundle_get(members).unwrap_err())
    }

    #[test]
    fn groups_and_lists_are_put_in_place_and_security_is_that_of_the_root() {
        let document = bundle_get("security: [], x-responses: [id], responses: {'204': {description: Done}}").unwrap();
        let put = json!({
            "operationId": "put",
            "parameters": [{"$ref": "#/components/parameters/page"}, {"name": "cursor"}],
            "security": [{"bearerAuth": []}],
            "responses": {
                "200": {"content": {"text/plain": {}}},
                "401": {"$ref": "#/components/responses/Unauthorized"},
                "404": {"$ref": "#/components/responses/NotFound"},
            },
        });
        let tasks = &document["paths"]["/tasks"];
        assert_eq!(tasks["put"].to_string(), put.to_string(), "statuses are in order");
        assert_eq!(tasks["get"]["security"], json!([]), "an operation's own goes first");
        assert_eq!(tasks["get"]["responses"]["404"], put["responses"]["404"]);
        assert_eq!(document.get("security"), None, "each operation has it");
        assert!(document["components"]["responses"]["NotFound"].is_object());
    }

    #[test]
    fn a_group_that_is_not_there_is_refused() {
        assert_eq!(message("x-responses: [ids]"), "tasks.yaml: get: common.yaml#/x-responses/ids is missing");
        assert_eq!(message("x-responses: id"), "tasks.yaml: get: x-responses is not a list");
    }

    #[test]
    fn what_a_group_says_is_not_written_out() {
        let not_found = "responses: {'404': {$ref: 'common.yaml#/components/responses/NotFound'}}";
        let expected = "tasks.yaml: get 404 is what the group id of x-responses says; name the group instead";
        assert_eq!(message(not_found), expected);
        let other = message("x-responses: [id], responses: {'404': {description: Gone}}");
        assert_eq!(other, "tasks.yaml: get 404 is also said by a group that x-responses names");
    }

    #[test]
    fn what_another_operation_says_is_referred_to() {
        let written_out = "responses: {'200': {content: {text/plain: {}}}}";
        let expected =
            "tasks.yaml: get 200 says word by word what tasks.yaml: put 200 says; refer to the other response";
        assert_eq!(message(written_out), expected);
        let document = bundle_get("responses: {'200': {$ref: '#/paths/tasks/put/responses/200'}}").unwrap();
        let tasks = &document["paths"]["/tasks"];
        assert_eq!(tasks["get"]["responses"]["200"], tasks["put"]["responses"]["200"]);
    }

    #[test]
    fn a_group_that_nothing_names_is_refused() {
        let common = format!("{SHARED}x-headers: {{created: {{}}}}\n");
        let tasks = "paths: {tasks: {get: {operationId: get, responses: {}}}}";
        let error = bundle_files(&[("openapi.yaml", ROOT), ("common.yaml", &common), ("tasks.yaml", tasks)]);
        let message = format!("{:#}", error.unwrap_err());
        for dead in ["x-responses/id", "x-responses/credentials", "x-parameters/page", "x-headers/created"] {
            assert!(message.contains(&format!("common.yaml#/{dead}")), "{message}");
        }
    }
}
