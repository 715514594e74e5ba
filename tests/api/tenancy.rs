//! The walls between tenants, tried from below with raw SQL and from outside over HTTP.
use crate::support::rows::{rows, run, text};
use crate::support::{Answer, Kind, Person, Tenant, TestApp, is_for, shares_redis};
use bizcenter::config::DatabaseUrl;
use bizcenter::db::data_keys::Place;
use bizcenter::db::one_time_tokens::Purpose;
use bizcenter::db::{Action, AnyConnection, Change, System, WriteTx};
use diesel::result::{DatabaseErrorKind, Error};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use uuid::Uuid;

/// A tenant with a row in every table.
pub async fn tenant_with_everything(app: &TestApp) -> Tenant {
    let tenant = app.tenant().await;
    let task = json!({"title": "The secret plan", "assigned_to": tenant.owner.id()});
    let contract = tenant.owner.contract(json!({"amount": "5"})).await;
    let path = format!("/api/v1/contracts/{}", contract["id"].as_str().unwrap());
    tenant.owner.patch(&path).json(&json!({"amount": "6"})).expect(200).await;
    let task =
        tenant.owner.post("/api/v1/tasks").header("idempotency-key", "once").json(&task).expect(201).await.json();
    let username = app.unique();
    tenant.owner.patch("/api/v1/users/me").json(&json!({"username": username})).expect(200).await;
    let comments = format!("/api/v1/tasks/{}/comments", task["id"].as_str().unwrap());
    tenant.owner.post(&comments).json(&json!({"body": format!("@{username}")})).expect(201).await;
    tenant.owner.item(json!({"title": "The secret price"})).await;
    let meeting = tenant.owner.meeting(json!({})).await;
    let meeting = format!("/api/v1/meetings/{}", meeting["id"].as_str().unwrap());
    let attendees = format!("{meeting}/attendees");
    tenant.owner.post(&attendees).json(&json!({"user_id": tenant.owner.id()})).expect(201).await;
    let items = format!("{meeting}/action-items");
    tenant.owner.post(&items).json(&json!({"description": "The secret step"})).expect(201).await;
    tenant.owner.post("/api/v1/users/me/calendar").expect(201).await;
    let invitation = json!({"email": format!("{}@invited.example", app.unique()), "role": "viewer"});
    tenant.owner.post("/api/v1/invitations").json(&invitation).expect(201).await;
    tenant.owner.post("/api/v1/api-keys").json(&json!({"name": "Robot", "role": "viewer"})).expect(201).await;
    let (db, id, owner) = (app.parts.db.clone(), tenant.id.into(), tenant.owner.id().into());
    let place = Place { table: "contracts", row: tenant.id, column: "amount_sealed" };
    let behind = async move {
        let seal = async move |tx: &mut WriteTx| {
            tx.seal(place, b"1").await?; // makes the data key
            tx.happened(Change::of(Action::Update, tx.tenant())).await
        };
        db.write(&System::of(id), seal).await.unwrap();
        db.issue_token(id, owner, Purpose::PasswordReset, true).await.unwrap().unwrap();
        db.seal_audit().await.unwrap();
    };
    app.by_hand(behind).await;
    app.note_an_end(tenant.id).await;
    tenant
}

// --- from below

/// A connection as the server has it, before it is bound to a tenant.
async fn plain(app: &TestApp) -> AnyConnection {
    let mut conn = app.database.connect_unbound().await;
    let role = "SELECT concat_ws(' ', rolsuper, rolbypassrls) FROM pg_roles WHERE rolname = current_user";
    assert_eq!(text(&mut conn, role).await, "f f", "with such a role row-level security proves nothing");
    conn
}

async fn bound_to(app: &TestApp, tenant: &Tenant) -> AnyConnection {
    let mut conn = plain(app).await;
    run(&mut conn, &format!("SET app.tenant_id = '{}'", tenant.id)).await.unwrap();
    conn
}

/// The tables that row-level security is on guard for.
async fn guarded_tables(conn: &mut AnyConnection) -> Vec<String> {
    let sql = "SELECT table_name::text FROM information_schema.columns
               WHERE table_schema = 'public' AND column_name = 'tenant_id' AND table_name NOT IN ('jobs', 'logins') ORDER BY 1";
    let mut tables = rows(conn, sql).await.concat();
    tables.retain(|table| table != "sessions" || !shares_redis()); // which has none in it then
    assert!(tables.len() >= 8, "{tables:?}");
    tables
}

async fn count(conn: &mut AnyConnection, from: &str) -> usize {
    text(conn, &format!("SELECT count(*)::text FROM {from}")).await.parse().unwrap()
}

/// How many rows a statement with `RETURNING` touches.
async fn touched(conn: &mut AnyConnection, statement: &str) -> usize {
    text(conn, &format!("WITH t AS ({statement} RETURNING 1) SELECT count(*)::text FROM t")).await.parse().unwrap()
}

