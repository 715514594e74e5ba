//! Tasks over HTTP.
use crate::support::TestApp;
use serde_json::json;

#[tokio::test]
async fn a_task_lives_and_ends() {
    let tenant = TestApp::start().await.tenant().await;
    let editor = tenant.editor().await;
    let input = json!({
        "title": "Write the offer", "priority": "high", "week_number": 53, "year": 2026,
        "tags": ["sales"], "due_date": "2026-12-31", "assigned_to": tenant.owner.id(),
    });
    let created = editor.post("/api/v1/tasks").json(&input).expect(201).await;
    let task = created.json();
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    assert_eq!(created.header("location"), Some(path.as_str()));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(task["created_by"], json!(editor.id()));
    assert_eq!(task["status"], json!("todo"));
    assert_eq!(task["description"], json!(null));

    assert_eq!(editor.get(&path).expect(200).await.json(), task);
    editor.get(&path).header("if-none-match", "\"1\"").expect(304).await;

    let done = editor.patch(&path).header("if-match", "\"1\"").json(&json!({"status": "done", "due_date": null}));
    let done = done.expect(200).await;
    assert_eq!(done.header("etag"), Some("\"2\""));
    let done = done.json();
    assert_eq!((&done["status"], &done["due_date"], &done["priority"]), (&json!("done"), &json!(null), &json!("high")));
    assert!(done["completed_at"].is_string());

    let stale = editor.patch(&path).header("if-match", "\"1\"").json(&json!({"title": "lost"})).send().await;
    assert_eq!(stale.error(), (412, "precondition_failed".into()));

    let replaced = editor.put(&path).json(&json!({"title": "Anew"})).expect(200).await.json();
    assert_eq!(
        (&replaced["status"], &replaced["tags"], &replaced["completed_at"]),
        (&json!("todo"), &json!([]), &json!(null))
    );

    editor.delete(&path).expect(204).await;
    assert_eq!(editor.get(&path).send().await.error(), (404, "not_found".into()));
}
