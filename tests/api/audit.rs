//! The audit log: every change adds its row, a failed request adds none, and no row contains a secret.
use crate::support::{Answer, Call, PASSWORD, Person, Tenant, TestApp, until};
use serde_json::{Value, json};
use std::collections::HashSet;
use uuid::Uuid;

const TASKS: &str = "/api/v1/tasks";

/// An audit row, without its time and id.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    action: String,
    /// The kind and the id of the record.
    subject: (String, Uuid),
    actor: Uuid,
    changes: Value,
    ip: String,
    request_id: String,
}

impl Row {
    fn new(action: &str, kind: &str, id: Uuid, actor: Uuid, request_id: &str) -> Self {
        Self {
            action: action.to_owned(),
            subject: (kind.to_owned(), id),
            actor,
            changes: json!({}),
            ip: "127.0.0.1".to_owned(),
            request_id: request_id.to_owned(),
        }
    }

    fn with(self, changes: Value) -> Self {
        Self { changes, ..self }
    }

    /// The row without the members that are null before and after. A row about a new record has all members.
    fn without_nulls(&self) -> Self {
        let members = self.changes.as_object().unwrap().iter().filter(|(_, pair)| **pair != json!([null, null]));
        Self { changes: members.map(|(name, pair)| (name.clone(), pair.clone())).collect(), ..self.clone() }
    }
}

/// The tenant's rows with their ids. The rows of one request have no defined order.
async fn log(app: &TestApp, tenant: Uuid) -> Vec<(String, Row)> {
    let ids = ["id", "subject_id", "actor_id"].map(|column| app.id_column(column)).join(", ");
    let rows = format!("SELECT {ids}, action, subject_kind, changes, ip, request_id FROM audit_logs");
    let rows = app.rows(&format!("{rows} WHERE tenant_id = {} ORDER BY at, action", app.id(tenant))).await;
    let row = |columns: Vec<String>| {
        let [id, subject, actor, action, kind, changes, ip, request_id] = columns.try_into().unwrap();
        let (subject, actor) = ((kind, subject.parse().unwrap()), actor.parse().unwrap());
        (id, Row { action, subject, actor, changes: serde_json::from_str(&changes).unwrap(), ip, request_id })
    };
    rows.into_iter().map(row).collect()
}

/// Sends the request. Returns the answer, its request id, and the rows that were added to the log.
async fn logged(tenant: &Tenant, call: Call) -> (Answer, String, Vec<Row>) {
    let before: HashSet<_> = log(&tenant.app, tenant.id).await.into_iter().map(|(id, _)| id).collect();
    let answer = call.send().await;
    let rows = log(&tenant.app, tenant.id).await.into_iter();
    let new = rows.filter(|(id, _)| !before.contains(id)).map(|(_, row)| row).collect();
    let request_id = answer.header("x-request-id").unwrap().to_owned();
    (answer, request_id, new)
}

async fn nothing_logged(tenant: &Tenant, call: Call, status: u16) {
    let (answer, _, rows) = logged(tenant, call).await;
    assert_eq!(rows, [], "{}", answer.expect(status).text());
}

fn id(value: &Value) -> Uuid {
    value["id"].as_str().unwrap().parse().unwrap()
}

/// The ids of all open sessions of this person. The session of this call comes first.
async fn sessions(person: &Person) -> Vec<Uuid> {
    let page = person.get("/api/v1/auth/sessions?per_page=100").expect(200).await.json();
    let mut sessions = page["items"].as_array().unwrap().clone();
    sessions.sort_by_key(|session| session["is_current"] != true);
    sessions.iter().map(id).collect()
}

fn credentials(person: &Person) -> Value {
    json!({"email": person.email(), "password": PASSWORD})
}

/// The entry for a whole task: each member with its value, before or after the change.
fn whole(task: &Value, after: bool) -> Value {
    let members =
        task.as_object().unwrap().iter().filter(|(name, _)| !["version", "updated_at"].contains(&name.as_str()));
    let pairs = members.map(|(name, value)| {
        let pair = if after { json!([null, value]) } else { json!([value, null]) };
        (name.clone(), pair)
    });
    Value::Object(pairs.collect())
}