/// A statement that writes one of this tenant's rows a second time.
async fn copy_of_a_row(system: &mut AnyConnection, table: &str, tenant: &Tenant) -> String {
    let row = format!("SELECT row_to_json(t)::text FROM {table} t WHERE tenant_id = '{}' LIMIT 1", tenant.id);
    let row = text(system, &row).await.replace('\'', "''");
    format!("INSERT INTO {table} SELECT * FROM json_populate_record(null::{table}, '{row}')")
}

#[track_caller]
fn assert_hidden(result: diesel::QueryResult<()>, statement: &str) {
    let Err(error) = result else { panic!("{statement} was let through") };
    let error = error.to_string();
    assert!(error.contains("violates row-level security policy"), "{statement}: {error}");
}

#[tokio::test]
async fn postgres_evaluates_its_policies_once_a_statement() {
    let app = TestApp::start().await;
    if !is_for(Kind::Postgres, "the other databases have no row-level security") {
        return;
    }
    let mut conn = plain(&app).await;
    for table in guarded_tables(&mut conn).await {
        let plan = rows(&mut conn, &format!("EXPLAIN SELECT * FROM {table}")).await.concat().join("\n");
        assert!(plan.contains("InitPlan 1") && plan.contains("InitPlan 2"), "{table}:\n{plan}");
        assert!(!plan.contains("current_setting"), "{table} asks for each row:\n{plan}");
    }
}

#[tokio::test]
async fn without_a_tenant_postgres_shows_no_row_and_takes_none() {
    let app = TestApp::start().await;
    if !is_for(Kind::Postgres, "the other databases have no row-level security") {
        return;
    }
    let tenant = tenant_with_everything(&app).await;
    let (mut system, mut nobody) = (app.database.connect().await, plain(&app).await);
    for given_back in [false, true] {
        if given_back {
            // As a lease leaves it in the pool: the setting is there, and empty.
            let lease = format!("BEGIN; SET LOCAL app.tenant_id = '{}'; COMMIT", tenant.id);
            run(&mut nobody, &lease).await.unwrap();
            assert_eq!(text(&mut nobody, "SELECT current_setting('app.tenant_id')").await, "");
        }
        for table in guarded_tables(&mut system).await {
            assert!(count(&mut system, &format!("{table} WHERE tenant_id = '{}'", tenant.id)).await > 0, "{table}");
            assert_eq!(count(&mut nobody, &table).await, 0, "{table}");
            let insert = copy_of_a_row(&mut system, &table, &tenant).await;
            assert_hidden(run(&mut nobody, &insert).await, &insert);
            assert_eq!(touched(&mut nobody, &format!("UPDATE {table} SET tenant_id = tenant_id")).await, 0, "{table}");
            assert_eq!(touched(&mut nobody, &format!("DELETE FROM {table}")).await, 0, "{table}");
        }
    }
}

