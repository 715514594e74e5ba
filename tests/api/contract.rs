//! Checks that the contract and the code agree.
use crate::support::contract::example_problems;
use crate::support::fixtures::{content_type, encoded, filled};
use crate::support::{Tenant, TestApp};
use bizcenter::contract::breaking::breaking;
use bizcenter::contract::compare::{Report, differences};
use bizcenter::contract::lint::lint;
use bizcenter::contract::normalise::normalise;
use bizcenter::contract::{document, operations};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn the_code_says_what_the_contract_says() {
    let app = TestApp::start().await;
    let derived: Value = serde_json::from_str(&bizcenter::app::derived_document(&app.parts)).unwrap();
    let found = differences(&normalise(document()), &normalise(&derived));
    assert!(found.is_empty(), "\n{}", Report(&found));
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let problems = lint(document());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_example_fits_its_schema() {
    let (seen, problems) = example_problems(document());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    // The examples of event streams are text without a schema.
    let (text, count) = (document().to_string(), |text: &str, word: &str| text.matches(word).count());
    let least = count(&text, "\"example\":") - count(&text, "\"text/event-stream\":");
    assert!(seen >= least, "{seen} examples of {least} were looked at");
}

/// Compares a file with the text that the code generates for it. Writes the file if `UPDATE` is set.
fn assert_printed(file: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "{file} is not what the code says: UPDATE=1 cargo test --test api contract");
}

/// The file has one line for each operation: id, method, path, permission. It can be reviewed in seconds, and this test
/// compares it with the code.
#[test]
fn operations_txt_is_true() {
    let line = |operation: bizcenter::api::guard::OperationLine| {
        format!("{} {} {} {}\n", operation.id, operation.method, operation.path, operation.permission)
    };
    let lines: String = bizcenter::app::operations().into_iter().map(line).collect();
    assert_printed("openapi/operations.txt", &lines);
    let of_contract = operations(document()).len();
    assert_eq!(lines.lines().count(), of_contract, "the contract has {of_contract} operations");
}

/// The page shows the same permissions as a table, for human readers.
#[test]
fn the_page_about_access_is_true() {
    let operations = bizcenter::app::operations();
    let page = bizcenter::app::access::page(&operations);
    assert!(page.lines().filter(|line| line.starts_with("| `")).count() == operations.len());
    assert_printed("docs/access.md", &page);
}

/// Clients that were written for a release continue to work.
#[test]
fn nothing_released_is_broken() {
    assert_eq!(breaking(document(), document()), Vec::<String>::new());
    let mut without_an_operation = document().clone();
    without_an_operation["paths"].as_object_mut().unwrap().remove("/api/v1/tasks/{task_id}");
    assert!(!breaking(document(), &without_an_operation).is_empty(), "the check sees nothing");

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/released");
    for file in std::fs::read_dir(folder).into_iter().flatten() {
        let path = file.unwrap().path();
        let old: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let broken = breaking(&old, document());
        assert!(broken.is_empty(), "{}\n{}", path.display(), broken.join("\n"));
    }
}

/// The derive macro can't write `additionalProperties: false`, so this test proves it. It adds an unknown member to
/// each object in each example of a request, and the server must refuse it there. The only exception is a form that the
/// contract leaves open.
#[tokio::test]
async fn closed_objects_refuse_unknown_members() {
    let tenant = TestApp::start().await.tenant().await;
    let operator = tenant.operator().await;
    let mut probed = BTreeSet::new();
    for operation in operations(document()) {
        let Some(request) = operation.request else { continue };
        let example = request.example.clone().unwrap_or_else(|| panic!("{} has no example", operation.id));
        let path = filled(&operation.path, |_| tenant.id.to_string());
        let caller = if path.contains("/admin/") { &operator } else { &tenant.owner };
        for place in objects_in(&example, String::new()) {
            let mut probe = example.clone();
            probe.pointer_mut(&place).unwrap()["not_a_member"] = json!("x");
            let call = caller.call(operation.method.parse().unwrap(), &path);
            let answer = call.body(&content_type(&request), encoded(&request, &probe)).send().await;
            if operation.id == "auth_token" {
                // The contract leaves this form open, as RFC 6749 requires. The unknown parameter is ignored, and the
                // example's credentials are wrong.
                assert_eq!(answer.error(), (401, "invalid_credentials".to_owned()));
                continue;
            }
            let member = format!("{}/not_a_member", place).trim_start_matches('/').replace('/', ".");
            assert_eq!(answer.error(), (400, "validation_error".to_owned()), "{}: {member}", operation.id);
            assert_eq!(answer.detail(), json!({member: ["is not known"]}), "{}", operation.id);
            probed.insert(operation.id.clone());
        }
    }
    let bodies = document().to_string().matches("\"requestBody\":").count();
    assert_eq!(probed.len(), bodies - 1, "all operations with a body, but for auth_token");
}

/// The JSON pointers of all objects in an example.
fn objects_in(value: &Value, at: String) -> Vec<String> {
    let mut found = vec![];
    if let Some(members) = value.as_object() {
        found.push(at.clone());
        for (name, member) in members {
            found.extend(objects_in(member, format!("{at}/{name}")));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(objects_in(item, format!("{at}/{index}")));
    }
    found
}

/// The pages and the document are served unchanged.
#[tokio::test]
async fn the_contract_is_served() {
    let Tenant { app, .. } = TestApp::start().await.tenant().await;
    let served = app.visitor().get("/openapi.json").expect(200).await;
    assert_eq!(served.json(), *document());
    assert_eq!(served.header("content-type"), Some("application/json"));
    let yaml = app.visitor().get("/openapi.yaml").expect(200).await.text();
    assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), *document());
    for page in ["/docs", "/redoc", "/scalar"] {
        let answer = app.visitor().get(page).expect(200).await;
        let policy = answer.header("content-security-policy").unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
        assert!(!policy.contains("http"), "{page} lets something in from outside: {policy}");
        let html = answer.text();
        for attribute in ["src=\"", "href=\""] {
            for target in html.split(attribute).skip(1) {
                assert!(
                    target.starts_with('/') || target.starts_with("data:"),
                    "{page} loads {}",
                    &target[..40.min(target.len())]
                );
            }
        }
    }
}