// --- sign-in

#[tokio::test]
async fn registration_logs_the_new_tenant_and_its_owner() {
    let app = TestApp::start().await;
    let email = format!("{}@example.com", app.unique());
    let input = json!({"email": email, "password": PASSWORD, "name": "Nora New"});
    let call = app.visitor().post("/api/v1/auth/register").header("x-request-id", "registration-1");
    let user = call.json(&input).expect(201).await.json();
    let tenant: Uuid = user["tenant_id"].as_str().unwrap().parse().unwrap();
    let rows: Vec<_> = log(&app, tenant).await.into_iter().map(|(_, row)| row).collect();
    let row = |kind, subject| Row::new("create", kind, subject, id(&user), "registration-1");
    let of_user = row("user", id(&user)).with(whole(&user, true));
    assert_eq!(rows.len(), 2, "{rows:?}");
    let slug = rows.iter().find(|row| row.subject.0 == "tenant").unwrap().changes["slug"].clone();
    let made = json!({"slug": slug, "name": [null, "Nora New"], "open_registration": [null, false]});
    for expected in [row("tenant", tenant).with(made), of_user.clone()] {
        let found = rows.iter().find(|row| row.subject == expected.subject).unwrap();
        assert_eq!(found.without_nulls(), expected.without_nulls());
    }
    assert_eq!(of_user.changes["email"], json!([null, email]));
}

#[tokio::test]
async fn joining_an_open_tenant_logs_the_user() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, slug) = (&tenant.app, &tenant.slug);
    app.run(&format!("UPDATE tenants SET open_registration = TRUE WHERE slug = '{slug}'")).await;
    let email = format!("{}@example.com", app.unique());
    let input = json!({"email": email, "password": PASSWORD, "name": "Nora New", "tenant_id": slug});
    let (answer, request, rows) = logged(&tenant, app.visitor().post("/api/v1/auth/register").json(&input)).await;
    let user = answer.expect(201).json();
    let expected = Row::new("create", "user", id(&user), id(&user), &request).with(whole(&user, true));
    assert_eq!(rows.iter().map(Row::without_nulls).collect::<Vec<_>>(), [expected.without_nulls()]);
    nothing_logged(&tenant, app.visitor().post("/api/v1/auth/register").json(&input), 409).await;
    let mut faulty = input.clone();
    faulty["role"] = json!("owner");
    nothing_logged(&tenant, app.visitor().post("/api/v1/auth/register").json(&faulty), 400).await;
}

#[tokio::test]
async fn signing_in_logs_the_session() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let login = app.visitor().post("/api/v1/auth/login").json(&credentials(owner));
    let form = [("grant_type", "password"), ("username", &owner.email()), ("password", PASSWORD)];
    let token = app.visitor().post("/api/v1/auth/token").form(&form);
    for call in [login, token] {
        let (answer, request, rows) = logged(&tenant, call).await;
        let person = app.visitor().with_tokens(answer.expect(200).json());
        let session = sessions(&person).await[0];
        assert_eq!(rows, [Row::new("sign_in", "session", session, owner.id(), &request)]);
    }
    let wrong = json!({"email": owner.email(), "password": "wrong"});
    let failed = app.visitor().post("/api/v1/auth/login").json(&wrong).expect(401).await;
    let request = failed.header("x-request-id").unwrap();
    let expected = Row::new("sign_in_failed", "user", owner.id(), owner.id(), request);
    // The server writes it without delaying the answer, so that the time of the answer reveals nothing.
    let is_logged = async || log(app, tenant.id).await.into_iter().any(|(_, row)| row == expected);
    until("the failure is logged", is_logged).await;
}

