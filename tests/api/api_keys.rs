//! API keys: what programs may do with a key, and when it becomes invalid.
use crate::support::{Answer, Call, Kind, PASSWORD, Person, TestApp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bizcenter::auth::Role;
use chrono::Duration;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const KEYS: &str = "/api/v1/api-keys";
const TASKS: &str = "/api/v1/tasks";
const USERS: &str = "/api/v1/users";
const ME: &str = "/api/v1/users/me";

fn error(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}

fn path_of(key: &Value) -> String {
    format!("{KEYS}/{}", text(key, "id"))
}

/// The path of the service account that acts for a key.
fn account_of(key: &Value) -> String {
    format!("{USERS}/{}", text(key, "user_id"))
}

fn user_path(person: &Person) -> String {
    format!("{USERS}/{}", person.id())
}

/// Creates a key and returns it with its secret.
async fn make(by: &Person, role: &str) -> Value {
    by.post(KEYS).json(&json!({"name": "Robot", "role": role})).expect(201).await.json()
}

/// A call by a program that has only this key.
fn by_key(app: &TestApp, key: &Value, method: Method, path: &str) -> Call {
    app.visitor().call(method, path).header("x-api-key", &text(key, "key"))
}

async fn get(app: &TestApp, key: &Value, path: &str) -> Answer {
    by_key(app, key, Method::GET, path).send().await
}

async fn create_task(app: &TestApp, key: &Value) -> Answer {
    by_key(app, key, Method::POST, TASKS).json(&json!({"title": "By a robot"})).send().await
}

/// Whether the key is accepted. Asserts that admins see the same state.
async fn is_good(app: &TestApp, key: &Value, admin: &Person) -> bool {
    let answer = get(app, key, TASKS).await;
    let is_good = answer.status == 200;
    assert!(is_good || answer.error() == error(401, "invalid_token"), "{}", answer.text());
    assert_eq!(admin.get(&path_of(key)).expect(200).await.json()["is_active"], json!(is_good), "{key}");
    is_good
}

/// The bytes of tenant, row and secret in a key.
fn parts(key: &Value) -> Vec<u8> {
    BASE64.decode(text(key, "key").splitn(3, '_').nth(2).unwrap()).unwrap()
}

// --- what is told and kept

#[tokio::test]
async fn a_key_is_shown_once_and_only_its_hash_is_kept() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let admin = tenant.admin().await;
    let input = json!({"name": "Nightly import", "role": "editor"});
    let answer = admin.post(KEYS).header("idempotency-key", "k").json(&input).expect(201).await;
    let (key, mut shown) = (answer.json(), answer.json());
    assert_eq!(answer.header("location"), Some(path_of(&key).as_str()));
    assert!(text(&key, "key").starts_with(&format!("{}_", text(&key, "prefix"))), "{key}");
    shown.as_object_mut().unwrap().remove("key");
    let members = ["name", "role", "created_by", "is_active", "expires_at", "last_used_at"];
    let expected = [input["name"].clone(), json!("editor"), json!(admin.id()), json!(true), json!(null), json!(null)];
    assert_eq!(members.map(|member| shown[member].clone()), expected);
    let found = tenant.owner.get(&path_of(&key)).expect(200).await;
    assert_eq!(found.json(), shown);
    admin.get(&path_of(&key)).header("if-none-match", found.header("etag").unwrap()).expect(304).await;
    assert_eq!(admin.get(KEYS).expect(200).await.json()["items"], json!([shown]));

    let hex_of = |column: &str| match app.database.kind {
        Kind::Postgres => format!("encode({column}, 'hex')"),
        Kind::Sqlite | Kind::Mariadb => format!("lower(hex({column}))"),
    };
    let (tenant_id, id) = (app.id(tenant.id), app.id(text(&key, "id").parse().unwrap()));
    let hash =
        app.rows(&format!("SELECT {} FROM api_keys WHERE id = {id}", hex_of("key_hash"))).await.concat().concat();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (secret, words) = (hex(&parts(&key)[32..]), text(&key, "key"));
    assert!(hash.len() == 64 && secret.len() == 64 && hash != secret, "{hash}");
    let answers = format!("SELECT {} FROM idempotency_keys WHERE tenant_id = {tenant_id}", hex_of("answer"));
    let audited = format!("SELECT changes FROM audit_logs WHERE tenant_id = {tenant_id}");
    for rows in [app.rows(&answers).await.concat(), app.rows(&audited).await.concat()] {
        assert!(!rows.is_empty());
        let is_told = |row: &String| row.contains(&words[12..]) || row.contains(&hex(&words.as_bytes()[12..]));
        assert!(!rows.iter().any(is_told), "{rows:?}");
    }
}

