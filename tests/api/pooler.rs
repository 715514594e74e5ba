//! Servers behind PgBouncer in transaction mode. PgBouncer uses each session of PostgreSQL for one transaction after
//! another, of several servers and commands. What one of them leaves in a session, another one would find there.
use crate::cli::{bizcenter, run, started};
use crate::schema::declared;
use crate::support::rows::rows;
use crate::support::{Kind, Person, Tenant, TestApp, TestDatabase, is_for, not_for_this_run, shares_redis, until};
use bizcenter::base::pooler::Pooler;
use bizcenter::db::{ReadTx, RunQueryDsl, System};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use secrecy::ExposeSecret;
use serde_json::json;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const ME: &str = "/api/v1/auth/me";
const TASKS: &str = "/api/v1/tasks";

/// An empty database behind PgBouncer. `None` if this run tests another kind of database, or would only repeat another
/// run.
async fn pooled_database() -> Option<TestDatabase> {
    if shares_redis() {
        not_for_this_run("sessions in Redis change nothing between the server and the pooler");
        return None;
    }
    if !is_for(Kind::Postgres, "the pooler is PostgreSQL's") {
        return None;
    }
    Some(TestDatabase::create_behind(Pooler::Transaction, "").await)
}

/// The limit of PgBouncer's sessions for one database and role.
fn pool_size() -> usize {
    std::env::var("TEST_PGBOUNCER_SESSIONS").unwrap().parse().unwrap()
}

/// All sessions that PgBouncer has for a database. Each is held by a transaction, and all these transactions are open
/// at once.
struct Sessions(Vec<Client>);

impl Sessions {
    async fn of(database: &TestDatabase) -> Self {
        let mut sessions = vec![];
        for _ in 0..pool_size() {
            let (client, line) = tokio_postgres::connect(&database.url, NoTls).await.unwrap();
            tokio::spawn(line);
            client.simple_query("BEGIN").await.unwrap();
            sessions.push(client);
        }
        let sessions = Self(sessions);
        let mut ids = sessions.texts("SELECT pg_backend_pid()").await;
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), pool_size(), "each transaction has a session of its own");
        sessions
    }

    /// The text that a query finds in each session. The query is not prepared, because it looks for prepared
    /// statements.
    async fn texts(&self, sql: &str) -> Vec<String> {
        let mut texts = vec![];
        for client in &self.0 {
            let answer = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            texts.extend(answer.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
                _ => None,
            }));
        }
        assert_eq!(texts.len(), self.0.len(), "{sql}");
        texts
    }

    /// Ends the transactions, so that the sessions are free again.
    async fn give_back(self) {
        for client in &self.0 {
            client.simple_query("COMMIT").await.unwrap();
        }
    }
}

/// Asserts that the servers left nothing in any session: no setting, no statement, no lock, nor anything else that a
/// session can keep.
async fn assert_nothing_is_left(database: &TestDatabase) {
    // PgBouncer itself sets the settings that a client sends when it connects.
    let set =
        "SELECT coalesce(string_agg(name || ' = ' || setting, ', '), '') FROM pg_settings WHERE source = 'session'
               AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone',
                                'standard_conforming_strings', 'IntervalStyle')
               AND name NOT LIKE 'transaction%'";
    let sessions = Sessions::of(database).await;
    for (sql, expected) in [
        (set, ""),
        ("SELECT coalesce(current_setting('app.system', true), '')", ""),
        ("SELECT coalesce(current_setting('app.tenant_id', true), '')", ""),
        ("SELECT current_setting('statement_timeout')", "0"),
        ("SELECT current_setting('idle_in_transaction_session_timeout')", "0"),
        ("SELECT coalesce(string_agg(statement, '; '), '') FROM pg_prepared_statements", ""),
        ("SELECT coalesce(string_agg(channel, ', '), '') FROM pg_listening_channels() AS channel", ""),
        ("SELECT coalesce(string_agg(relname, ', '), '') FROM pg_class WHERE relpersistence = 't'", ""),
        (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            "0",
        ),
    ] {
        assert_eq!(sessions.texts(sql).await, vec![expected; pool_size()], "{sql}");
    }
    sessions.give_back().await;
}

