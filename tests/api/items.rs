//! Items over HTTP: their members, their owners, and what each role may do with them.
use crate::support::{Answer, Person, Tenant, TestApp};
use bizcenter::auth::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};

pub const ITEMS: &str = "/api/v1/items";
const MOST: i64 = 9_007_199_254_740_991;

pub fn path_of(item: &Value) -> String {
    format!("{ITEMS}/{}", item["id"].as_str().unwrap())
}

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

fn full() -> Value {
    json!({"title": "Server rack", "description": "Delivered and mounted", "price": 129900, "currency": "EUR"})
}

/// The members of `item` that people write, except the owner.
fn written(item: &Value) -> Value {
    ["title", "description", "price", "currency"].into_iter().map(|name| (name, item[name].clone())).collect()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, detail: Value) {
    let kind = if status == 400 { "validation_error" } else { "unprocessable" };
    assert_eq!((answer.error(), answer.detail()), ((status, kind.to_owned()), detail));
}

#[track_caller]
fn assert_forbidden(answer: &Answer) {
    assert_eq!(answer.error(), (403, "forbidden".into()));
}

#[tokio::test]
async fn an_item_lives_and_ends() {
    let editor = tenant().await.editor().await;
    let created = editor.post(ITEMS).json(&full()).expect(201).await;
    let item = created.json();
    let path = path_of(&item);
    assert_eq!(created.header("location"), Some(path.as_str()));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(written(&item), full());
    assert_eq!((&item["owner_id"], &item["version"]), (&json!(editor.id()), &json!(1)));
    assert_eq!(item["updated_at"], item["created_at"]);
    assert_eq!(editor.get(&path).expect(200).await.json(), item);
    editor.get(&path).header("if-none-match", "\"1\"").expect(304).await;

    editor.delete(&path).expect(204).await;
    let put = editor.put(&path).json(&full());
    for call in [editor.get(&path), editor.delete(&path), editor.patch(&path).json(&json!({})), put] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
}

#[tokio::test]
async fn what_is_left_out_gets_its_default() {
    let owner = tenant().await.owner;
    let item = owner.item(json!({"title": "Plan"})).await;
    let default = |currency| json!({"title": "Plan", "description": null, "price": 0, "currency": currency});
    assert_eq!((written(&item), &item["owner_id"]), (default("USD"), &json!(owner.id())));
    owner.patch("/api/v1/tenant").json(&json!({"currency": "KRW"})).expect(200).await;
    assert_eq!(written(&owner.item(json!({"title": "Plan"})).await), default("KRW"), "the tenant's own");
    assert_eq!(owner.get(&path_of(&item)).expect(200).await.json(), item, "what is written stays");
}

#[tokio::test]
async fn values_at_the_limits_are_kept_as_they_are() {
    let owner = tenant().await.owner;
    let mut item = owner.item(json!({"title": "x"})).await;
    for (member, value) in [
        ("title", json!("a".repeat(200))),
        ("title", json!("😀".repeat(200))),
        ("title", json!("  \"quotes\", 'ticks', back\\slash, \u{200f} ")),
        ("description", json!("\u{1}\u{7f}\t\r\n ")),
        ("description", json!("")),
        ("description", json!("😀".repeat(10_000))),
        ("price", json!(0)),
        ("price", json!(i64::from(i32::MAX) + 1)),
        ("price", json!(MOST)),
        ("currency", json!("KRW")),
        ("currency", json!("BHD")),
    ] {
        let mut input = json!({"title": "x"});
        input[member] = value;
        let created = owner.item(input.clone()).await;
        assert_eq!(created[member], input[member]);
        assert_eq!(owner.get(&path_of(&created)).expect(200).await.json(), created);
        input.as_object_mut().unwrap().retain(|name, _| name == member);
        item = owner.patch(&path_of(&item)).json(&input).expect(200).await.json();
        assert_eq!(item[member], input[member]);
        assert_eq!(owner.get(&path_of(&item)).expect(200).await.json(), item);
    }
}

