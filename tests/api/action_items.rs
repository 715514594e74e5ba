//! Action items over HTTP, and the tasks that are created from them.
use crate::meetings::path_of;
use crate::support::{Person, Tenant, TestApp};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

/// The path of a new action item of a new meeting, and the item.
async fn item(maker: &Person, input: Value) -> (String, Value) {
    let list = format!("{}/action-items", path_of(&maker.meeting(json!({})).await));
    let created = maker.post(&list).json(&input).expect(201).await;
    let item = created.json();
    let path = format!("{list}/{}", item["id"].as_str().unwrap());
    assert_eq!(created.header("location"), Some(path.as_str()));
    (path, item)
}

#[tokio::test]
async fn an_action_item_lives_and_ends() {
    let tenant = tenant().await;
    let (editor, viewer) = (tenant.editor().await, tenant.viewer().await);
    let input =
        json!({"description": "Call them", "assignee_id": viewer.id(), "due_date": "2026-05-22", "done": false});
    let (path, made) = item(&editor, input.clone()).await;
    for (member, value) in input.as_object().unwrap() {
        assert_eq!(&made[member], value);
    }
    assert_eq!(
        (&made["task_id"], &made["created_by"], &made["version"]),
        (&json!(null), &json!(editor.id()), &json!(1))
    );
    assert_eq!(viewer.get(&path).expect(200).await.json(), made);
    let list = path.rsplit_once('/').unwrap().0;
    assert_eq!(viewer.get(list).expect(200).await.json()["items"], json!([made]));
    let changed = editor.patch(&path).json(&json!({"done": true, "due_date": null})).expect(200).await.json();
    assert_eq!((&changed["done"], &changed["due_date"], &changed["version"]), (&json!(true), &json!(null), &json!(2)));
    editor.patch(&path).header("if-match", "\"1\"").json(&json!({"done": false})).expect(412).await;
    for call in [
        viewer.post(list).json(&input),
        viewer.patch(&path).json(&json!({"done": true})),
        viewer.delete(&path),
        viewer.post(&format!("{path}/task")),
    ] {
        assert_eq!(call.send().await.error(), (403, "forbidden".into()));
    }
    editor.delete(&path).expect(204).await;
    for call in [editor.get(&path), editor.delete(&path), editor.post(&format!("{path}/task"))] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
}

#[tokio::test]
async fn bad_values_are_refused() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let owner = &tenant.owner;
    let (path, _) = item(owner, json!({"description": "😀".repeat(2000)})).await;
    let list = path.rsplit_once('/').unwrap().0;
    for (member, value, status, message) in [
        ("description", json!(""), 400, "must have at least 1 characters"),
        ("description", json!("a".repeat(2001)), 400, "must have at most 2000 characters"),
        ("description", json!(" \n"), 422, "must not be blank"),
        ("assignee_id", json!("me"), 400, "must be a valid uuid"),
        ("assignee_id", json!(other.owner.id()), 422, "does not exist"),
        ("due_date", json!("2026-02-30"), 400, "must be a valid date"),
        ("done", json!(null), 400, "must not be null"),
        ("done", json!("yes"), 400, "must be a boolean"),
        ("task_id", json!(null), 400, "is not known"),
    ] {
        let mut input = json!({"description": "x"});
        input[member] = value.clone();
        for call in [owner.post(list).json(&input), owner.patch(&path).json(&json!({member: value}))] {
            let answer = call.send().await;
            assert_eq!((answer.error().0, answer.detail()), (status, json!({member: [message]})), "{member}");
        }
    }
}

