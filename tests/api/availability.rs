//! The work that one caller can cause is limited, and the answer says so when a limit is reached.
use crate::support::fixtures::{Everything, everything};
use crate::support::rights::{Line, count};
use crate::support::{Kind, Tenant, TestApp, is_for, until};
use bizcenter::contract::{Operation, document, operations};
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::json;
use std::time::Duration;

/// Creates tasks with long texts for searches: 30 KB each.
async fn fill(tenant: &Tenant, tasks: usize) {
    let task = json!({"title": "Long", "description": "\u{d55c}".repeat(10_000)});
    for _ in 0..tasks / 50 {
        join_all((0..50).map(|_| tenant.owner.task(task.clone()))).await;
    }
}

#[tokio::test]
async fn a_search_that_takes_too_long_says_what_to_narrow() {
    let app = TestApp::with(|config| config.database.long_read_timeout = Duration::from_millis(1)).await;
    let tenant = app.tenant().await;
    fill(&tenant, 100).await;
    for path in ["/api/v1/tasks", "/api/v1/tasks/export"] {
        let answer = tenant.owner.get(&format!("{path}?q={}b", "%ED%95%9C".repeat(198))).expect(503).await;
        assert_eq!(answer.error().1, "unavailable");
        let advice = answer.detail()["q"][0].as_str().unwrap().to_owned();
        assert!(advice.contains("narrow"), "{path}: {advice}");
    }
    tenant.owner.get("/api/v1/auth/me").expect(200).await; // look-ups by key have another deadline
}

#[tokio::test]
async fn on_sqlite_every_list_search_export_and_feed_looks_at_its_deadline() {
    if !is_for(Kind::Sqlite, "the other databases do that for every statement") {
        return;
    }
    let app = TestApp::alone().await;
    let Everything { tenant, .. } = everything(&app).await;
    let soon = app.parts.env.now() + chrono::Duration::days(1);
    let ends = soon + chrono::Duration::hours(1);
    let time = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    tenant.owner.meeting(json!({"starts_at": time(soon), "ends_at": time(ends)})).await;
    let feed = tenant.owner.post("/api/v1/users/me/calendar").expect(201).await.json();
    let late = app.replica_with(|config| config.database.long_read_timeout = Duration::ZERO).await;
    let owner = tenant.almighty().await.at(&late);
    let document = document();
    let takes = |path: &str, wanted: &str| {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().cloned().unwrap_or_default();
        parameters.iter().any(|parameter| {
            let name = parameter["$ref"].as_str().or(parameter["name"].as_str()).unwrap_or_default();
            name.rsplit('/').next() == Some(wanted)
        })
    };
    let mut seen = 0;
    for Operation { path, .. } in operations(document).into_iter().filter(|operation| operation.method == "GET") {
        let url = match path.as_str() {
            "/calendar/{file}" => feed["url"].as_str().unwrap().to_owned(),
            "/api/v1/users/me/export" => continue, // this has begun its answer before it reads its first list
            path if path.ends_with("/export") => path.to_owned(),
            path if path.ends_with("/search") => format!("{path}?q=t"), // it looks at the records that have this
            path if path.contains('{') => continue, // the lists below a record are read by the same macro
            path if takes(path, "q") => format!("{path}?q=nothing-has-this"),
            path if takes(path, "per_page") => path.to_owned(),
            _ => continue,
        };
        owner.get(&url).expect(503).await;
        seen += 1;
    }
    let is_list =
        |line: &Line| ["_list", "_export", "search"].iter().any(|end| line.id.ends_with(end)) && !line.is_about_one();
    assert_eq!(seen, count(is_list), "all lists and exports; the feed stands in for a user's own export");
    owner.get("/api/v1/auth/me").expect(200).await;
}

async fn begun(tenant: &Tenant, path: &str) -> Response {
    let call = reqwest::Client::new().get(tenant.app.url(path)).bearer_auth(tenant.owner.token.as_ref().unwrap());
    call.header("accept-encoding", "identity").send().await.unwrap()
}

#[tokio::test]
async fn a_user_has_two_exports_at_a_time() {
    let tenant = TestApp::start().await.tenant().await;
    fill(&tenant, 400).await; // 12 MB: more than a connection accepts before the client reads
    let first = [begun(&tenant, "/api/v1/tasks/export").await, begun(&tenant, "/api/v1/tasks/export").await];
    assert!(first.iter().all(|response| response.status() == 200));
    for path in ["/api/v1/tasks/export", "/api/v1/users/me/export"] {
        let refused = tenant.owner.get(path).expect(429).await;
        assert!(refused.header("retry-after").is_some());
    }
    tenant.owner.get("/api/v1/tasks").expect(200).await;
    drop(first);
    let is_let_through = async || tenant.owner.get("/api/v1/tasks/export").send().await.status == 200;
    until("the server has noticed that the exports are given up", is_let_through).await;
}
