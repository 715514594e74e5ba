//! The isolation of tenants, tested in the database with raw SQL and from outside over HTTP.
use crate::support::catalogue::{Reference, WITHOUT_ROW_SECURITY};
use crate::support::fixtures::{Everything, everything};
use crate::support::rows::{rows, run, text};
use crate::support::{Answer, Kind, Person, Tenant, TestApp, is_for, shares_redis};
use bizcenter::config::DatabaseUrl;
use bizcenter::db::AnyConnection;
use diesel::result::{DatabaseErrorKind, Error};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use uuid::Uuid;

// --- from below

/// A connection like the server's, before it is bound to a tenant.
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

/// The tables that row-level security protects.
async fn guarded_tables(app: &TestApp) -> Vec<String> {
    let mut tables = app.catalogue().await.tables;
    // In a run with sessions in Redis, the table has no rows.
    tables.retain(|name, table| table.has_tenant() && (name != "sessions" || !shares_redis()));
    for exception in WITHOUT_ROW_SECURITY {
        assert!(tables.remove(exception).is_some(), "{exception} is no table with tenants");
    }
    tables.into_keys().collect()
}

async fn count(conn: &mut AnyConnection, from: &str) -> usize {
    text(conn, &format!("SELECT count(*)::text FROM {from}")).await.parse().unwrap()
}

/// How many rows a statement changes. It is run with `RETURNING`.
async fn touched(conn: &mut AnyConnection, statement: &str) -> usize {
    text(conn, &format!("WITH t AS ({statement} RETURNING 1) SELECT count(*)::text FROM t")).await.parse().unwrap()
}

/// A statement that inserts a copy of one of this tenant's rows.
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
    for table in guarded_tables(&app).await {
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
    let Everything { tenant, .. } = everything(&app).await;
    let (mut system, mut nobody) = (app.database.connect().await, plain(&app).await);
    for given_back in [false, true] {
        if given_back {
            // A lease leaves a connection like this in the pool: the setting exists and is empty.
            let lease = format!("BEGIN; SET LOCAL app.tenant_id = '{}'; COMMIT", tenant.id);
            run(&mut nobody, &lease).await.unwrap();
            assert_eq!(text(&mut nobody, "SELECT current_setting('app.tenant_id')").await, "");
        }
        for table in guarded_tables(&app).await {
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
    let (a, b) = (everything(&app).await.tenant, everything(&app).await.tenant);
    let (mut system, mut conn) = (app.database.connect().await, bound_to(&app, &a).await);
    for table in guarded_tables(&app).await {
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
    // It was the policy that protected the other rows above, because the tenant's own rows can be deleted.
    run(&mut conn, "BEGIN").await.unwrap();
    let own = count(&mut conn, "task_comments").await;
    assert_eq!((own > 0, touched(&mut conn, "DELETE FROM task_comments").await), (true, own));
    run(&mut conn, "ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn no_database_stores_a_reference_to_another_tenants_row() {
    let app = TestApp::start().await;
    let (a, b) = (everything(&app).await.tenant, everything(&app).await.tenant);
    let mut conn = app.database.connect().await;
    let id = |id: Uuid| app.id(id) + if app.database.kind == Kind::Postgres { "::uuid" } else { "" };
    let (tenant, colleague, stranger) = (id(a.id), id(a.owner.id()), id(b.owner.id()));
    let row_of = async |tenant: &Tenant, table: &str| {
        let sql = format!("SELECT {} FROM {table} WHERE tenant_id = {}", app.id_column("id"), app.id(tenant.id));
        let found = app.rows(&sql).await;
        id(found.first().unwrap_or_else(|| panic!("{table} has no row: make one in `everything`"))[0].parse().unwrap())
    };
    // References to the tenant itself have one column. `schema.rs` checks them.
    let references = app.catalogue().await.references;
    for (table, Reference { from, table: other, to }) in
        references.iter().filter(|(_, reference)| reference.to.len() > 1)
    {
        if table == "sessions" && shares_redis() {
            continue; // the database has no sessions
        }
        assert_eq!((from.len(), to[1].as_str()), (2, "id"), "{table}: say here how to refer to a row of {other}");
        let (column, ours, theirs) = (&from[1], row_of(&a, other).await, row_of(&b, other).await);
        let which = format!("WHERE tenant_id = {tenant} AND {column} IS NOT NULL");
        let found = app.rows(&format!("SELECT '1' FROM {table} {which}")).await;
        assert!(
            !found.is_empty(),
            "no row has {table}.{column}: make one in `everything`, tests/api/support/fixtures.rs"
        );
        let update = |id| format!("UPDATE {table} SET {column} = {id} {which}");
        assert_eq!(refusal(run(&mut conn, &update(&ours)).await), None, "{table}.{column}");
        assert_eq!(refusal(run(&mut conn, &update(&theirs)).await), Some("foreign key"), "{table}.{column}");
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

/// The servers to test: that of this run and, with PostgreSQL, one with a role that row-level security does not bind.
/// Otherwise row-level security would hide a missing filter.
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

/// Everything that an answer reveals, without the headers that differ in each answer.
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
