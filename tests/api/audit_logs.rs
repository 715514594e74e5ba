//! The audit log over HTTP: filters, search, pages, exports, and the roles that may read it. It must not contain
//! secrets.
use crate::support::{Answer, PASSWORD, Person, Tenant, TestApp, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

const LOGS: &str = "/api/v1/audit-logs";

fn path(base: &str, parameters: &[(&str, &str)]) -> String {
    format!("{base}?{}", serde_urlencoded::to_string(parameters).unwrap())
}

async fn page(person: &Person, parameters: &[(&str, &str)]) -> Value {
    person.get(&path(LOGS, parameters)).expect(200).await.json()
}

/// The entries that these parameters find, the oldest first.
async fn entries(person: &Person, parameters: &[(&str, &str)]) -> Vec<Value> {
    let parameters = [parameters, &[("sort", "created_at"), ("per_page", "100")]].concat();
    page(person, &parameters).await["items"].as_array().unwrap().clone()
}

async fn export(person: &Person, parameters: &[(&str, &str)]) -> Answer {
    person.get(&path(&format!("{LOGS}/export"), parameters)).expect(200).await
}

fn ids<'a>(entries: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    entries.into_iter().map(|entry| text(entry, "id")).collect()
}

fn text(entry: &Value, member: &str) -> String {
    entry[member].as_str().unwrap().to_owned()
}

/// A tenant in which several people have done several things.
async fn busy() -> (Tenant, Person) {
    let tenant = TestApp::start().await.tenant().await;
    let editor = tenant.editor().await;
    for title in ["Write the offer", "100% sure_thing", "Ask 홍길동"] {
        let task = editor.task(json!({"title": title})).await;
        let path = format!("/api/v1/tasks/{}", text(&task, "id"));
        tenant.owner.patch(&path).json(&json!({"status": "done"})).expect(200).await;
    }
    let key = json!({"name": "Robot", "role": "viewer"});
    tenant.owner.post("/api/v1/api-keys").json(&key).expect(201).await;
    (tenant, editor)
}

// --- lists

#[tokio::test]
async fn filters_leave_what_fits_all_of_them() {
    let (tenant, editor) = busy().await;
    let owner = &tenant.owner;
    let all = entries(owner, &[]).await;
    assert!(all.len() >= 13, "{all:?}"); // 3 about the owner, 2 about the editor, 6 about tasks, 2 about the key
    for filter in ["action", "subject_kind", "subject_id", "actor_id"] {
        let values: HashSet<_> = all.iter().map(|entry| text(entry, filter)).collect();
        assert!(values.len() > 1, "{filter}");
        for value in values {
            let found = entries(owner, &[(filter, &value)]).await;
            let expected = all.iter().filter(|entry| entry[filter] == json!(value));
            assert_eq!(ids(&found), ids(expected), "{filter}={value}");
        }
    }
    for time in all.iter().map(|entry| text(entry, "created_at")) {
        let later = entries(owner, &[("created_after", &time)]).await;
        assert_eq!(ids(&later), ids(all.iter().filter(|entry| text(entry, "created_at") > time)), "after {time}");
        let earlier = entries(owner, &[("created_before", &time)]).await;
        assert_eq!(ids(&earlier), ids(all.iter().filter(|entry| text(entry, "created_at") < time)), "before {time}");
    }
    let editor = editor.id().to_string();
    let made = entries(owner, &[("action", "create"), ("subject_kind", "task"), ("actor_id", &editor)]).await;
    assert_eq!(made.len(), 3);
    assert_eq!(entries(owner, &[("action", "update"), ("actor_id", &editor)]).await, Vec::<Value>::new());
    for (name, value) in [
        ("action", "nope"),
        ("subject_id", "x"),
        ("actor_id", "x"),
        ("created_after", "yesterday"),
        ("sort", "action"),
        ("tenant_id", editor.as_str()),
    ] {
        let answer = owner.get(&path(LOGS, &[(name, value)])).send().await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{name}");
        assert!(answer.detail()[name].is_array(), "{name}");
    }
}

