//! Finds the differences between the contract and the server.
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One member that differs. `None` means that the member is missing on this side.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// The path to the member: `schemas › TaskInput › properties › title › maxLength`.
    pub at: String,
    /// The operations that it affects: the one that contains the member, or those that use the schema that contains the
    /// member.
    pub operations: Vec<String>,
    pub contract: Option<Value>,
    pub server: Option<Value>,
}

/// The differences of two documents in [normal form](super::normalise::normalise).
pub fn differences(contract: &Value, server: &Value) -> Vec<Difference> {
    let users = SchemaUsers::of([contract, server]);
    let mut found = Vec::new();
    compare(&mut Vec::new(), Some(contract), Some(server), &mut |path, contract, server| {
        found.push(Difference {
            at: path.join(" › "),
            operations: affected(path, &users),
            contract: contract.cloned(),
            server: server.cloned(),
        });
    });
    found
}

type Found<'a> = dyn FnMut(&[String], Option<&Value>, Option<&Value>) + 'a;

/// Descends as long as both sides are objects.
fn compare(path: &mut Vec<String>, contract: Option<&Value>, server: Option<&Value>, found: &mut Found<'_>) {
    let (Some(Value::Object(left)), Some(Value::Object(right))) = (contract, server) else {
        if contract != server {
            found(path, contract, server);
        }
        return;
    };
    let only_right = right.keys().filter(|key| !left.contains_key(*key));
    for key in left.keys().chain(only_right) {
        let (contract, server) = (left.get(key), right.get(key));
        path.push(step(path, key, contract.or(server)));
        compare(path, contract, server, found);
        path.pop();
    }
}

/// One step of the path. The step to an operation also has its id, because readers look for the id.
fn step(path: &[String], key: &str, value: Option<&Value>) -> String {
    match value.and_then(|value| value["operationId"].as_str()) {
        Some(id) if path == ["operations"] => operation_name(id, key),
        _ => key.to_owned(),
    }
}

fn operation_name(id: &str, method_and_path: &str) -> String {
    format!("{id} ({method_and_path})")
}

fn affected(path: &[String], users: &SchemaUsers) -> Vec<String> {
    match path {
        [section, name, ..] if section == "operations" => vec![name.clone()],
        [section, name, ..] if section == "schemas" => users.of_schema(name),
        _ => vec![],
    }
}

/// The operations that use each schema, directly or through other schemas.
struct SchemaUsers(BTreeMap<String, BTreeSet<String>>);

impl SchemaUsers {
    /// Collects the users in both documents, because a schema that only one document uses matters too.
    fn of(documents: [&Value; 2]) -> Self {
        let mut users = Self(BTreeMap::new());
        for document in documents {
            for (key, operation) in document["operations"].as_object().into_iter().flatten() {
                let name = operation_name(operation["operationId"].as_str().unwrap_or("no id"), key);
                let mut reached = BTreeSet::new();
                reach(document, operation, &mut reached);
                for schema in reached {
                    users.0.entry(schema).or_default().insert(name.clone());
                }
            }
        }
        users
    }

    fn of_schema(&self, name: &str) -> Vec<String> {
        self.0.get(name).into_iter().flatten().cloned().collect()
    }
}

fn reach(document: &Value, value: &Value, reached: &mut BTreeSet<String>) {
    for name in referred(value) {
        if reached.insert(name.clone()) {
            reach(document, &document["schemas"][&name], reached);
        }
    }
}

/// The names of the schemas to which a value refers.
fn referred(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(members) => members.values().flat_map(referred).collect(),
        Value::Array(items) => items.iter().flat_map(referred).collect(),
        Value::String(text) => text.strip_prefix("#/components/schemas/").map(str::to_owned).into_iter().collect(),
        _ => BTreeSet::new(),
    }
}

/// Prints all differences, one paragraph each.
pub struct Report<'a>(pub &'a [Difference]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Differences between the contract (openapi/) and the server: {}", self.0.len())?;
        self.0.iter().try_for_each(|difference| write!(f, "\n{difference}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.at)?;
        writeln!(f, "    contract: {}", shown(self.contract.as_ref()))?;
        writeln!(f, "    server:   {}", shown(self.server.as_ref()))?;
        let own_path_says_it = self.at.starts_with("operations");
        if !self.operations.is_empty() && !own_path_says_it {
            writeln!(f, "    used by:  {}", self.operations.join(", "))?;
        }
        Ok(())
    }
}

/// Shortens a value for the report. A reader who needs the whole value looks into the document.
fn shown(value: Option<&Value>) -> String {
    const MOST: usize = 200;
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let body = |name: &str| json!({"content": {"application/json": {"schema": reference(name)}}});
        json!({
            "info": {"version": "1.0.0"},
            "schemas": {
                "TaskInput": {"properties": {"title": {"type": "string", "maxLength": 200}}},
                "Tasks": {"items": reference("Task")},
                "Task": {"properties": {"next": reference("Task"), "input": reference("TaskInput")}},
                "Status": {"enum": ["todo"]},
            },
            "operations": {
                "POST /tasks": {"operationId": "task_create", "requestBody": body("TaskInput")},
                "GET /tasks": {
                    "operationId": "task_list",
                    "parameters": {"query status": {"schema": reference("Status")}},
                    "responses": {"200": body("Tasks")},
                },
            },
        })
    }

    #[test]
    fn documents_that_are_equal_have_no_differences() {
        assert_eq!(differences(&document(), &document()), []);
    }

    #[test]
    fn a_difference_in_a_schema_names_the_member_and_the_operations() {
        let mut server = document();
        server["schemas"]["TaskInput"]["properties"]["title"]["maxLength"] = json!(100);
        let differences = differences(&document(), &server);
        let expected = "\
Differences between the contract (openapi/) and the server: 1

schemas › TaskInput › properties › title › maxLength
    contract: 200
    server:   100
    used by:  task_create (POST /tasks), task_list (GET /tasks)
";
        assert_eq!(Report(&differences).to_string(), expected);
    }

    #[test]
    fn a_difference_in_an_operation_names_it() {
        let mut server = document();
        server["operations"]["GET /tasks"]["responses"]["404"] = json!({});
        let differences = differences(&document(), &server);
        let expected = "\
operations › task_list (GET /tasks) › responses › 404
    contract: nothing
    server:   {}
";
        assert_eq!(differences[0].to_string(), expected);
        assert_eq!(differences[0].operations, ["task_list (GET /tasks)"]);
    }

    #[test]
    fn operations_and_schemas_that_one_side_lacks_are_named() {
        let (mut contract, mut server) = (document(), document());
        contract["operations"].as_object_mut().unwrap().remove("GET /tasks");
        server["schemas"].as_object_mut().unwrap().remove("Status");
        let differences = differences(&contract, &server);
        let places: Vec<_> = differences.iter().map(|difference| difference.at.as_str()).collect();
        assert_eq!(places, ["schemas › Status", "operations › task_list (GET /tasks)"]);
        assert_eq!(differences[0].operations, ["task_list (GET /tasks)"]);
        assert_eq!(differences[1].contract, None);
    }

    #[test]
    fn long_values_are_cut() {
        let difference = Difference {
            at: "info › title".to_owned(),
            operations: vec![],
            contract: Some(json!("é".repeat(300))),
            server: None,
        };
        assert!(difference.to_string().lines().all(|line| line.chars().count() < 220));
    }
}
