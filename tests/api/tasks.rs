//! Tasks over HTTP: their members, their versions, and what each role may do with them.
use crate::support::{Answer, Person, Tenant, TestApp};
use bizcenter::auth::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};

const TASKS: &str = "/api/v1/tasks";

pub fn path_of(task: &Value) -> String {
    format!("{TASKS}/{}", task["id"].as_str().unwrap())
}

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

/// A task with every member set.
fn full(assigned_to: &Person) -> Value {
    json!({
        "title": "Write the offer", "description": "For the new data centre", "status": "done", "priority": "high",
        "week_number": 53, "year": 2026, "tags": ["sales", "urgent"], "due_date": "2026-12-31",
        "assigned_to": assigned_to.id(),
    })
}

/// The members of a task that people write, if they give only its title.
fn defaults(title: &str) -> Value {
    json!({
        "title": title, "description": null, "status": "todo", "priority": "medium", "week_number": null,
        "year": null, "tags": [], "due_date": null, "assigned_to": null,
    })
}

/// The members of `task` that people write.
fn written(task: &Value) -> Value {
    let names = defaults("").as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    names.into_iter().map(|name| (name.clone(), task[&name].clone())).collect()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, detail: Value) {
    let kind = if status == 400 { "validation_error" } else { "unprocessable" };
    assert_eq!((answer.error(), answer.detail()), ((status, kind.to_owned()), detail));
}

#[tokio::test]
async fn a_task_lives_and_ends() {
    let tenant = tenant().await;
    let editor = tenant.editor().await;
    let created = editor.post(TASKS).json(&full(&tenant.owner)).expect(201).await;
    let task = created.json();
    let path = path_of(&task);
    assert_eq!(created.header("location"), Some(path.as_str()));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(written(&task), full(&tenant.owner));
    assert_eq!((&task["created_by"], &task["version"]), (&json!(editor.id()), &json!(1)));
    assert_eq!((&task["updated_at"], &task["completed_at"]), (&task["created_at"], &task["created_at"]));
    let time = task["created_at"].as_str().unwrap();
    assert!(time.len() == "2026-05-11T08:30:00.000000Z".len() && time.ends_with('Z'), "{time}");
    assert_eq!(editor.get(&path).expect(200).await.json(), task);

    editor.delete(&path).expect(204).await;
    for call in [editor.get(&path), editor.delete(&path), editor.patch(&path).json(&json!({}))] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
    assert_eq!(editor.put(&path).json(&json!({"title": "x"})).send().await.error(), (404, "not_found".into()));
}

#[tokio::test]
async fn what_is_left_out_gets_its_default() {
    let owner = tenant().await.owner;
    let task = owner.task(json!({"title": "Plan"})).await;
    assert_eq!((written(&task), &task["completed_at"]), (defaults("Plan"), &json!(null)));
}