#[tokio::test]
async fn a_search_finds_ids_and_text_in_the_changes() {
    let (tenant, editor) = busy().await;
    let owner = &tenant.owner;
    let all = entries(owner, &[]).await;
    let offer = all.iter().find(|entry| entry["changes"]["title"][1] == json!("Write the offer")).unwrap();
    let found = async |q: &str| ids(&entries(owner, &[("q", q)]).await);
    for (member, others) in [("id", 0), ("subject_id", 1), ("request_id", 0), ("actor_id", 2)] {
        let id = text(offer, member);
        let has = |entry: &&Value| ["id", "subject_id", "request_id", "actor_id"].iter().any(|name| entry[*name] == id);
        let expected = ids(all.iter().filter(has));
        assert!(expected.len() > others, "{member}");
        assert_eq!(found(&id).await, expected, "{member}");
        assert_eq!(found(&id.to_uppercase()).await, expected, "{member} in upper case");
    }
    assert_eq!(found("write THE offer").await, [text(offer, "id")]);
    assert_eq!(found("홍길동").await.len(), 1);
    for (pattern, count) in [("100% s", 1), ("%", 1), ("sure_t", 1), ("sur__thing", 0), ("offer%", 0), ("nowhere", 0)] {
        assert_eq!(found(pattern).await.len(), count, "{pattern}");
    }
    let by_editor = entries(owner, &[("q", "robot"), ("actor_id", &editor.id().to_string())]).await;
    assert_eq!(by_editor, Vec::<Value>::new(), "a search narrows what the filters leave");
}