#[tokio::test]
async fn a_key_made_again_with_its_idempotency_key_is_the_first_one() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let admin = tenant.admin().await;
    let send = |name: &str| {
        let input = json!({"name": name, "role": "admin"});
        admin.post(KEYS).header("idempotency-key", "k").json(&input).send()
    };
    let bodies: Vec<_> = join_all((0..10).map(|_| send("Once"))).await.into_iter().map(|a| a.expect(201)).collect();
    let again = send("Once").await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(bodies.iter().all(|answer| answer.body == again.body));
    assert_eq!(admin.get(KEYS).expect(200).await.json()["meta"]["total"], 1);
    assert_eq!(admin.get(&format!("{USERS}?kind=service")).expect(200).await.json()["meta"]["total"], 1);
    assert!(is_good(&app, &again.json(), &admin).await);
    assert_eq!(send("Other").await.error(), error(422, "idempotency_mismatch"));
    tenant.owner.patch(&user_path(&admin)).json(&json!({"role": "editor"})).expect(200).await;
    assert_eq!(send("Once").await.error(), error(403, "forbidden"), "who asks again is authorised again");
}

// --- what it may do

#[tokio::test]
async fn a_key_may_do_what_its_role_may_and_is_the_author() {
    let app = TestApp::start().await;
    let admin = app.tenant().await.admin().await;
    for (role, to_create, to_audit) in [("viewer", 403, 403), ("editor", 201, 403), ("admin", 201, 200)] {
        let key = make(&admin, role).await;
        get(&app, &key, TASKS).await.expect(200);
        get(&app, &key, "/api/v1/audit-logs").await.expect(to_audit);
        let created = create_task(&app, &key).await.expect(to_create).json();
        if to_create == 201 {
            assert_eq!(created["created_by"], key["user_id"]);
            let of_it = format!("/api/v1/audit-logs?subject_id={}", text(&created, "id"));
            let entries = admin.get(&of_it).expect(200).await.json();
            assert_eq!(entries["items"][0]["actor_id"], key["user_id"]);
        }
        let me = get(&app, &key, ME).await.expect(200).json();
        let members = ["id", "role", "kind"].map(|member| me[member].clone());
        assert_eq!(members, [key["user_id"].clone(), json!(role), json!("service")]);
    }
}

#[tokio::test]
async fn admins_make_keys_and_none_above_themselves() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    for maker in Role::ALL {
        let person = tenant.person(maker).await;
        for role in Role::ALL {
            let answer = person.post(KEYS).json(&json!({"name": "Robot", "role": role.name()})).send().await;
            let expected = if maker >= Role::Admin && role <= maker { 201 } else { 403 };
            assert_eq!(answer.status.as_u16(), expected, "{} makes {}", maker.name(), role.name());
        }
    }
    let past = (app.parts.env.now() - Duration::seconds(1)).to_rfc3339();
    let faults = [
        (json!({"expires_at": past}), 422, "expires_at"),
        (json!({"expires_at": "tomorrow"}), 400, "expires_at"),
        (json!({"name": " "}), 422, "name"),
        (json!({"name": "x".repeat(121)}), 400, "name"),
        (json!({"user_id": tenant.owner.id()}), 400, "user_id"),
    ];
    for (members, status, named) in faults {
        let mut input = json!({"name": "Robot", "role": "viewer"});
        input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answer = tenant.owner.post(KEYS).json(&input).expect(status).await;
        assert_eq!(answer.detail().as_object().unwrap().keys().collect::<Vec<_>>(), [named], "{members}");
    }
}