#[tokio::test]
async fn values_beyond_the_limits_are_refused_by_all_who_write() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.item(json!({"title": "x"})).await);
    let too_dear = format!("must be at most {MOST}");
    let no_code = "must match ^[A-Z]{3}$";
    let cases = [
        ("title", json!(""), 400, vec!["must have at least 1 characters"]),
        ("title", json!("한".repeat(201)), 400, vec!["must have at most 200 characters"]),
        ("title", json!(null), 400, vec!["must not be null"]),
        ("title", json!(" \u{a0}"), 422, vec!["must not be blank"]),
        ("title", json!("a\nb"), 422, vec!["must be one line, without control characters"]),
        ("title", json!("a\0b"), 400, vec!["must not contain a NUL character"]),
        ("description", json!("a".repeat(10_001)), 400, vec!["must have at most 10000 characters"]),
        ("description", json!(["x"]), 400, vec!["must be a string"]),
        ("price", json!(-1), 400, vec!["must be at least 0"]),
        ("price", json!(MOST + 1), 400, vec![&too_dear]),
        ("price", json!(i64::MAX), 400, vec![&too_dear]),
        ("price", json!(u64::MAX), 400, vec!["must be an integer"]),
        ("price", json!(1e300), 400, vec!["must be an integer"]),
        ("price", json!(12.5), 400, vec!["must be an integer"]),
        ("price", json!("12"), 400, vec!["must be an integer"]),
        ("price", json!(null), 400, vec!["must not be null"]),
        ("currency", json!("eur"), 400, vec![no_code]),
        ("currency", json!("EURO"), 400, vec!["must have at most 3 characters", no_code]),
        ("currency", json!("EUR\n"), 400, vec!["must have at most 3 characters", no_code]),
        ("currency", json!(""), 400, vec!["must have at least 3 characters", no_code]),
        ("currency", json!(null), 400, vec!["must not be null"]),
        ("currency", json!("ZZZ"), 422, vec!["is not a currency of ISO 4217"]),
        ("owner_id", json!("me"), 400, vec!["must be a valid uuid"]),
        ("owner_id", json!(null), 400, vec!["must not be null"]),
    ];
    for (member, value, status, messages) in cases {
        let mut input = json!({"title": "x"});
        input[member] = value.clone();
        let calls = [
            owner.post(ITEMS).json(&input),
            owner.put(&path).json(&input),
            owner.patch(&path).json(&json!({member: value})),
        ];
        for call in calls {
            assert_refused(&call.send().await, status, json!({member: messages}));
        }
    }
    assert_eq!(owner.get(&path).expect(200).await.json()["version"], json!(1));
}

#[tokio::test]
async fn what_the_server_sets_can_not_be_sent() {
    let tenant = tenant().await;
    let item = tenant.owner.item(json!({"title": "x"})).await;
    let path = path_of(&item);
    for (member, value) in [
        ("id", json!("01993c3e-6a00-7c3e-8f6e-000000000001")),
        ("tenant_id", json!(tenant.id)),
        ("version", json!(9)),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("updated_at", json!("2020-01-01T00:00:00Z")),
        ("created_by", json!(tenant.owner.id())),
        ("content", json!({"title": "y"})),
        ("Title", json!("y")),
    ] {
        let input = json!({"title": "x", member: value});
        let owner = &tenant.owner;
        for call in [owner.post(ITEMS).json(&input), owner.put(&path).json(&input), owner.patch(&path).json(&input)] {
            assert_refused(&call.send().await, 400, json!({member: ["is not known"]}));
        }
    }
    assert_eq!(tenant.owner.get(&path).expect(200).await.json(), item);
}

#[tokio::test]
async fn patch_changes_what_is_given_and_put_resets_the_rest() {
    let tenant = tenant().await;
    let (editor, admin) = (tenant.editor().await, tenant.admin().await);
    let item = editor.item(full()).await;
    let path = path_of(&item);
    let same = editor.patch(&path).json(&json!({})).expect(200).await.json();
    assert_eq!(written(&same), full());
    let cleared = editor.patch(&path).json(&json!({"description": null, "price": 5})).expect(200).await.json();
    let expected = json!({"title": "Server rack", "description": null, "price": 5, "currency": "EUR"});
    assert_eq!(written(&cleared), expected);
    let replaced = admin.put(&path).json(&json!({"title": "Anew"})).expect(200).await.json();
    let expected = json!({"title": "Anew", "description": null, "price": 0, "currency": "USD"});
    assert_eq!(written(&replaced), expected);
    for member in ["id", "owner_id", "created_at"] {
        assert_eq!(replaced[member], item[member], "{member}");
    }
    assert_eq!(replaced["version"], json!(4));
    assert!(replaced["updated_at"].as_str() > item["updated_at"].as_str());
}