/// The stored text is JSON, which writes some characters in another way than people type them.
#[tokio::test]
async fn a_search_finds_what_people_type() {
    let owner = TestApp::start().await.tenant().await.owner;
    let texts = ["Ask \"홍길동\"", r"C:\temp\new", "two\nlines", "tab\there", "50% of a_b!", "\u{1f600} 'quoted'"];
    for text in texts {
        owner.task(json!({"title": "x", "description": text})).await;
    }
    let found = async |q: &str| {
        let found = entries(&owner, &[("q", q), ("subject_kind", "task")]).await;
        found.iter().map(|entry| entry["changes"]["description"][1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for text in texts {
        assert_eq!(found(text).await, [text]);
    }
    let parts = [("\"홍", 0), ("동\"", 0), ("ASK \"", 0), ("temp\\N", 1), ("two\nL", 2), ("tab\t", 3), ("a_b!", 4)];
    for (part, index) in parts {
        assert_eq!(found(part).await, [texts[index]], "{part}");
    }
    for absent in ["\"title\"", "\\x", "\\\"", "\",\"", "two lines", "50_"] {
        assert_eq!(found(absent).await, [""; 0], "{absent}");
    }
}

#[tokio::test]
async fn a_walk_by_cursor_sees_every_entry_once() {
    let (tenant, _) = busy().await;
    let owner = &tenant.owner;
    let oldest_first = ids(&entries(owner, &[]).await);
    let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();
    assert_eq!(ids(page(owner, &[("per_page", "100")]).await["items"].as_array().unwrap()), newest_first);
    for (sort, expected) in [("created_at", &oldest_first), ("-created_at", &newest_first)] {
        for per_page in ["1", "3", "100"] {
            let (mut seen, mut cursor) = (vec![], None::<String>);
            loop {
                let mut parameters = vec![("sort", sort), ("per_page", per_page)];
                parameters.extend(cursor.as_ref().map(|cursor| ("cursor", cursor.as_str())));
                let page = page(owner, &parameters).await;
                let total = cursor.is_none().then_some(expected.len() as u64);
                assert_eq!(page["meta"]["total"].as_u64(), total);
                seen.extend(ids(page["items"].as_array().unwrap()));
                cursor = page["meta"]["next_cursor"].as_str().map(str::to_owned);
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, *expected, "{sort} by {per_page}");
        }
    }
}

// --- who may read it

#[tokio::test]
async fn admins_read_their_own_tenants_log_and_nobody_else_does() {
    let (tenant, editor) = busy().await;
    let theirs = entries(&tenant.owner, &[]).await;
    let other = tenant.app.tenant().await;
    let (stranger, admin) = (&other.owner, tenant.admin().await);
    let own = entries(stranger, &[]).await;
    assert_eq!(own.len(), 3, "{own:?}"); // entries about the tenant, its owner and a sign-in
    let theirs: HashSet<_> =
        theirs.iter().flat_map(|entry| ["id", "subject_id", "actor_id"].map(|name| text(entry, name))).collect();
    for id in &theirs {
        for filter in ["q", "subject_id", "actor_id"] {
            assert_eq!(entries(stranger, &[(filter, id)]).await, Vec::<Value>::new(), "{filter}={id}");
        }
    }
    for format in ["csv", "ndjson"] {
        let text = export(stranger, &[("format", format)]).await.text();
        assert!(own.iter().all(|entry| text.contains(entry["id"].as_str().unwrap())), "{text}");
        assert!(!theirs.iter().any(|id| text.contains(id)), "{text}");
    }
    for person in [editor, tenant.viewer().await, tenant.operator().await] {
        for path in [LOGS.to_owned(), format!("{LOGS}/export")] {
            assert_eq!(person.get(&path).send().await.error(), (403, "forbidden".into()), "{path}");
        }
    }
    let seen = ids(&entries(&admin, &[]).await);
    assert!(seen.len() > 13 && export(&admin, &[]).await.text().contains(&seen[0]));
}

// --- exports

#[tokio::test]
async fn both_exports_hold_what_the_list_shows() {
    let app = TestApp::alone().await; // no other test seals rows on this server
    let tenant = app.tenant().await;
    let owner = &tenant.owner;
    owner.task(json!({"title": "=1+1", "description": "two\nlines, \"quoted\"", "tags": ["a", "b"]})).await;
    app.run_jobs().await; // some rows are sealed, some are not
    let odd = owner.post("/api/v1/tasks").header("x-request-id", "-2-3").json(&json!({"title": "x"}));
    odd.expect(201).await;
    let shown = entries(owner, &[]).await;
    let sealed = shown.iter().filter(|entry| entry["seq"].is_i64()).count();
    assert_eq!((sealed, shown.len()), (4, 5));

    let sort = ("sort", "created_at");
    let ndjson = export(owner, &[sort, ("format", "ndjson")]).await;
    assert_eq!(ndjson.header("content-disposition"), Some("attachment; filename=\"export.ndjson\""));
    let lines: Vec<Value> = ndjson.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, shown);

    let csv = export(owner, &[sort, ("format", "csv")]).await;
    assert_eq!(csv.header("content-type"), Some("text/csv"));
    let mut reader = csv::Reader::from_reader(csv.body.as_slice());
    let columns: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(columns.join(","), "id,created_at,actor_id,action,subject_kind,subject_id,changes,ip,request_id,seq");
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), shown.len());
    for (entry, row) in shown.iter().zip(&rows) {
        for (column, cell) in columns.iter().zip(row) {
            match &entry[column] {
                Value::Null => assert_eq!(cell, "", "{column}"),
                Value::String(text) if text == "-2-3" => assert_eq!(cell, "'-2-3", "no cell becomes a formula"),
                Value::String(text) => assert_eq!(cell, text, "{column}"),
                changes => assert_eq!(serde_json::from_str::<Value>(cell).unwrap(), *changes, "{column}"),
            }
        }
    }
    let some = export(owner, &[sort, ("action", "create"), ("subject_kind", "task"), ("fields", "seq,action")]).await;
    assert_eq!(some.text(), "seq,action\r\n4,create\r\n,create\r\n");
}

// --- sign-in and secrets