/// A server in a process of its own. The names of the driver's statements are the same in each process.
async fn server(app: &TestApp) -> (Child, TestApp) {
    let mut command = bizcenter(app.database.folder.path(), &[]);
    command
        .env("DATABASE_URL", &app.database.url)
        .env("JWT_SECRET", app.config.auth.jwt_secret.expose_secret())
        .env("CONTRACT_ENCRYPTION_KEY", app.config.encryption.keys[0].secret.expose_secret())
        .env("SMTP_URL", app.config.mail.smtp_url.as_ref().unwrap().expose_secret())
        .env("BIZCENTER_AUTH__BCRYPT_COST", "4")
        .env("BIZCENTER_RATE_LIMIT__ENABLED", "false")
        .env("BIZCENTER_JOBS__POLL_MS", "100");
    let (child, address) = started(&mut command, "Documentation at http://").await;
    let mut app = app.clone();
    app.address = address.trim_end_matches("/docs").parse().unwrap();
    (child, app)
}

/// Runs a command with this setting for the pooler.
async fn command(database: &TestDatabase, pooler: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command: Command = bizcenter(database.folder.path(), arguments);
    run(command.env("DATABASE_URL", &database.url).env("DATABASE_POOLER", pooler)).await
}

/// Ordinary requests: half of them go to one server, half to the other.
async fn a_round(here: &Person, there: &Person, name: &str) {
    let create = |person: &Person| {
        person.post(TASKS).header("idempotency-key", name).json(&json!({"title": name, "tags": ["a", "b"]}))
    };
    let task = create(here).expect(201).await;
    let again = create(there).expect(201).await;
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &task.body));
    let path = format!("{TASKS}/{}", task.json()["id"].as_str().unwrap());
    there.patch(&path).json(&json!({"status": "done"})).expect(200).await;
    assert_eq!(here.get(&path).expect(200).await.json()["version"], 2);
    there.patch(&path).header("if-match", "\"1\"").json(&json!({"status": "todo"})).expect(412).await; // rolled back
    let contract = there.contract(json!({"title": name, "amount": "12.34"})).await;
    let contract = format!("/api/v1/contracts/{}", contract["id"].as_str().unwrap());
    assert!(!here.get(&contract).expect(200).await.json()["amount"].is_null());
    here.item(json!({"title": name})).await;
    there.get(&format!("{TASKS}?q={name}&sort=-priority&tag=a")).expect(200).await;
    here.get("/api/v1/audit-logs").expect(200).await;
    here.delete(&path).header("if-match", "\"2\"").expect(204).await;
    there.get(&path).expect(404).await;
}

/// Exports run one after the other, because a user may have only two at once.
async fn exports(here: &Person, there: &Person) {
    for _ in 0..10 {
        let export = here.get(&format!("{TASKS}/export?format=ndjson")).expect(200).await.text();
        assert!(export.contains("Exported"), "{export}");
        there.get("/api/v1/users/me/export").expect(200).await;
    }
}