#[tokio::test]
async fn signing_out_logs_what_was_ended() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let [one, two] = [app.visitor().sign_in(&owner.email()).await, app.visitor().sign_in(&owner.email()).await];
    let session = sessions(&one).await[0];
    let (answer, request, rows) = logged(&tenant, one.post("/api/v1/auth/logout")).await;
    answer.expect(204);
    assert_eq!(rows, [Row::new("sign_out", "session", session, owner.id(), &request)]);
    nothing_logged(&tenant, one.post("/api/v1/auth/logout"), 401).await;

    let session = sessions(&two).await[0];
    let path = format!("/api/v1/auth/sessions/{session}");
    let (answer, request, rows) = logged(&tenant, owner.delete(&path)).await;
    answer.expect(204);
    assert_eq!(rows, [Row::new("sign_out", "session", session, owner.id(), &request)]);
    nothing_logged(&tenant, owner.delete(&path), 404).await;

    let (answer, request, rows) = logged(&tenant, owner.post("/api/v1/auth/logout-all")).await;
    answer.expect(204);
    assert_eq!(rows, [Row::new("sign_out", "user", owner.id(), owner.id(), &request)]);
}

#[tokio::test]
async fn a_new_password_is_logged_once() {
    let tenant = TestApp::start().await.tenant().await;
    let owner = &tenant.owner;
    let input = json!({"current_password": PASSWORD, "new_password": "staple and more"});
    let wrong = json!({"current_password": "wrong wrong", "new_password": "staple and more"});
    let (answer, request, rows) = logged(&tenant, owner.post("/api/v1/auth/password").json(&wrong)).await;
    answer.expect(422);
    assert_eq!(rows, [Row::new("sign_in_failed", "user", owner.id(), owner.id(), &request)]);
    let (answer, request, rows) = logged(&tenant, owner.post("/api/v1/auth/password").json(&input)).await;
    answer.expect(204);
    assert_eq!(rows, [Row::new("password_change", "user", owner.id(), owner.id(), &request)]);
}

#[tokio::test]
async fn a_refresh_is_not_logged_but_a_reuse_is() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let session = sessions(owner).await[0];
    let refresh = |person: &Person| {
        app.visitor().post("/api/v1/auth/refresh").json(&json!({"refresh_token": person.refresh_token()}))
    };
    nothing_logged(&tenant, refresh(owner), 200).await;
    nothing_logged(&tenant, refresh(owner), 200).await;
    let next = app.visitor().with_tokens(refresh(owner).expect(200).await.json());
    nothing_logged(&tenant, refresh(&next), 200).await;
    let (answer, request, rows) = logged(&tenant, refresh(owner)).await;
    answer.expect(401);
    assert_eq!(rows, [Row::new("token_reuse", "session", session, owner.id(), &request)]);
    nothing_logged(&tenant, refresh(owner), 401).await;
}

// --- tasks

#[tokio::test]
async fn a_tasks_life_is_logged_with_what_changed() {
    let tenant = TestApp::start().await.tenant().await;
    let editor = tenant.editor().await;
    let input = json!({"title": "Write the offer", "tags": ["sales"], "due_date": "2026-12-31", "description": "비밀"});
    let (answer, request, rows) = logged(&tenant, editor.post(TASKS).json(&input)).await;
    let task = answer.expect(201).json();
    let (path, subject) = (format!("{TASKS}/{}", id(&task)), id(&task));
    let row = |action, request: &str| Row::new(action, "task", subject, editor.id(), request);
    let rows: Vec<_> = rows.iter().map(Row::without_nulls).collect();
    assert_eq!(rows, [row("create", &request).with(whole(&task, true)).without_nulls()]);

    let patch = json!({"status": "done", "title": "Write the offer", "due_date": null});
    let (answer, request, rows) = logged(&tenant, editor.patch(&path).json(&patch)).await;
    let done = answer.expect(200).json();
    let changes = json!({
        "status": ["todo", "done"], "due_date": ["2026-12-31", null], "completed_at": [null, done["completed_at"]],
    });
    assert_eq!(rows, [row("update", &request).with(changes)]);

    let put = json!({"title": "Anew", "description": "비밀", "status": "done"});
    let (answer, request, rows) = logged(&tenant, tenant.owner.put(&path).json(&put)).await;
    let anew = answer.expect(200).json();
    let changes = json!({"title": ["Write the offer", "Anew"], "tags": [["sales"], []]});
    assert_eq!(rows, [Row { actor: tenant.owner.id(), ..row("update", &request).with(changes) }]);

    let (answer, request, rows) = logged(&tenant, editor.delete(&path)).await;
    answer.expect(204);
    let rows: Vec<_> = rows.iter().map(Row::without_nulls).collect();
    assert_eq!(rows, [row("delete", &request).with(whole(&anew, false)).without_nulls()]);
}

