//! Meetings over HTTP: their members, their states, their versions, and what each role may do with them.
use crate::support::{Answer, Tenant, TestApp};
use bizcenter::auth::Role;
use serde_json::{Value, json};

const MEETINGS: &str = "/api/v1/meetings";

pub fn path_of(meeting: &Value) -> String {
    format!("{MEETINGS}/{}", meeting["id"].as_str().unwrap())
}

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

fn full() -> Value {
    json!({
        "title": "Kick-off", "agenda": "Goals\nPeople", "minutes": "None yet", "location": "Room 4", "status": "in_progress",
        "starts_at": "2026-05-18T09:00:00.000000Z", "ends_at": "2026-05-18T10:00:00.500000Z",
    })
}

/// The members of `meeting` that people write.
fn written(meeting: &Value) -> Value {
    full().as_object().unwrap().keys().map(|name| (name.clone(), meeting[name].clone())).collect()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, detail: Value) {
    let kind = if status == 400 { "validation_error" } else { "unprocessable" };
    assert_eq!((answer.error(), answer.detail()), ((status, kind.to_owned()), detail));
}

#[tokio::test]
async fn a_meeting_lives_and_ends() {
    let tenant = tenant().await;
    let editor = tenant.editor().await;
    let created = editor.post(MEETINGS).json(&full()).expect(201).await;
    let meeting = created.json();
    let path = path_of(&meeting);
    assert_eq!((created.header("location"), created.header("etag")), (Some(path.as_str()), Some("\"1\"")));
    assert_eq!(written(&meeting), full());
    assert_eq!((&meeting["created_by"], &meeting["version"]), (&json!(editor.id()), &json!(1)));
    assert_eq!(editor.get(&path).expect(200).await.json(), meeting);
    editor.get(&path).header("if-none-match", "\"1\"").expect(304).await;

    for list in ["attendees", "action-items"] {
        let input =
            json!({"attendees": {"user_id": editor.id()}, "action-items": {"description": "Go on"}})[list].clone();
        editor.post(&format!("{path}/{list}")).json(&input).expect(201).await;
    }
    editor.delete(&path).header("if-match", "\"1\"").expect(412).await; // a change of the attendees changes the version
    editor.delete(&path).header("if-match", "\"2\"").expect(204).await;
    for call in [editor.get(&path), editor.delete(&path), editor.patch(&path).json(&json!({}))] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
    editor.get(&format!("{path}/attendees")).expect(404).await;
    editor.get(&format!("{path}/action-items")).expect(404).await;
    let rows = "SELECT 'left' FROM meeting_attendees WHERE tenant_id = ";
    assert!(tenant.app.rows(&format!("{rows}{}", tenant.app.id(tenant.id))).await.is_empty());
}

#[tokio::test]
async fn patch_changes_what_is_given_and_put_resets_the_rest() {
    let owner = tenant().await.owner;
    let meeting = owner.meeting(json!({"agenda": "a", "minutes": "m", "location": "l"})).await;
    let path = path_of(&meeting);
    let changed = owner.patch(&path).json(&json!({"minutes": null, "title": "New"})).expect(200).await;
    assert_eq!(changed.header("etag"), Some("\"2\""));
    let changed = changed.json();
    assert_eq!(
        (&changed["title"], &changed["minutes"], &changed["agenda"]),
        (&json!("New"), &json!(null), &json!("a"))
    );
    let whole =
        json!({"title": "Whole", "starts_at": "2026-05-18T09:00:00+09:00", "ends_at": "2026-05-18T10:00:00+09:00"});
    let replaced = owner.put(&path).json(&whole).expect(200).await.json();
    assert_eq!((&replaced["agenda"], &replaced["status"]), (&json!(null), &json!("scheduled")));
    assert_eq!((&replaced["starts_at"], &replaced["version"]), (&json!("2026-05-18T00:00:00.000000Z"), &json!(3)));
    let stale = owner.patch(&path).header("if-match", "\"2\"").json(&json!({"title": "Late"}));
    assert_eq!(stale.send().await.error(), (412, "precondition_failed".into()));
}

#[tokio::test]
async fn values_at_the_limits_are_kept_and_beyond_them_refused() {
    let owner = tenant().await.owner;
    let long = |one: &str, count| json!(one.repeat(count));
    for (member, value) in [
        ("title", long("한", 200)),
        ("title", long("😀", 200)),
        ("agenda", long("😀", 20_000)),
        ("minutes", long("가", 20_000)),
        ("minutes", long("\u{1}", 20_000)),
        ("location", long("😀", 200)),
        ("agenda", json!("")),
        ("starts_at", json!("0001-01-01T00:00:00.000000Z")),
        ("ends_at", json!("9999-12-31T23:59:59.999999Z")),
        ("ends_at", json!("2026-05-18T09:00:00.000001Z")),
    ] {
        let meeting = owner.meeting(json!({member: value})).await;
        assert_eq!(meeting[member], value, "{member}");
        assert_eq!(owner.get(&path_of(&meeting)).expect(200).await.json(), meeting, "{member}");
    }
    let path = path_of(&owner.meeting(json!({})).await);
    let (most, no_time) =
        (|count| format!("must have at most {count} characters"), "must be a valid date-time".to_owned());
    for (member, value, message) in [
        ("title", json!(""), "must have at least 1 characters".to_owned()),
        ("title", long("a", 201), most(200)),
        ("title", json!("a\0"), "must not contain a NUL character".to_owned()),
        ("agenda", long("a", 20_001), most(20_000)),
        ("minutes", long("a", 20_001), most(20_000)),
        ("location", long("a", 201), most(200)),
        ("status", json!("done"), "must be one of scheduled, in_progress, completed, cancelled".to_owned()),
        ("starts_at", json!("2026-05-18"), no_time.clone()),
        ("starts_at", json!("2026-05-18T09:00:00"), no_time.clone()),
        ("ends_at", json!("2026-05-18T23:59:60Z"), no_time.clone()),
        ("ends_at", json!("10000-01-01T00:00:00Z"), no_time),
        ("ends_at", json!(null), "must not be null".to_owned()),
    ] {
        let mut input = full();
        input[member] = value.clone();
        let calls = [
            owner.post(MEETINGS).json(&input),
            owner.put(&path).json(&input),
            owner.patch(&path).json(&json!({member: value})),
        ];
        for call in calls {
            assert_refused(&call.send().await, 400, json!({member: [message]}));
        }
    }
    let answer = owner.post(MEETINGS).json(&json!({"title": "x", "id": "y"})).send().await;
    let needed = json!({"starts_at": ["is required"], "ends_at": ["is required"], "id": ["is not known"]});
    assert_refused(&answer, 400, needed);
}