#[tokio::test]
async fn if_match_guards_against_lost_updates() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.item(json!({"title": "x"})).await);
    owner.patch(&path).json(&json!({"price": 1})).expect(200).await;
    for stale in ["\"1\"", "W/\"1\"", ""] {
        let calls = [
            owner.patch(&path).json(&json!({"price": 9})),
            owner.put(&path).json(&json!({"title": "lost"})),
            owner.delete(&path),
        ];
        for call in calls {
            let answer = call.header("if-match", stale).send().await;
            assert_eq!(answer.error(), (412, "precondition_failed".into()), "{stale}");
        }
    }
    let patches = (0..20).map(|n| owner.patch(&path).header("if-match", "\"2\"").json(&json!({"price": n})).send());
    let mut statuses: Vec<_> = join_all(patches).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200], vec![412; 19]].concat(), "exactly one wins");
    owner.delete(&path).header("if-match", "\"3\"").expect(204).await;
}

#[tokio::test]
async fn a_repeat_makes_nothing_new() {
    let owner = tenant().await.owner;
    let create = |input: Value| owner.post(ITEMS).header("idempotency-key", "once").json(&input);
    let first = create(full()).expect(201).await;
    let again = create(full()).expect(201).await;
    assert_eq!((again.json(), again.header("idempotency-replayed")), (first.json(), Some("true")));
    let other = create(json!({"title": "x"})).send().await;
    assert_eq!(other.error(), (422, "idempotency_mismatch".into()));
    assert_eq!(owner.get(ITEMS).expect(200).await.json()["meta"]["total"], json!(1));
}

/// For each role: whether it may create items and change its own, and whether it may change those of others.
#[tokio::test]
async fn each_role_has_its_rights() {
    let tenant = tenant().await;
    for (role, may_write, may_write_others) in [
        (Role::Viewer, false, false),
        (Role::Analyst, false, false),
        (Role::Editor, true, false),
        (Role::Admin, true, true),
        (Role::Owner, true, true),
    ] {
        let (person, other) = (tenant.person(role).await, tenant.editor().await);
        let theirs = other.item(json!({"title": "Theirs"})).await;
        let created = person.post(ITEMS).json(&json!({"title": "Mine"})).send().await;
        assert_eq!(created.status.as_u16(), if may_write { 201 } else { 403 }, "{role:?}");
        assert_eq!(person.get(&path_of(&theirs)).expect(200).await.json(), theirs);
        person.get(&format!("{ITEMS}/export")).expect(200).await;
        let mine = if may_write { Some(created.json()) } else { None };
        for (item, may) in mine.iter().map(|mine| (mine, true)).chain([(&theirs, may_write_others)]) {
            let path = path_of(item);
            let calls = [
                (person.patch(&path).json(&json!({"price": 1})), 200),
                (person.put(&path).json(&json!({"title": "Anew"})), 200),
                (person.delete(&path), 204),
            ];
            for (call, status) in calls {
                let answer = call.send().await;
                assert_eq!(answer.status.as_u16(), if may { status } else { 403 }, "{role:?}: {}", answer.text());
            }
        }
        if !may_write_others {
            assert_eq!(other.get(&path_of(&theirs)).expect(200).await.json(), theirs, "{role:?}");
        }
    }
    let unread = tenant.viewer().await.post(ITEMS).body("application/json", "not even JSON").send().await;
    assert_forbidden(&unread); // refused before the body is read
}

#[tokio::test]
async fn editors_give_nothing_away_and_take_nothing() {
    let tenant = tenant().await;
    let (editor, other, stranger) = (tenant.editor().await, tenant.editor().await, self::tenant().await.owner);
    let mine = editor.item(json!({"title": "Mine", "owner_id": editor.id()})).await;
    assert_eq!(mine["owner_id"], json!(editor.id()), "oneself may be named");
    editor.patch(&path_of(&mine)).json(&json!({"owner_id": editor.id(), "price": 1})).expect(200).await;
    let theirs = other.item(json!({"title": "Theirs"})).await;
    for somebody in [other.id(), tenant.owner.id(), stranger.id(), stranger.id()] {
        let input = json!({"title": "Given", "owner_id": somebody});
        let path = path_of(&mine);
        for call in [editor.post(ITEMS).json(&input), editor.put(&path).json(&input), editor.patch(&path).json(&input)]
        {
            assert_forbidden(&call.send().await);
        }
    }
    let taken = json!({"title": "Taken", "owner_id": editor.id()});
    let path = path_of(&theirs);
    for call in [editor.put(&path).json(&taken), editor.patch(&path).json(&taken)] {
        assert_forbidden(&call.send().await);
    }
    assert_eq!(other.get(&path).expect(200).await.json(), theirs);
    assert_eq!(editor.get(ITEMS).expect(200).await.json()["meta"]["total"], json!(2), "nothing was made");
}

