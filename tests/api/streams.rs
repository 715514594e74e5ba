//! Long answers end with the session of their request.
use crate::support::{Person, Tenant, TestApp};
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::json;

/// Two batches of an export. They are so large (15 MB each) that the server does not read the second batch until the
/// client takes the first.
const TASKS: usize = 600;

async fn tenant_with_much_to_export() -> Tenant {
    let tenant = TestApp::start().await.tenant().await;
    let task = json!({"title": "Long", "description": "\u{d55c}".repeat(10_000)});
    for _ in 0..TASKS / 50 {
        join_all((0..50).map(|_| tenant.owner.task(task.clone()))).await;
    }
    tenant
}

/// An answer of which only the head was read.
async fn begun(tenant: &Tenant, path: &str) -> Response {
    begun_by(&tenant.owner, tenant, path).await
}

async fn begun_by(person: &Person, tenant: &Tenant, path: &str) -> Response {
    // This uses a connection of its own. If a connection was read from a lot, the system accepts a whole batch before
    // anybody reads it.
    let call = reqwest::Client::new().get(tenant.app.url(path)).bearer_auth(person.token.as_ref().unwrap());
    let response = call.header("accept-encoding", "identity").send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn lines(mut response: Response) -> Result<usize, reqwest::Error> {
    let mut lines = 0;
    while let Some(chunk) = response.chunk().await? {
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(lines)
}

#[tokio::test]
async fn an_export_is_cut_when_its_session_ends() {
    let tenant = tenant_with_much_to_export().await;
    let admin = tenant.admin().await;
    for path in ["/api/v1/tasks/export?format=ndjson", "/api/v1/users/me/export"] {
        let whole = lines(begun(&tenant, path).await).await.unwrap();
        assert!(whole >= TASKS, "{path}: only {whole} lines");
    }
    // Each export starts shortly before its session ends, because data that is already in the network can't be stopped.
    let export = begun(&tenant, "/api/v1/tasks/export").await;
    let personal = begun(&tenant, "/api/v1/users/me/export").await;
    tenant.owner.post("/api/v1/auth/logout-all").expect(204).await;
    for export in [export, personal] {
        assert!(lines(export).await.is_err(), "it went on without its session");
    }
    let owner = tenant.app.visitor().sign_in(&tenant.owner.email()).await;
    let elsewhere = tenant.app.visitor().sign_in(&tenant.owner.email()).await;
    let sessions = elsewhere.get("/api/v1/auth/sessions").expect(200).await.json();
    let session = sessions["items"].as_array().unwrap().iter().find(|session| session["is_current"] == true).unwrap();
    let session = session["id"].as_str().unwrap();
    let export = begun_by(&elsewhere, &tenant, "/api/v1/tasks/export").await;
    owner.delete(&format!("/api/v1/auth/sessions/{session}")).expect(204).await;
    assert!(lines(export).await.is_err(), "it went on though its session was ended elsewhere");
    let export = begun_by(&admin, &tenant, "/api/v1/tasks/export").await;
    owner.patch(&format!("/api/v1/users/{}", admin.id())).json(&json!({"is_active": false})).expect(200).await;
    assert!(lines(export).await.is_err(), "it went on though its user is disabled");
}