#[tokio::test]
async fn a_task_is_made_of_it_once() {
    let tenant = tenant().await;
    let (editor, viewer) = (tenant.editor().await, tenant.viewer().await);
    let input = json!({"description": "Call them\nby Monday", "assignee_id": viewer.id(), "due_date": "2026-05-22"});
    let (path, _) = item(&tenant.owner, input).await;
    let made = editor.post(&format!("{path}/task")).expect(201).await;
    let task = made.json();
    let task_path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    assert_eq!(made.header("location"), Some(task_path.as_str()));
    assert_eq!(editor.get(&task_path).expect(200).await.json(), task);
    assert_eq!((&task["title"], &task["description"]), (&json!("Call them"), &json!("Call them\nby Monday")));
    assert_eq!((&task["assigned_to"], &task["due_date"]), (&json!(viewer.id()), &json!("2026-05-22")));
    assert_eq!((&task["created_by"], &task["status"]), (&json!(editor.id()), &json!("todo")));
    let item = editor.get(&path).expect(200).await.json();
    assert_eq!((&item["task_id"], &item["version"]), (&task["id"], &json!(2)));
    let again = editor.post(&format!("{path}/task")).send().await;
    assert_eq!((again.error(), again.detail()), ((409, "conflict".into()), json!({"task_id": [task["id"]]})));

    // After the task was deleted, a new one can be created. After the item was deleted, its task remains.
    tenant.owner.delete(&task_path).expect(204).await;
    let item = editor.get(&path).expect(200).await.json();
    assert_eq!((&item["task_id"], &item["version"]), (&json!(null), &json!(3)));
    let second = editor.post(&format!("{path}/task")).expect(201).await.json();
    tenant.owner.delete(path.split("/action-items").next().unwrap()).expect(204).await;
    editor.get(&format!("/api/v1/tasks/{}", second["id"].as_str().unwrap())).expect(200).await;
}

#[tokio::test]
async fn of_many_at_once_one_makes_the_task() {
    let owner = tenant().await.owner;
    let (path, _) = item(&owner, json!({"description": "Once"})).await;
    let path = format!("{path}/task");
    let answers = join_all((0..20).map(|_| owner.post(&path).send())).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201], vec![409; 19]].concat());
    let tasks = owner.get("/api/v1/tasks").expect(200).await.json();
    assert_eq!(tasks["meta"]["total"], 1);
    for answer in answers.iter().filter(|answer| answer.status == 409) {
        assert_eq!(answer.detail(), json!({"task_id": [tasks["items"][0]["id"]]}));
    }
}

#[tokio::test]
async fn a_repeat_of_the_same_request_answers_again() {
    let owner = tenant().await.owner;
    let (path, _) = item(&owner, json!({"description": "Once", "done": true})).await;
    let make = || owner.post(&format!("{path}/task")).header("idempotency-key", "k");
    let first = make().expect(201).await.json();
    let again = make().expect(201).await;
    assert_eq!((again.json(), again.header("idempotency-replayed")), (first.clone(), Some("true")));
    assert_eq!((&first["status"], first["completed_at"].is_string()), (&json!("done"), true));
}

#[tokio::test]
async fn an_assignee_who_left_is_named() {
    let tenant = tenant().await;
    let leaver = tenant.viewer().await;
    let (path, _) = item(&tenant.owner, json!({"description": "Theirs", "assignee_id": leaver.id()})).await;
    tenant.owner.delete(&format!("/api/v1/users/{}", leaver.id())).expect(204).await;
    let answer = tenant.owner.post(&format!("{path}/task")).send().await;
    assert_eq!((answer.error().0, answer.detail()), (422, json!({"assignee_id": ["does not exist"]})));
    tenant.owner.patch(&path).json(&json!({"assignee_id": null})).expect(200).await;
    tenant.owner.post(&format!("{path}/task")).expect(201).await;
}

#[tokio::test]
async fn an_action_item_is_of_one_meeting_of_one_tenant() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.tenant().await, app.tenant().await);
    let (path, made) = item(&ours.owner, json!({"description": "Ours"})).await;
    let (another, _) = item(&ours.owner, json!({"description": "Of another meeting"})).await;
    let moved = format!("{}/{}", another.rsplit_once('/').unwrap().0, made["id"].as_str().unwrap());
    for (person, path) in [(&ours.owner, &moved), (&theirs.owner, &path)] {
        for call in [
            person.get(path),
            person.patch(path).json(&json!({"done": true})),
            person.delete(path),
            person.post(&format!("{path}/task")),
        ] {
            assert_eq!(call.send().await.error(), (404, "not_found".into()), "{path}");
        }
    }
    assert_eq!(ours.owner.get(&path).expect(200).await.json(), made);
}