#[tokio::test]
async fn what_is_for_people_is_not_for_keys() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let almighty = tenant.almighty().await; // an operator's API keys have no rights of an operator
    let key = make(&almighty, "owner").await;
    let sessions = almighty.get("/api/v1/auth/sessions").expect(200).await.json();
    let own = format!("/api/v1/auth/sessions/{}", text(&sessions["items"][0], "id"));
    let profile = json!({"name": "Human", "email": format!("{}@example.com", app.unique())});
    let calls = [
        (Method::GET, "/api/v1/auth/sessions", json!(null)),
        (Method::DELETE, own.as_str(), json!(null)),
        (Method::POST, "/api/v1/auth/password", json!({"current_password": PASSWORD, "new_password": PASSWORD})),
        (Method::PATCH, ME, json!({"name": "Human"})),
        (Method::PUT, ME, profile),
        (Method::POST, "/api/v1/auth/logout", json!(null)),
        (Method::POST, "/api/v1/auth/logout-all", json!(null)),
        (Method::POST, KEYS, json!({"name": "Offspring", "role": "viewer"})),
        (Method::POST, "/api/v1/users/me/calendar", json!(null)),
        (Method::GET, "/api/v1/admin/tenants", json!(null)),
    ];
    for (method, path, body) in calls {
        let call = by_key(&app, &key, method.clone(), path);
        let answer = if body.is_null() { call.send().await } else { call.json(&body).send().await };
        assert_eq!(answer.error(), error(403, "forbidden"), "{method} {path}");
    }
    assert!(is_good(&app, &key, &almighty).await);
    almighty.get("/api/v1/admin/tenants?per_page=1").expect(200).await;
    assert_eq!(tenant.owner.get(KEYS).expect(200).await.json()["meta"]["total"], 1);
}

#[tokio::test]
async fn a_service_account_is_seen_and_can_not_sign_in() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (admin, viewer) = (tenant.admin().await, tenant.viewer().await);
    let key = make(&admin, "editor").await;
    let services = admin.get(&format!("{USERS}?kind=service")).expect(200).await.json()["items"].clone();
    let [account] = services.as_array().unwrap().as_slice() else { panic!("{services}") };
    let members = ["id", "name", "role", "kind", "is_active"].map(|member| account[member].clone());
    assert_eq!(members, [key["user_id"].clone(), json!("Robot"), json!("editor"), json!("service"), json!(true)]);
    let seen = viewer.get(&account_of(&key)).expect(200).await.json();
    assert_eq!(["name", "kind", "role"].map(|member| seen[member].clone()), [json!("Robot"), json!(null), json!(null)]);
    for password in [PASSWORD, "", text(&key, "key").as_str()] {
        let login = json!({"email": account["email"], "password": password});
        let answer = app.visitor().post("/api/v1/auth/login").json(&login).send().await;
        assert_eq!(answer.error(), error(401, "invalid_credentials"));
    }
}

// --- when it is good no more

#[tokio::test]
async fn a_key_stops_when_its_maker_could_make_it_no_more() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let owner = &tenant.owner;
    let demoted = (json!({"role": "editor"}), json!({"role": "admin"}), true);
    let disabled = (json!({"is_active": false}), json!({"is_active": true}), false);
    for (change, back, is_editors_good) in [demoted, disabled] {
        let admin = tenant.admin().await;
        let (of_admin, of_editor) = (make(&admin, "admin").await, make(&admin, "editor").await);
        assert!(is_good(&app, &of_admin, owner).await && is_good(&app, &of_editor, owner).await);
        let tag = owner.get(&path_of(&of_admin)).expect(200).await.header("etag").unwrap().to_owned();
        owner.patch(&user_path(&admin)).json(&change).expect(200).await;
        assert!(!is_good(&app, &of_admin, owner).await, "{change}");
        assert_eq!(is_good(&app, &of_editor, owner).await, is_editors_good, "{change}");
        owner.get(&path_of(&of_admin)).header("if-none-match", &tag).expect(200).await; // the answer has changed
        owner.patch(&user_path(&admin)).json(&back).expect(200).await;
        assert!(is_good(&app, &of_admin, owner).await && is_good(&app, &of_editor, owner).await);
    }
    let admin = tenant.admin().await;
    let key = make(&admin, "viewer").await;
    owner.delete(&user_path(&admin)).expect(204).await;
    assert!(!is_good(&app, &key, owner).await);
}

#[tokio::test]
async fn a_key_stops_with_its_service_account() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let key = make(&owner, "editor").await;
    owner.patch(&account_of(&key)).json(&json!({"is_active": false})).expect(200).await;
    assert!(!is_good(&app, &key, &owner).await);
    owner.patch(&account_of(&key)).json(&json!({"is_active": true})).expect(200).await;
    assert!(is_good(&app, &key, &owner).await);
    owner.delete(&account_of(&key)).expect(204).await;
    assert!(!is_good(&app, &key, &owner).await);
    owner.delete(&path_of(&key)).expect(204).await;
}