/// Uses all features with secrets as the tenant's owner. Returns the tokens and keys that came up.
async fn tour(tenant: &Tenant) -> Vec<String> {
    let (app, owner, visitor) = (&tenant.app, &tenant.owner, tenant.app.visitor());
    let email = owner.email();
    let auth = async |path: &str, body: Value, status: u16| {
        visitor.post(&format!("/api/v1/auth/{path}")).json(&body).expect(status).await
    };
    let verification = app.mailed(&email, "bcv_").await;
    owner.post("/api/v1/auth/email/verify").json(&json!({"token": verification})).expect(204).await;
    auth("login", json!({"email": email, "password": "no such zebra"}), 401).await;
    let key = json!({"name": "Robot", "role": "viewer"});
    let key = owner.post("/api/v1/api-keys").json(&key).expect(201).await.json();
    let guest = format!("{}@invited.example", app.unique());
    let invitation = json!({"email": guest, "role": "editor"});
    let invitation = owner.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    let join = json!({
        "email": guest, "password": "a giraffe joins", "name": "Ingo Invited", "invitation_token": invitation["token"],
    });
    auth("register", join, 201).await;
    let next = auth("refresh", json!({"refresh_token": owner.refresh_token()}), 200).await.json();
    let last = auth("refresh", json!({"refresh_token": next["refresh_token"]}), 200).await.json();
    auth("refresh", json!({"refresh_token": owner.refresh_token()}), 401).await;

    let again = visitor.sign_in(&email).await;
    let change = json!({"current_password": PASSWORD, "new_password": "staple and zebra"});
    again.post("/api/v1/auth/password").json(&change).expect(204).await;
    let change = json!({"current_password": "staple and zebra", "password": "another giraffe"});
    again.patch("/api/v1/users/me").json(&change).expect(200).await;
    auth("password/forgot", json!({"email": email}), 202).await;
    let reset = app.mailed(&email, "bcp_").await;
    auth("password/reset", json!({"token": reset, "password": "panther by mail"}), 204).await;
    let login = json!({"email": email, "password": "panther by mail", "return_refresh_in_body": true});
    let login = auth("login", login, 200).await.json();
    visitor.with_tokens(login.clone()).post("/api/v1/auth/logout").expect(204).await;

    let mut secrets = vec![verification, reset, text(&key, "key"), text(&invitation, "token")];
    for signed_in in [&owner.signed_in, &next, &last, &again.signed_in, &login] {
        secrets.extend(["access_token", "refresh_token"].map(|token| text(signed_in, token)));
    }
    secrets
}

#[tokio::test]
async fn every_event_of_sign_in_is_in_the_log() {
    let tenant = TestApp::start().await.unverified_tenant().await;
    tour(&tenant).await;
    let (admin, owner) = (tenant.admin().await, tenant.owner.id().to_string());
    // The server writes a failed sign-in to the log without delaying the answer.
    let is_written = async || !entries(&admin, &[("action", "sign_in_failed")]).await.is_empty();
    until("the failed sign-in is in the log", is_written).await;
    let mut events = BTreeMap::new();
    for entry in entries(&admin, &[("actor_id", &owner)]).await {
        assert_eq!((&entry["ip"], entry["request_id"].is_string()), (&json!("127.0.0.1"), true), "{entry}");
        *events.entry((text(&entry, "action"), text(&entry, "subject_kind"))).or_insert(0) += 1;
    }
    for (action, kind, times) in [
        ("sign_in", "session", 3),
        ("sign_in_failed", "user", 1),
        ("sign_out", "session", 1),
        ("token_reuse", "session", 1),
        ("password_change", "user", 2),
        ("password_reset", "user", 1),
        ("email_verify", "user", 1),
    ] {
        assert_eq!(events.get(&(action.to_owned(), kind.to_owned())), Some(&times), "{action}: {events:?}");
    }
}

#[tokio::test]
async fn no_entry_tells_a_password_a_hash_or_a_token() {
    let tenant = TestApp::start().await.unverified_tenant().await;
    let secrets = tour(&tenant).await;
    let (app, admin) = (&tenant.app, tenant.admin().await);
    let rows = "SELECT action, subject_kind, changes, ip, request_id FROM audit_logs WHERE tenant_id =";
    let rows = format!("{:?}", app.rows(&format!("{rows} {}", app.id(tenant.id))).await);
    let exports = [export(&admin, &[]).await.text(), export(&admin, &[("format", "ndjson")]).await.text()];
    let words = ["horse", "zebra", "giraffe", "panther", "$2b$", "eyJ", "bcr_", "bci_", "bcp_", "bcv_", "_hash"];
    for (text, place) in [(&rows, "rows"), (&exports[0], "csv"), (&exports[1], "ndjson")] {
        assert!(text.contains("Ingo Invited"), "where a secret would stand: {place}");
        for secret in secrets.iter().map(|secret| &secret[secret.len() - 30..]).chain(words) {
            assert!(!text.contains(secret), "{secret} in the {place}: {text}");
        }
    }
}