#[tokio::test]
async fn values_at_the_limits_are_kept_as_they_are() {
    let owner = tenant().await.owner;
    let id = owner.id();
    let characters = |one: &str, count| json!(one.repeat(count));
    let mut task = owner.task(json!({"title": "x"})).await;
    for (member, value) in [
        ("title", characters("a", 200)),
        ("title", characters("한", 200)),
        ("title", characters("😀", 200)),
        ("title", json!("  \"quotes\", 'ticks', back\\slash, \u{200f}\u{feff}\u{ffff} ")),
        (
            "description",
            json!("  tab\there, \"quotes\", 'ticks', back\\slash, \u{1}\u{7f}\u{200f}\u{feff}\u{ffff}\r\n "),
        ),
        ("description", json!("")),
        ("description", characters("a", 10_000)),
        ("description", characters("😀", 10_000)),
        ("description", characters("\u{1}", 10_000)), // six characters each in JSON
        ("description", characters("가", 10_000)),
        ("status", json!("in_progress")),
        ("status", json!("review")),
        ("status", json!("cancelled")),
        ("priority", json!("low")),
        ("priority", json!("urgent")),
        ("tags", json!(["a".repeat(50), "한".repeat(50), "😀".repeat(50), "\"", "\\", "a", "a"])),
        ("tags", json!(vec!["t"; 20])),
        ("due_date", json!("2024-02-29")),
        ("due_date", json!("0001-01-01")),
        ("due_date", json!("9999-12-31")),
        ("assigned_to", json!(id)),
    ] {
        let mut input = json!({"title": "x"});
        input[member] = value;
        let created = owner.task(input.clone()).await;
        assert_eq!(created[member], input[member]);
        assert_eq!(owner.get(&path_of(&created)).expect(200).await.json(), created);
        input.as_object_mut().unwrap().retain(|name, _| name == member);
        task = owner.patch(&path_of(&task)).json(&input).expect(200).await.json();
        assert_eq!(task[member], input[member]);
        assert_eq!(owner.get(&path_of(&task)).expect(200).await.json(), task);
    }
    for (year, week) in [(2026, 53), (2026, 1), (2025, 52), (2000, 52), (2100, 52), (2020, 53)] {
        let task = owner.task(json!({"title": "x", "year": year, "week_number": week})).await;
        assert_eq!((&task["year"], &task["week_number"]), (&json!(year), &json!(week)));
    }
}

#[tokio::test]
async fn values_beyond_the_limits_are_refused_by_all_who_write() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.task(json!({"title": "x"})).await);
    let (no_date, no_uuid) = ("must be a valid date", "must be a valid uuid");
    let simple = owner.id().simple().to_string();
    let cases = [
        ("title", json!(""), "title", "must have at least 1 characters"),
        ("title", json!("한".repeat(201)), "title", "must have at most 200 characters"),
        ("title", json!(null), "title", "must not be null"),
        ("title", json!(5), "title", "must be a string"),
        ("title", json!("a\0b"), "title", "must not contain a NUL character"),
        ("description", json!("a".repeat(10_001)), "description", "must have at most 10000 characters"),
        ("description", json!({}), "description", "must be a string"),
        ("status", json!("Done"), "status", "must be one of todo, in_progress, review, done, cancelled"),
        ("status", json!(null), "status", "must not be null"),
        ("priority", json!(4), "priority", "must be a string"),
        ("priority", json!(""), "priority", "must be one of low, medium, high, urgent"),
        ("week_number", json!(0), "week_number", "must be at least 1"),
        ("week_number", json!(54), "week_number", "must be at most 53"),
        ("week_number", json!("20"), "week_number", "must be an integer"),
        ("week_number", json!(20.5), "week_number", "must be an integer"),
        ("year", json!(1999), "year", "must be at least 2000"),
        ("year", json!(2101), "year", "must be at most 2100"),
        ("year", json!(i64::MAX), "year", "must be at most 2100"),
        ("tags", json!("a"), "tags", "must be an array"),
        ("tags", json!(null), "tags", "must not be null"),
        ("tags", json!(vec!["t"; 21]), "tags", "must have at most 20 items"),
        ("tags", json!(["a", ""]), "tags.1", "must have at least 1 characters"),
        ("tags", json!(["한".repeat(51)]), "tags.0", "must have at most 50 characters"),
        ("tags", json!(["a", "b", null]), "tags.2", "must not be null"),
        ("tags", json!([["a"]]), "tags.0", "must be a string"),
        ("tags", json!(["a\0"]), "tags.0", "must not contain a NUL character"),
        ("due_date", json!("2026-02-29"), "due_date", no_date),
        ("due_date", json!("2026-1-1"), "due_date", no_date),
        ("due_date", json!(" 2026-01-01"), "due_date", no_date),
        ("due_date", json!("2026-01-01T00:00:00Z"), "due_date", no_date),
        ("due_date", json!("+2026-01-01"), "due_date", no_date),
        ("due_date", json!("10000-01-01"), "due_date", no_date),
        ("due_date", json!("-0001-01-01"), "due_date", no_date),
        ("due_date", json!("0000-01-01"), "due_date", no_date),
        ("due_date", json!(""), "due_date", no_date),
        ("assigned_to", json!("me"), "assigned_to", no_uuid),
        ("assigned_to", json!(simple), "assigned_to", no_uuid),
        ("assigned_to", json!(format!("{{{}}}", owner.id())), "assigned_to", no_uuid),
        ("assigned_to", json!(format!("urn:uuid:{}", owner.id())), "assigned_to", no_uuid),
    ];
    for (member, value, at, message) in cases {
        let mut input = json!({"title": "x"});
        input[member] = value.clone();
        let calls = [
            owner.post(TASKS).json(&input),
            owner.put(&path).json(&input),
            owner.patch(&path).json(&json!({member: value})),
        ];
        for call in calls {
            assert_refused(&call.send().await, 400, json!({at: [message]}));
        }
    }
    assert_eq!(owner.get(&path).expect(200).await.json()["version"], json!(1));
}