#[tokio::test]
async fn a_meeting_ends_after_it_starts() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.meeting(json!({})).await);
    let after = json!({"ends_at": ["must be after `starts_at`"]});
    for (starts_at, ends_at) in [
        ("2026-05-18T09:00:00Z", "2026-05-18T09:00:00Z"),
        ("2026-05-18T09:00:00Z", "2026-05-18T08:59:59.999999Z"),
        ("2026-05-18T09:00:00Z", "2026-05-18T10:00:00+02:00"),
        ("2026-05-18T09:00:00.0000001Z", "2026-05-18T09:00:00.0000009Z"),
    ] {
        let input = json!({"title": "x", "starts_at": starts_at, "ends_at": ends_at});
        assert_refused(&owner.post(MEETINGS).json(&input).send().await, 422, after.clone());
        assert_refused(&owner.put(&path).json(&input).send().await, 422, after.clone());
    }
    // If only one of the two times is given, it is compared with the stored one.
    assert_refused(
        &owner.patch(&path).json(&json!({"ends_at": "2026-05-18T09:00:00Z"})).send().await,
        422,
        after.clone(),
    );
    assert_refused(&owner.patch(&path).json(&json!({"starts_at": "2026-05-18T10:00:00Z"})).send().await, 422, after);
    for (title, message) in
        [(" \u{a0}", "must not be blank"), ("One\nTwo", "must be one line, without control characters")]
    {
        let refused = owner.patch(&path).json(&json!({"title": title})).send().await;
        assert_refused(&refused, 422, json!({"title": [message]}));
    }
}

#[tokio::test]
async fn the_state_moves_as_the_table_says() {
    let owner = tenant().await.owner;
    let states = ["scheduled", "in_progress", "completed", "cancelled"];
    let allowed = [
        ("scheduled", "in_progress"),
        ("scheduled", "cancelled"),
        ("in_progress", "completed"),
        ("in_progress", "cancelled"),
    ];
    for from in states {
        for to in states {
            let meeting = owner.meeting(json!({"status": from})).await;
            let path = path_of(&meeting);
            let mut whole = written(&meeting);
            whole["status"] = json!(to);
            let may = from == to || allowed.contains(&(from, to));
            let call =
                if may { owner.patch(&path).json(&json!({"status": to})) } else { owner.put(&path).json(&whole) };
            let answer = call.send().await;
            if may {
                assert_eq!(answer.expect(200).json()["status"], to);
            } else {
                assert_refused(&answer, 422, json!({"status": [format!("can't change from \"{from}\" to \"{to}\"")]}));
                assert_eq!(owner.get(&path).expect(200).await.json(), meeting);
            }
        }
    }
    let over = path_of(&owner.meeting(json!({"status": "completed"})).await);
    owner.patch(&over).json(&json!({"minutes": "Written later"})).expect(200).await;
}

#[tokio::test]
async fn viewers_read_editors_change_and_delete_their_own() {
    let tenant = tenant().await;
    let (editor, other) = (tenant.editor().await, tenant.editor().await);
    let path = path_of(&editor.meeting(json!({})).await);
    for role in [Role::Viewer, Role::Analyst] {
        let reader = tenant.person(role).await;
        reader.get(&path).expect(200).await;
        reader.get(MEETINGS).expect(200).await;
        for call in [
            reader.post(MEETINGS).json(&full()),
            reader.put(&path).json(&full()),
            reader.patch(&path).json(&json!({})),
            reader.delete(&path),
        ] {
            assert_eq!(call.send().await.error(), (403, "forbidden".into()));
        }
    }
    other.patch(&path).json(&json!({"title": "Moved"})).expect(200).await;
    assert_eq!(other.delete(&path).send().await.error(), (403, "forbidden".into()));
    editor.delete(&path).expect(204).await;
    let path = path_of(&editor.meeting(json!({})).await);
    tenant.admin().await.delete(&path).expect(204).await;
}

#[tokio::test]
async fn a_repeat_makes_nothing_new() {
    let owner = tenant().await.owner;
    let first = owner.post(MEETINGS).header("idempotency-key", "m").json(&full()).expect(201).await;
    let again = owner.post(MEETINGS).header("idempotency-key", "m").json(&full()).expect(201).await;
    assert_eq!((again.json(), again.header("idempotency-replayed")), (first.json(), Some("true")));
    assert_eq!(owner.get(MEETINGS).expect(200).await.json()["meta"]["total"], 1);
}