#[tokio::test]
async fn admins_give_items_to_active_people_of_their_tenant() {
    let tenant = tenant().await;
    let (admin, editor) = (tenant.admin().await, tenant.editor().await);
    let item = admin.item(json!({"title": "x", "owner_id": editor.id()})).await;
    let path = path_of(&item);
    assert_eq!(item["owner_id"], json!(editor.id()));
    editor.patch(&path).json(&json!({"price": 1})).expect(200).await;
    let back = admin.patch(&path).json(&json!({"owner_id": admin.id()})).expect(200).await.json();
    assert_eq!(back["owner_id"], json!(admin.id()));
    assert_forbidden(&editor.patch(&path).json(&json!({"price": 2})).send().await);
    admin.put(&path).json(&json!({"title": "y", "owner_id": editor.id()})).expect(200).await;

    let disabled = tenant.editor().await;
    let of_disabled = disabled.item(json!({"title": "Left behind"})).await;
    let member = format!("/api/v1/users/{}", disabled.id());
    admin.patch(&member).json(&json!({"is_active": false})).expect(200).await;
    let removed = tenant.editor().await;
    let of_removed = removed.item(json!({"title": "Left behind"})).await;
    admin.delete(&format!("/api/v1/users/{}", removed.id())).expect(204).await;
    let stranger = self::tenant().await.owner.id();
    let missing = "does not exist";
    for (somebody, message) in [
        (stranger, missing),
        (tenant.app.parts.env.uuid(), missing),
        (removed.id(), missing),
        (disabled.id(), "is disabled"),
    ] {
        let input = json!({"title": "x", "owner_id": somebody});
        for call in [admin.post(ITEMS).json(&input), admin.put(&path).json(&input), admin.patch(&path).json(&input)] {
            assert_refused(&call.send().await, 422, json!({"owner_id": [message]}));
        }
    }
    for left in [of_disabled, of_removed] {
        let path = path_of(&left);
        let kept = admin.patch(&path).json(&json!({"price": 7})).expect(200).await.json();
        assert_eq!(kept["owner_id"], left["owner_id"], "who owns it already may stay");
        admin.patch(&path).json(&json!({"owner_id": editor.id()})).expect(200).await;
    }
    assert_eq!(editor.get(&path).expect(200).await.json()["version"], json!(4), "all refused changes left no trace");
}

#[tokio::test]
async fn ones_own_items_are_among_what_is_held_about_one() {
    let tenant = tenant().await;
    let (editor, other) = (tenant.editor().await, tenant.editor().await);
    let mine = editor.item(full()).await;
    other.item(json!({"title": "Theirs"})).await;
    let export = editor.get("/api/v1/users/me/export").expect(200).await.text();
    let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let items: Vec<_> = lines.filter(|line| line["kind"] == "item").map(|line| line["data"].clone()).collect();
    assert_eq!(items, [mine]);
}

#[tokio::test]
async fn every_change_tells_the_audit_log_what_it_was() {
    let tenant = tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let item = owner.item(full()).await;
    let path = path_of(&item);
    owner.patch(&path).json(&json!({"price": 1, "owner_id": editor.id()})).expect(200).await;
    owner.delete(&path).expect(204).await;
    let entries = owner.get("/api/v1/audit-logs?subject_kind=item&sort=created_at").expect(200).await.json();
    let told = |entry: &Value| (entry["action"].clone(), entry["subject_id"].clone());
    let told: Vec<_> = entries["items"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, ["create", "update", "delete"].map(|action| (json!(action), item["id"].clone())));
    let changes = json!({"price": [129900, 1], "owner_id": [owner.id(), editor.id()]});
    assert_eq!(entries["items"][1]["changes"], changes);
}

/// Creates items as this person, for tests of lists.
pub async fn made(person: &Person, inputs: Vec<Value>) -> Vec<Value> {
    let mut items = vec![];
    for input in inputs {
        items.push(person.item(input).await);
    }
    items
}