#[tokio::test]
async fn all_faults_are_reported_at_once() {
    let owner = tenant().await.owner;
    let input = json!({
        "description": 1, "status": "x", "week_number": 99, "year": 2026, "tags": ["ok", "", "a", 5],
        "due_date": "tomorrow", "assigned_to": "me", "Title": "x", "version": 1,
    });
    let faults = json!({
        "title": ["is required"],
        "description": ["must be a string"],
        "status": ["must be one of todo, in_progress, review, done, cancelled"],
        "week_number": ["must be at most 53"],
        "tags.1": ["must have at least 1 characters"],
        "tags.3": ["must be a string"],
        "due_date": ["must be a valid date"],
        "assigned_to": ["must be a valid uuid"],
        "Title": ["is not known"],
        "version": ["is not known"],
    });
    assert_refused(&owner.post(TASKS).json(&input).send().await, 400, faults);
}

#[tokio::test]
async fn weeks_belong_to_their_year() {
    let owner = tenant().await.owner;
    let no_week = json!({"week_number": ["2025 has no week 53"]});
    let needs_week = json!({"week_number": ["is required with `year`"]});
    let needs_year = json!({"year": ["is required with `week_number`"]});
    let path = path_of(&owner.task(json!({"title": "x", "year": 2026, "week_number": 53})).await);
    for (members, detail) in [
        (json!({"year": 2025, "week_number": 53}), &no_week),
        (json!({"year": 2026, "week_number": null}), &needs_week),
        (json!({"year": null, "week_number": 53}), &needs_year),
    ] {
        let mut input = members.clone();
        input["title"] = json!("x");
        for call in [owner.post(TASKS).json(&input), owner.put(&path).json(&input), owner.patch(&path).json(&members)] {
            assert_refused(&call.send().await, 422, detail.clone());
        }
    }
    for (patch, detail) in [
        (json!({"year": 2025}), no_week),
        (json!({"week_number": null}), needs_week),
        (json!({"year": null}), needs_year),
    ] {
        assert_refused(&owner.patch(&path).json(&patch).send().await, 422, detail);
    }
    assert_eq!(owner.get(&path).expect(200).await.json()["version"], json!(1));
    let cleared = owner.patch(&path).json(&json!({"year": null, "week_number": null})).expect(200).await.json();
    assert_eq!((&cleared["year"], &cleared["week_number"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn only_people_of_the_tenant_can_be_assigned() {
    let (owner, other) = (tenant().await.owner, tenant().await.owner);
    let path = path_of(&owner.task(json!({"title": "x"})).await);
    for stranger in [json!(other.id()), json!("01993c3e-6a00-7c3e-8f6e-000000000001")] {
        let input = json!({"title": "x", "assigned_to": stranger});
        for call in [owner.post(TASKS).json(&input), owner.put(&path).json(&input), owner.patch(&path).json(&input)] {
            assert_refused(&call.send().await, 422, json!({"assigned_to": ["does not exist"]}));
        }
    }
    let upper = json!({"assigned_to": owner.id().to_string().to_uppercase()});
    let task = owner.patch(&path).json(&upper).expect(200).await.json();
    assert_eq!(task["assigned_to"], json!(owner.id()), "ids are written in lower case");
}

#[tokio::test]
async fn patch_changes_what_is_given_and_put_resets_the_rest() {
    let owner = tenant().await.owner;
    let task = owner.task(full(&owner)).await;
    let path = path_of(&task);
    let same = owner.patch(&path).json(&json!({})).expect(200).await.json();
    assert_eq!(written(&same), written(&task));

    let cleared = owner.patch(&path).json(&json!({"description": null, "tags": []})).expect(200).await.json();
    let mut expected = written(&task);
    (expected["description"], expected["tags"]) = (json!(null), json!([]));
    assert_eq!(written(&cleared), expected);
    assert_eq!(cleared["completed_at"], task["completed_at"]);

    let replaced = owner.put(&path).json(&json!({"title": "Anew"})).expect(200).await.json();
    assert_eq!(written(&replaced), defaults("Anew"));
    for member in ["id", "created_by", "created_at"] {
        assert_eq!(replaced[member], task[member], "{member}");
    }
    assert_eq!((&replaced["version"], &replaced["completed_at"]), (&json!(4), &json!(null)));
    assert!(replaced["updated_at"].as_str() > task["updated_at"].as_str());
}

#[tokio::test]
async fn completed_at_follows_the_status() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.task(json!({"title": "x"})).await);
    let patch = async |members: Value| owner.patch(&path).json(&members).expect(200).await.json();
    let done = patch(json!({"status": "done"})).await;
    assert_eq!(done["completed_at"], done["updated_at"]);
    for members in [json!({"title": "y"}), json!({"status": "done"})] {
        assert_eq!(patch(members).await["completed_at"], done["completed_at"], "it stays when it was");
    }
    for status in ["todo", "in_progress", "review", "cancelled"] {
        assert_eq!(patch(json!({"status": status})).await["completed_at"], json!(null), "{status}");
        let again = patch(json!({"status": "done"})).await;
        assert_eq!(again["completed_at"], again["updated_at"]);
    }
}

#[tokio::test]
async fn if_match_guards_against_lost_updates() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.task(json!({"title": "x"})).await);
    owner.patch(&path).json(&json!({"title": "y"})).expect(200).await;
    let long = format!("\"9\", {}", "\"7\",".repeat(500));
    for stale in ["\"1\"", "W/\"1\"", "2", "", "\"\"", "\"02\"", "\"1-gzip\"", "\"1\", W/\"3\"", long.as_str()] {
        let calls = [
            owner.patch(&path).json(&json!({"title": "lost"})),
            owner.put(&path).json(&json!({"title": "lost"})),
            owner.delete(&path),
        ];
        for call in calls {
            let answer = call.header("if-match", stale).send().await;
            assert_eq!(answer.error(), (412, "precondition_failed".into()), "{stale}");
        }
    }
    for (version, current) in [(2, "\"2\""), (3, "*"), (4, "\"1\", \"4\""), (5, "W/\"5\"")] {
        let patch = owner.patch(&path).header("if-match", current).json(&json!({"title": "kept"}));
        let etag = format!("\"{}\"", version + 1);
        assert_eq!(patch.expect(200).await.header("etag"), Some(etag.as_str()), "each change has its own");
    }
    let two_lines = owner.put(&path).header("if-match", "\"1\"").header("if-match", "\"6\"");
    two_lines.json(&json!({"title": "z"})).expect(200).await;
    owner.delete(&path).header("if-match", "\"7\"").expect(204).await;
    let gone = owner.delete(&path).header("if-match", "\"7\"").send().await;
    assert_eq!(gone.error(), (404, "not_found".into()));
}