#[tokio::test]
async fn what_is_refused_or_repeated_or_only_read_is_not_logged() {
    let tenant = TestApp::start().await.tenant().await;
    let (owner, editor, viewer) = (&tenant.owner, tenant.editor().await, tenant.viewer().await);
    let input = json!({"title": "Once"});
    let once = |person: &Person| person.post(TASKS).header("idempotency-key", "once");
    let (answer, _, rows) = logged(&tenant, once(owner).json(&input)).await;
    let path = format!("{TASKS}/{}", id(&answer.expect(201).json()));
    assert_eq!(rows.len(), 1);
    nothing_logged(&tenant, once(owner).json(&input), 201).await;
    nothing_logged(&tenant, once(owner).json(&json!({"title": "Twice"})), 422).await;
    let nobody = json!({"title": "For nobody", "assigned_to": Uuid::nil()});
    nothing_logged(&tenant, owner.post(TASKS).json(&nobody), 422).await;
    nothing_logged(&tenant, owner.post(TASKS).json(&json!({"title": ""})), 400).await;
    nothing_logged(&tenant, viewer.post(TASKS).json(&input), 403).await;
    nothing_logged(&tenant, owner.patch(&path).header("if-match", "\"7\"").json(&json!({"title": "x"})), 412).await;
    nothing_logged(&tenant, owner.patch(&path).json(&nobody), 422).await;
    nothing_logged(&tenant, owner.delete(&path).header("if-match", "\"7\""), 412).await;
    nothing_logged(&tenant, editor.delete(&path), 403).await;
    nothing_logged(&tenant, owner.get(&path), 200).await;
    nothing_logged(&tenant, owner.get(TASKS), 200).await;
    nothing_logged(&tenant, owner.get(&format!("{TASKS}/export?format=csv")), 200).await;
    let stranger = tenant.app.tenant().await.owner;
    nothing_logged(&tenant, stranger.delete(&path), 404).await;
    nothing_logged(&tenant, stranger.patch(&path).json(&json!({"title": "Mine"})), 404).await;
    assert_eq!(owner.get(&path).expect(200).await.json()["version"], json!(1));
}

// --- secrets

#[tokio::test]
async fn no_row_tells_a_password_a_hash_or_a_token() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let next = json!({"refresh_token": owner.refresh_token()});
    let next = app.visitor().post("/api/v1/auth/refresh").json(&next).expect(200).await.json();
    let change = json!({"current_password": PASSWORD, "new_password": "staple and more"});
    owner.post("/api/v1/auth/password").json(&change).expect(204).await;
    let task = id(&owner.task(json!({"title": "Said aloud"})).await);
    owner.delete(&format!("{TASKS}/{task}")).expect(204).await;
    owner.post("/api/v1/auth/logout-all").expect(204).await;

    let rows = log(app, tenant.id).await;
    assert!(rows.len() >= 7, "{rows:?}"); // for tenant, user, sign-in, password and sign-out, task (twice), sign-out
    let text = format!("{rows:?}");
    let signature =
        |signed_in: &Value| signed_in["access_token"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let tokens = [signature(&owner.signed_in), signature(&next)];
    for secret in ["horse", "staple", "$2b$", "bcr_", "eyJ", "password_hash", "token_hash", &tokens[0], &tokens[1]] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("Said aloud")); // the texts were searched, so that a secret would be found, too
}
