//! The totals of lists: they are kept as long as they are true, and on no server for longer.
use crate::support::{Person, Tenant, TestApp};
use serde_json::{Value, json};

async fn list(person: &Person, path: &str) -> Value {
    person.get(path).expect(200).await.json()
}

async fn total(person: &Person, path: &str) -> i64 {
    list(person, path).await["meta"]["total"].as_i64().unwrap()
}

const OPEN: &str = "/api/v1/tasks?status=todo";

async fn with_three_tasks(app: &TestApp) -> (Tenant, Vec<String>) {
    let tenant = app.tenant().await;
    let mut paths = vec![];
    for title in ["a", "b", "c"] {
        let task = tenant.owner.task(json!({"title": title})).await;
        paths.push(format!("/api/v1/tasks/{}", task["id"].as_str().unwrap()));
    }
    (tenant, paths)
}

#[tokio::test]
async fn a_total_is_counted_again_only_after_a_change() {
    let app = TestApp::alone().await;
    let (tenant, paths) = with_three_tasks(&app).await;
    let owner = &tenant.owner;
    assert_eq!(total(owner, OPEN).await, 3);
    // A change that the server can't know of shows that it does not count again. The rows themselves are not kept.
    app.run("UPDATE tasks SET status = 'done'").await;
    let kept = list(owner, OPEN).await;
    assert_eq!((&kept["meta"]["total"], kept["items"].as_array().unwrap().len()), (&json!(3), 0));
    assert_eq!(total(owner, "/api/v1/tasks?status=done").await, 3, "another question is another total");
    assert_eq!(total(&owner.clone(), "/api/v1/tasks?status=todo&sort=title&page=2&per_page=1").await, 3);
    owner.patch(&paths[0]).json(&json!({"title": "d"})).expect(200).await;
    assert_eq!(total(owner, OPEN).await, 0);
}

#[tokio::test]
async fn totals_are_true_on_every_server_after_every_kind_of_change() {
    let first = TestApp::start().await;
    let second = first.replica().await;
    let (tenant, paths) = with_three_tasks(&first).await;
    let (here, there) = (&tenant.owner, &tenant.owner.at(&second));
    let both = async |path: &str| {
        let totals = (total(here, path).await, total(there, path).await);
        assert_eq!(totals.0, totals.1, "{path}");
        totals.0
    };
    assert_eq!(both(OPEN).await, 3);
    there.task(json!({"title": "e"})).await;
    assert_eq!(both(OPEN).await, 4);
    here.patch(&paths[0]).json(&json!({"status": "done"})).expect(200).await;
    assert_eq!(both(OPEN).await, 3);
    there.delete(&paths[1]).expect(204).await;
    assert_eq!(both(OPEN).await, 2);
    assert_eq!(both("/api/v1/tasks?q=E").await, 1);
    // A change that fails changes no total.
    here.patch(&paths[2]).json(&json!({"assigned_to": uuid::Uuid::nil()})).expect(422).await;
    assert_eq!(both(OPEN).await, 2);
}

#[tokio::test]
async fn a_total_follows_the_other_tables_that_it_was_counted_from() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let meeting = json!({"title": "m", "starts_at": "2026-12-01T09:00:00Z", "ends_at": "2026-12-01T10:00:00Z"});
    let meeting = owner.meeting(meeting).await;
    let attends = format!("/api/v1/meetings?attendee={}", editor.id());
    assert_eq!(total(owner, &attends).await, 0);
    let attendees = format!("/api/v1/meetings/{}/attendees", meeting["id"].as_str().unwrap());
    let attendee = owner.post(&attendees).json(&json!({"user_id": editor.id()})).expect(201).await.json();
    assert_eq!(total(owner, &attends).await, 1, "the meeting itself was not changed");
    owner.delete(&format!("{attendees}/{}", attendee["id"].as_str().unwrap())).expect(204).await;
    assert_eq!(total(owner, &attends).await, 0);
}

#[tokio::test]
async fn tenants_do_not_see_each_others_totals() {
    let app = TestApp::start().await;
    let ((one, _), other) = (with_three_tasks(&app).await, app.tenant().await);
    assert_eq!((total(&one.owner, OPEN).await, total(&other.owner, OPEN).await), (3, 0));
    other.owner.task(json!({"title": "x"})).await;
    assert_eq!((total(&one.owner, OPEN).await, total(&other.owner, OPEN).await), (3, 1));
}

#[tokio::test]
async fn a_version_is_spread_over_several_rows() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let mut before = 0;
    for n in 1..=50 {
        tenant.owner.task(json!({"title": "a"})).await;
        assert_eq!(total(&tenant.owner, OPEN).await, n, "each row counts");
        let sql = format!("SELECT kind FROM cache_versions WHERE tenant_id = {}", app.id(tenant.id));
        let rows = app.rows(&sql).await.iter().filter(|row| row[0] == "task").count();
        assert!((before..=8).contains(&rows), "{rows} rows, {before} before");
        before = rows;
    }
    assert!(before > 1, "all changes would wait for one another");
}