#[tokio::test]
async fn of_many_changes_to_one_version_exactly_one_wins() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.task(json!({"title": "x"})).await);
    let title = |n: usize| format!("winner {n}");
    let patches =
        (0..20).map(|n| owner.patch(&path).header("if-match", "\"1\"").json(&json!({"title": title(n)})).send());
    let answers = join_all(patches).await;
    let won = |answer: &Answer| answer.status == 200;
    assert_eq!(answers.iter().filter(|answer| won(answer)).count(), 1);
    assert!(answers.iter().filter(|answer| !won(answer)).all(|answer| answer.status == 412));
    let winner = answers.iter().position(won).unwrap();
    let task = owner.get(&path).expect(200).await.json();
    assert_eq!((&task["title"], &task["version"]), (&json!(title(winner)), &json!(2)));

    let changes = (0..20).map(|n| owner.patch(&path).json(&json!({"tags": [n.to_string()]})).expect(200));
    let mut versions: Vec<_> = join_all(changes).await.iter().map(|answer| answer.json()["version"].as_i64()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (3..23).map(Some).collect::<Vec<_>>(), "each change is one of its own");
}

#[tokio::test]
async fn what_the_caller_has_is_not_sent_again() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.task(json!({"title": "x"})).await);
    for known in ["\"1\"", "W/\"1\"", "*", "\"7\", \"1\""] {
        let answer = owner.get(&path).header("if-none-match", known).expect(304).await;
        assert_eq!((answer.body.len(), answer.header("etag"), answer.header("content-type")), (0, Some("\"1\""), None));
    }
    for unknown in ["\"2\"", "1", ""] {
        owner.get(&path).header("if-none-match", unknown).expect(200).await;
    }
    owner.patch(&path).json(&json!({})).expect(200).await;
    owner.get(&path).header("if-none-match", "\"1\"").expect(200).await;
}