/// Sends requests from clients that do not wait for the answers, so that statements are stopped midway.
async fn hang_up(person: &Person) {
    for timeouts in 0..25 {
        let change = person.clone().post(TASKS).json(&json!({"title": "Given up"})).send();
        let _ = timeout(Duration::from_millis(timeouts), change).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_its_sessions_and_leave_nothing_in_them() {
    let Some(database) = pooled_database().await else { return };
    let app = TestApp::on(database, |_| {}).await;
    let ((_first, one), (_second, two)) = (server(&app).await, server(&app).await);
    let tenants = [one.tenant().await, two.tenant().await];
    let [here, there] = tenants.each_ref().map(|tenant| (tenant.owner.at(&one), tenant.owner.at(&two)));
    let conflict = json!({"email": here.0.email(), "password": "correct horse battery", "name": "Again"});
    two.visitor().post("/api/v1/auth/register").json(&conflict).expect(409).await;
    here.0.task(json!({"title": "Exported"})).await;

    let people = [here.clone(), there.clone(), (here.1.clone(), here.0.clone()), (there.1.clone(), there.0.clone())];
    let rounds = stream::iter(0..40).map(|n| {
        let (here, there) = &people[n % 4];
        async move { a_round(here, there, &format!("round-{n}")).await }
    });
    let migrations = async {
        for (pooler, what) in [("transaction", "status"), ("none", "status"), ("transaction", "up"), ("none", "up")] {
            let (code, out, error) = command(&app.database, pooler, &["migrate", what]).await;
            assert_eq!((code, out.contains("applied") && !out.contains("missing")), (0, true), "{out}{error}");
        }
    };
    let sign_ins = async {
        for turn in 0..10 {
            let person = [&one, &two][turn % 2].visitor().sign_in(&here.0.email()).await;
            person.at(&two).get(ME).expect(200).await;
            let refresh = json!({"refresh_token": person.refresh_token()});
            person.at(&one).post("/api/v1/auth/refresh").json(&refresh).expect(200).await;
        }
    };
    let hung_up = async { join_all([&here.0, &here.1, &there.0].map(hang_up)).await };
    let exports = exports(&here.0, &here.1);
    tokio::join!(rounds.buffer_unordered(20).collect::<()>(), migrations, sign_ins, exports, hung_up);

    jobs_are_done(&app, &tenants, &one).await;
    let count =
        "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let sessions: usize = app.rows(count).await.concat().concat().parse().unwrap();
    assert!((1..=pool_size()).contains(&sessions), "{sessions} sessions for three servers");
    assert_nothing_is_left(&app.database).await;
}

/// Waits until mail was sent and the audit log is sealed. Sealing reads the rows of all tenants.
async fn jobs_are_done(app: &TestApp, tenants: &[Tenant], server: &TestApp) {
    let forgot = "/api/v1/auth/password/forgot";
    for tenant in tenants {
        server.visitor().post(forgot).json(&json!({"email": tenant.owner.email()})).expect(202).await;
    }
    let unsealed = "SELECT count(*)::text FROM audit_logs WHERE seq IS NULL";
    let resets = |tenant: &Tenant| app.mailbox.to(&tenant.owner.email()).iter().any(|mail| mail.text.contains("bcp_"));
    let are_done = async || tenants.iter().all(resets) && app.rows(unsealed).await == [["0"]];
    until("the jobs are done", are_done).await;
}

/// The pooler forwards the request to cancel a statement, and continues to work after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_leaves_no_statement_running() {
    let Some(database) = pooled_database().await else { return };
    let app = TestApp::on(database, |_| {}).await;
    let owner = app.tenant().await.owner;
    let task = owner.task(json!({"title": "Locked"})).await;
    let id = task["id"].as_str().unwrap();
    let (path, change) = (format!("{TASKS}/{id}"), json!({"title": "Given up"}));
    let held = app.lock_row("tasks", id.parse().unwrap()).await;
    for _ in 0..6 {
        tokio::select! {
            answers = join_all((0..3).map(|_| owner.patch(&path).json(&change).send())) => panic!("the task is locked: {answers:?}"),
            () = app.until_waiting_for_lock(3) => {}
        }
        app.until_nothing_waits_for_lock().await; // otherwise statements run on without a client
    }
    held.roll_back().await;
    owner.patch(&path).json(&change).expect(200).await;
    assert_nothing_is_left(&app.database).await;
}

/// The operator may have forgotten to tell the command that there is a pooler.
#[tokio::test(flavor = "multi_thread")]
async fn migrating_leaves_nothing_in_a_session_whatever_is_set() {
    let Some(database) = pooled_database().await else { return };
    for pooler in ["none", "transaction"] {
        for arguments in [&["migrate", "status"][..], &["migrate", "up"], &["migrate", "down", "--yes"]] {
            let (code, out, error) = command(&database, pooler, arguments).await;
            assert_eq!(code, 0, "{out}{error}");
            assert_nothing_is_left(&database).await;
        }
        let (code, _, _) = command(&database, pooler, &["migrate", "up"]).await;
        assert_eq!(code, 0);
        while command(&database, pooler, &["migrate", "down", "--yes"]).await.0 == 0 {}
        assert_nothing_is_left(&database).await; // the last command failed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_programs_left_in_a_session_is_no_obstacle() {
    let Some(database) = pooled_database().await else { return };
    let app = TestApp::on(database, |_| {}).await;
    let sessions = Sessions::of(&app.database).await;
    for client in &sessions.0 {
        let leave = |n| format!("PREPARE s{n} AS SELECT 'of another program'; ");
        let left: String = (0..300).map(leave).collect();
        client.simple_query(&left).await.unwrap();
        client.simple_query("SET app.system = 'on'").await.unwrap();
    }
    sessions.give_back().await;
    let (_child, server) = server(&app).await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    join_all((0..30).map(|n| tenant.owner.task(json!({"title": format!("{n}")})))).await;
    for n in 0..30 {
        // Row-level security applies, although `app.system` was left on in the session.
        assert_eq!(visible_tasks(&app, [&tenant, &other][n % 2]).await, [30, 0][n % 2]);
    }
}

/// How many tasks the database shows to a query for a tenant that has no condition on the tenant.
async fn visible_tasks(app: &TestApp, tenant: &Tenant) -> i64 {
    let reader = System::of(tenant.id.into());
    let count = async move |tx: &mut ReadTx| {
        let tasks = diesel::dsl::sql::<diesel::sql_types::BigInt>("(SELECT count(*) FROM tasks)");
        #[expect(clippy::disallowed_methods, reason = "a query as nobody should write it")]
        let count: i64 = diesel::select(tasks).get_result(tx).await?;
        Ok(count)
    };
    let db = app.parts.db.clone();
    app.by_hand(async move { db.read(&reader, count).await.unwrap() }).await
}

/// All sessions are in use by other clients, and none becomes free.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_gets_no_session_is_told_in_time() {
    let Some(database) = pooled_database().await else { return };
    let app = TestApp::on(database, |config| config.database.acquire_timeout = Duration::from_secs(1)).await;
    let owner = app.tenant().await.owner;
    let sessions = Sessions::of(&app.database).await;
    let began = Instant::now();
    for answer in join_all((0..20).map(|_| owner.get(ME).send())).await {
        assert_eq!(answer.error(), (503, "unavailable".into()));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    sessions.give_back().await;
    for answer in join_all((0..20).map(|_| owner.get(ME).send())).await {
        answer.expect(200);
    }
    assert_nothing_is_left(&app.database).await;
}

/// The driver looks up any other type by a prepared statement, which it keeps as long as its connection.
#[tokio::test]
async fn no_column_has_a_type_that_the_driver_must_look_up() {
    if !is_for(Kind::Postgres, "this is about PostgreSQL's driver") {
        return;
    }
    const FIRST_OF_NO_CATALOGUE: u32 = 10_000; // below this are the types that PostgreSQL assigns by hand
    let sql = format!(
        "SELECT attrelid::regclass::text, attname::text, (atttypid >= {FIRST_OF_NO_CATALOGUE})::text
         FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
           AND relname <> '__diesel_schema_migrations'"
    );
    let columns = rows(&mut TestApp::start().await.database.connect().await, &sql).await;
    let of_schema: usize = declared(Kind::Postgres).values().map(|table| table.columns.len()).sum();
    assert_eq!(columns.len(), of_schema, "the columns that were looked at, and those of src/db/schema.rs");
    let others: Vec<_> = columns.iter().filter(|column| column[2] != "false").collect();
    assert!(others.is_empty(), "{others:?}");
}