#[tokio::test]
async fn with_a_tenant_postgres_shows_and_takes_that_tenants_rows_alone() {
    let app = TestApp::start().await;
    if !is_for(Kind::Postgres, "the other databases have no row-level security") {
        return;
    }
    let (a, b) = (tenant_with_everything(&app).await, tenant_with_everything(&app).await);
    let (mut system, mut conn) = (app.database.connect().await, bound_to(&app, &a).await);
    for table in guarded_tables(&mut system).await {
        let (of_a, of_b) = (format!("tenant_id = '{}'", a.id), format!("tenant_id = '{}'", b.id));
        let all_of_a = count(&mut system, &format!("{table} WHERE {of_a}")).await;
        let all_of_b = count(&mut system, &format!("{table} WHERE {of_b}")).await;
        assert!(all_of_a > 0 && all_of_b > 0, "{table}");
        assert_eq!(count(&mut conn, &table).await, all_of_a, "{table}");
        assert_eq!(count(&mut conn, &format!("{table} WHERE {of_b}")).await, 0, "{table}");

        let insert = copy_of_a_row(&mut system, &table, &b).await;
        assert_hidden(run(&mut conn, &insert).await, &insert);
        let give_away = format!("UPDATE {table} SET tenant_id = '{}'", b.id);
        assert_hidden(run(&mut conn, &give_away).await, &give_away);
        let update = format!("UPDATE {table} SET tenant_id = '{}' WHERE {of_b}", a.id);
        assert_eq!(touched(&mut conn, &update).await, 0, "{table}");
        assert_eq!(touched(&mut conn, &format!("DELETE FROM {table} WHERE {of_b}")).await, 0, "{table}");
        assert_eq!(count(&mut system, &format!("{table} WHERE {of_b}")).await, all_of_b, "{table}");
    }
    // That nothing was touched above was the policy's doing: what is one's own can be deleted.
    run(&mut conn, "BEGIN").await.unwrap();
    assert_eq!(touched(&mut conn, "DELETE FROM task_comments").await, 1);
    run(&mut conn, "ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn no_database_stores_a_reference_to_another_tenants_user() {
    let app = TestApp::start().await;
    let (a, b) = (tenant_with_everything(&app).await, tenant_with_everything(&app).await);
    let mut conn = app.database.connect().await;
    let id = |id: Uuid| match app.database.kind {
        Kind::Postgres => format!("'{id}'::uuid"),
        Kind::Mariadb | Kind::Sqlite => format!("x'{}'", id.simple()),
    };
    let (tenant, colleague, stranger) = (id(a.id), id(a.owner.id()), id(b.owner.id()));
    let columns = [
        ("tasks", "assigned_to"),
        ("tasks", "created_by"),
        ("contracts", "created_by"),
        ("contract_history", "changed_by"),
        ("task_comments", "author_id"),
        ("task_comment_mentions", "user_id"),
        ("items", "owner_id"),
        ("idempotency_keys", "user_id"),
        ("invitations", "invited_by"),
        ("api_keys", "user_id"),
        ("api_keys", "created_by"),
        ("one_time_tokens", "user_id"),
        ("logins", "user_id"),
    ];
    let in_database = [("sessions", "user_id")].into_iter().filter(|_| !shares_redis());
    for (table, column) in columns.into_iter().chain(in_database) {
        let update = |user| format!("UPDATE {table} SET {column} = {user} WHERE tenant_id = {tenant}");
        assert_eq!(refusal(run(&mut conn, &update(&colleague)).await), None, "{table}.{column}");
        let refused = refusal(run(&mut conn, &update(&stranger)).await);
        assert_eq!(refused, Some("foreign key"), "{table}.{column}");
    }
    let insert = |assigned_to: &str, created_by: &str| {
        format!(
            "INSERT INTO tasks (tenant_id, id, title, status, priority, tags, assigned_to, created_by, version, created_at, updated_at)
             SELECT tenant_id, {}, title, status, priority, tags, {assigned_to}, {created_by}, 1, created_at, updated_at
             FROM tasks WHERE tenant_id = {tenant} AND title = 'The secret plan'",
            id(app.parts.env.uuid())
        )
    };
    let as_ours = refusal(run(&mut conn, &insert(&stranger, &colleague)).await);
    let as_theirs = refusal(run(&mut conn, &insert(&colleague, &stranger)).await);
    assert_eq!((as_ours, as_theirs), (Some("foreign key"), Some("foreign key")));
    let at_home = refusal(run(&mut conn, &insert(&colleague, &colleague)).await);
    assert_eq!(at_home, None);
}

fn refusal(result: diesel::QueryResult<()>) -> Option<&'static str> {
    match result {
        Ok(()) => None,
        Err(Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => Some("foreign key"),
        Err(error) => panic!("{error:?}"),
    }
}

// --- from outside

/// The server of this run; and where row-level security would hide a missing filter, one whose role it does not bind.
async fn servers() -> Vec<TestApp> {
    let app = TestApp::start().await;
    if app.database.kind != Kind::Postgres {
        return vec![app];
    }
    let server = std::env::var("TEST_POSTGRES_SUPERUSER_URL").unwrap();
    let unbound = TestApp::with(move |config| {
        let (_, name) = config.database.url.expose().rsplit_once('/').unwrap();
        let (server, _) = server.rsplit_once('/').unwrap();
        config.database.url = DatabaseUrl::parse(&format!("{server}/{name}"), Path::new("/")).unwrap();
    });
    let unbound = unbound.await;
    let db = unbound.parts.db.clone();
    assert!(unbound.by_hand(async move { db.bypasses_row_security().await.unwrap() }).await);
    vec![app, unbound]
}

fn path_of(task: &Value) -> String {
    format!("/api/v1/tasks/{}", task["id"].as_str().unwrap())
}

/// All that an answer tells, but for what is new in each.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let is_told = |name: &str| !matches!(name, "x-request-id" | "x-process-time" | "date");
    let headers = answer.headers.iter().filter(|(name, _)| is_told(name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let mut body = answer.json();
    assert!(body["error"].as_object_mut().unwrap().remove("request_id").is_some());
    (answer.status.as_u16(), headers, body)
}

async fn titles(person: &Person, query: &str) -> Vec<String> {
    let list = person.get(&format!("/api/v1/tasks?{query}")).expect(200).await.json();
    let items = list["items"].as_array().unwrap();
    items.iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn another_tenants_task_is_not_found_as_if_it_never_was() {
    for app in servers().await {
        let (a, b) = (app.tenant().await, app.tenant().await);
        let task = b.owner.task(json!({"title": "Theirs"})).await;
        let (theirs, never) = (path_of(&task), format!("/api/v1/tasks/{}", app.parts.env.uuid()));
        let bodies = [
            (Method::GET, None),
            (Method::PUT, Some(json!({"title": "Ours"}))),
            (Method::PATCH, Some(json!({"title": "Ours"}))),
            (Method::PATCH, Some(json!({}))),
            (Method::DELETE, None),
        ];
        let mut compared = 0;
        for person in [a.editor().await, a.admin().await, a.owner.clone()] {
            for (method, body) in &bodies {
                for condition in
                    [None, Some(("if-match", "\"1\"")), Some(("if-match", "*")), Some(("if-none-match", "*"))]
                {
                    let ask = |path| {
                        let mut call = person.call(method.clone(), path);
                        if let Some((name, value)) = condition {
                            call = call.header(name, value);
                        }
                        if let Some(body) = body {
                            call = call.json(body);
                        }
                        call.send()
                    };
                    let (theirs, never) = (ask(&theirs).await, ask(&never).await);
                    assert_eq!(theirs.error(), (404, "not_found".to_owned()), "{method} {condition:?}");
                    assert_eq!(told(&theirs), told(&never), "{method} {condition:?}");
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 60);
        assert_eq!(b.owner.get(&theirs).expect(200).await.json(), task);
    }
}

#[tokio::test]
async fn a_task_can_not_be_assigned_to_another_tenants_user() {
    for app in servers().await {
        let (a, b) = (app.tenant().await, app.tenant().await);
        let ours = a.owner.task(json!({"title": "Ours"})).await;
        let path = path_of(&ours);
        for (method, path) in [(Method::POST, "/api/v1/tasks"), (Method::PUT, &path), (Method::PATCH, &path)] {
            let assign =
                |user| a.owner.call(method.clone(), path).json(&json!({"title": "Taken", "assigned_to": user})).send();
            let (theirs, never) = (assign(b.owner.id()).await, assign(app.parts.env.uuid()).await);
            assert_eq!(theirs.error(), (422, "unprocessable".to_owned()), "{method}");
            assert_eq!(theirs.detail(), json!({"assigned_to": ["does not exist"]}), "{method}");
            assert_eq!(told(&theirs), told(&never), "{method}");
        }
        assert_eq!(titles(&a.owner, "").await, ["Ours"], "nothing of it was stored");
        assert_eq!(a.owner.get(&path).expect(200).await.json(), ours);
        a.owner.patch(&path).json(&json!({"assigned_to": a.owner.id()})).expect(200).await;
    }
}

#[tokio::test]
async fn lists_filters_search_and_exports_end_at_the_tenant() {
    for app in servers().await {
        let (a, b) = (app.tenant().await, app.tenant().await);
        a.owner.task(json!({"title": "Ours"})).await;
        let theirs =
            json!({"title": "Theirs", "assigned_to": b.owner.id(), "tags": ["shared"], "year": 2026, "week_number": 7});
        b.owner.task(theirs).await;
        let (user, all) = (b.owner.id(), Vec::<String>::new());
        let narrow = [format!("assigned_to={user}"), "tag=shared".into(), "q=theirs".into(), "year=2026&week=7".into()];
        for query in narrow {
            assert_eq!(titles(&b.owner, &query).await, ["Theirs"], "{query}");
            assert_eq!(titles(&a.owner, &query).await, all, "{query}");
            let counted = a.owner.get(&format!("/api/v1/tasks?{query}")).expect(200).await.json();
            assert_eq!(counted["meta"]["total"], json!(0), "{query}");
        }
        for (person, own, foreign) in [(&a.owner, "Ours", "Theirs"), (&b.owner, "Theirs", "Ours")] {
            assert_eq!(titles(person, "").await, [own]);
            let export = person.get("/api/v1/tasks/export?format=ndjson").expect(200).await.text();
            assert!(export.contains(own) && !export.contains(foreign), "{export}");
        }
    }
}

#[tokio::test]
async fn another_tenants_cursor_leads_to_ones_own_rows() {
    for app in servers().await {
        let (a, b) = (app.tenant().await, app.tenant().await);
        for title in ["A 1", "A 2", "A 3"] {
            a.owner.task(json!({"title": title})).await;
            b.owner.task(json!({"title": title.replace('A', "B")})).await;
        }
        let first = a.owner.get("/api/v1/tasks?sort=created_at&per_page=1").expect(200).await.json();
        assert_eq!(first["items"][0]["title"], json!("A 1"));
        let cursor = first["meta"]["next_cursor"].as_str().unwrap();
        let after = format!("sort=created_at&cursor={cursor}");
        assert_eq!(titles(&a.owner, &after).await, ["A 2", "A 3"]);
        assert_eq!(titles(&b.owner, &after).await, ["B 1", "B 2", "B 3"], "all were made after A 1");
    }
}