#[tokio::test]
async fn viewers_and_analysts_only_read() {
    let tenant = tenant().await;
    let task = tenant.owner.task(json!({"title": "x"})).await;
    let path = path_of(&task);
    for role in [Role::Viewer, Role::Analyst] {
        let person = tenant.person(role).await;
        let writes = [
            person.post(TASKS).json(&json!({"title": "x"})),
            person.post(TASKS).body("application/json", "not even JSON"), // 403 comes before the body is read
            person.put(&path).json(&json!({"title": "x"})),
            person.patch(&path).json(&json!({"title": "x"})),
            person.delete(&path),
        ];
        for call in writes {
            assert_eq!(call.send().await.error(), (403, "forbidden".into()), "{role:?}");
        }
        assert_eq!(person.get(&path).expect(200).await.json(), task);
        assert_eq!(person.get(TASKS).expect(200).await.json()["items"], json!([task]));
        person.get("/api/v1/tasks/export").expect(200).await;
    }
}

#[tokio::test]
async fn editors_change_any_task_and_delete_their_own() {
    let tenant = tenant().await;
    let (editor, other, admin) = (tenant.editor().await, tenant.editor().await, tenant.admin().await);
    let [first, second] = [editor.task(json!({"title": "a"})).await, editor.task(json!({"title": "b"})).await];
    other.patch(&path_of(&first)).json(&json!({"title": "c", "assigned_to": other.id()})).expect(200).await;
    other.put(&path_of(&first)).json(&json!({"title": "d", "assigned_to": other.id()})).expect(200).await;
    let refused = other.delete(&path_of(&first)).send().await; // the maker may delete a task, its assignee may not
    assert_eq!(refused.error(), (403, "forbidden".into()));
    editor.delete(&path_of(&first)).expect(204).await;
    admin.delete(&path_of(&second)).expect(204).await;
    let third = admin.task(json!({"title": "e"})).await;
    tenant.owner.delete(&path_of(&third)).expect(204).await;
}