#[tokio::test]
async fn a_key_expires_and_says_when_it_was_used() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let expires_at = (app.parts.env.now() + Duration::minutes(10)).to_rfc3339();
    let input = json!({"name": "Robot", "role": "viewer", "expires_at": expires_at});
    let key = owner.post(KEYS).json(&input).expect(201).await.json();
    let used = async || owner.get(&path_of(&key)).expect(200).await.json()["last_used_at"].clone();
    assert_eq!(used().await, json!(null));
    assert!(is_good(&app, &key, &owner).await);
    let first = used().await;
    assert!(first.as_str() >= key["created_at"].as_str(), "{first}");
    app.clock.advance(Duration::seconds(30));
    assert!(is_good(&app, &key, &owner).await);
    assert_eq!(used().await, first, "the minute is exact enough");
    app.clock.advance(Duration::seconds(31));
    assert!(is_good(&app, &key, &owner).await);
    let second = used().await;
    assert!(second.as_str() > first.as_str(), "{second}");
    app.clock.advance(Duration::minutes(8));
    assert!(is_good(&app, &key, &owner).await);
    let last = used().await;
    app.clock.advance(Duration::minutes(1));
    assert!(!is_good(&app, &key, &owner).await);
    assert_eq!(used().await, last, "who is turned away uses nothing");
}

#[tokio::test]
async fn a_deleted_key_is_refused_and_its_work_stays() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let owner = &tenant.owner;
    let (key, kept) = (make(owner, "editor").await, make(owner, "editor").await);
    let task = create_task(&app, &key).await.expect(201).json();
    for call in [other.owner.get(&path_of(&key)), other.owner.delete(&path_of(&key))] {
        assert_eq!(call.send().await.error(), error(404, "not_found"));
    }
    assert!(is_good(&app, &key, owner).await);
    owner.delete(&path_of(&key)).expect(204).await;
    assert_eq!(get(&app, &key, TASKS).await.error(), error(401, "invalid_token"));
    for path in [path_of(&key), account_of(&key)] {
        owner.get(&path).expect(404).await;
        owner.delete(&path).expect(404).await;
    }
    assert_eq!(owner.get(&format!("{TASKS}/{}", text(&task, "id"))).expect(200).await.json(), task);
    assert!(is_good(&app, &kept, owner).await);
}

#[tokio::test]
async fn what_is_no_good_key_is_refused_alike() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (key, theirs) = (make(&tenant.owner, "admin").await, make(&other.owner, "admin").await);
    let print = |like: &Value, parts: [&[u8]; 3]| format!("{}_{}", text(like, "prefix"), BASE64.encode(parts.concat()));
    let (a, b) = (parts(&key), parts(&theirs)); // the bytes of tenant, row and secret
    let printed = text(&key, "key");
    assert_eq!(print(&key, [&a[..16], &a[16..32], &a[32..]]), printed, "it is put together as keys are");
    let bad = [
        print(&key, [&a[..16], &a[16..32], &b[32..]]),
        print(&key, [&a[..16], &a[16..32], &[0; 32]]),
        print(&key, [&b[..16], &a[16..32], &a[32..]]),
        print(&theirs, [&a[..16], &b[16..32], &b[32..]]),
        printed[..printed.len() - 2].to_owned(),
        format!("{printed}AA"),
        printed.replacen("bc_", "bci_", 1),
        tenant.owner.token.clone().unwrap(),
        "garbage".to_owned(),
        String::new(),
    ];
    for bad in bad {
        let answer = app.visitor().get(TASKS).header("x-api-key", &bad).send().await;
        assert_eq!(answer.error(), error(401, "invalid_token"), "{bad}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{bad}");
    }
    let bearer = app.visitor().get(TASKS).header("authorization", &format!("Bearer {printed}")).send().await;
    assert_eq!(bearer.error(), error(401, "invalid_token"));
    assert!(is_good(&app, &key, &tenant.owner).await && is_good(&app, &theirs, &other.owner).await);
}

#[tokio::test]
async fn nobody_deletes_a_key_above_themselves() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (admin, owner) = (tenant.admin().await, &tenant.owner);
    let (of_owner, of_admin) = (make(owner, "owner").await, make(owner, "admin").await);
    assert_eq!(admin.delete(&path_of(&of_owner)).send().await.error(), error(403, "forbidden"));
    assert!(is_good(&app, &of_owner, owner).await);
    let answers = join_all((0..8).map(|_| admin.delete(&path_of(&of_admin)).send())).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404, 404, 404, 404, 404, 404, 404]);
    let deleted = format!("/api/v1/audit-logs?action=delete&subject_id={}", text(&of_admin, "id"));
    assert_eq!(admin.get(&deleted).expect(200).await.json()["meta"]["total"], 1);
}
