//! Migrations: up and down on each kind of database, and by several servers at once.
use crate::schema::declared;
use crate::support::rows::{rows, run, text};
use crate::support::{Kind, TestApp, TestDatabase, shares_redis, until};
use bizcenter::config::DatabaseUrl;
use bizcenter::db::migrations::Step;
use bizcenter::db::{AnyConnection, migrations};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tables::Tables;

mod tables;

const FOLDERS: [&str; 3] = ["mysql", "postgres", "sqlite"];

/// The names of the migrations in a folder, the oldest first.
fn steps_of(folder: &str) -> Vec<String> {
    let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder).read_dir().unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn sql_of(folder: &str, step: &str, direction: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder).join(step).join(direction);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All migrations, as applied or as not applied.
fn all(applied: bool) -> Vec<Step> {
    steps_of("sqlite").into_iter().map(|name| Step { name, applied }).collect()
}

/// The tables of a database, except diesel's own.
async fn tables(conn: &mut AnyConnection) -> Vec<String> {
    let found = rows(
        conn,
        match conn {
            AnyConnection::Pg(_) => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
            AnyConnection::Mysql(_) => {
                "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY 1"
            }
            AnyConnection::Sqlite(..) => "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1",
        },
    );
    found.await.concat().into_iter().filter(|name| name != "__diesel_schema_migrations").collect()
}

/// Everything that the migrations have created: tables, columns, keys, indexes, policies.
async fn structure(conn: &mut AnyConnection) -> Vec<Vec<String>> {
    match conn {
        AnyConnection::Pg(_) => {
            let sql =
                "SELECT attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod), attnotnull::text
                       FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                       WHERE relnamespace = 'public'::regnamespace AND attnum > 0
                       UNION ALL SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), 'constraint'
                       FROM pg_constraint WHERE connamespace = 'public'::regnamespace
                       UNION ALL SELECT tablename::text, indexname::text, indexdef, 'index'
                       FROM pg_indexes WHERE schemaname = 'public'
                       UNION ALL SELECT tablename::text, policyname::text, qual, cmd FROM pg_policies
                       UNION ALL SELECT relname::text, relrowsecurity::text, relforcerowsecurity::text, 'row security'
                       FROM pg_class WHERE relnamespace = 'public'::regnamespace
                       ORDER BY 1, 2, 3, 4";
            rows(conn, sql).await
        }
        AnyConnection::Mysql(_) => {
            let mut found = vec![];
            for table in tables(conn).await {
                found.extend(rows(conn, &format!("SHOW CREATE TABLE `{table}`")).await);
            }
            found
        }
        AnyConnection::Sqlite(..) => {
            rows(conn, "SELECT tbl_name, name, coalesce(sql, 'automatic') FROM sqlite_schema ORDER BY 1, 2").await
        }
    }
}

/// Asserts that the migrations of all folders have created the same tables so far.
fn assert_alike(made: &[Tables; 3], step: &str, direction: &str) {
    let [mysql, postgres, sqlite] = made;
    let mut differences = mysql.differences("MariaDB", postgres, "PostgreSQL");
    differences.extend(mysql.differences("MariaDB", sqlite, "SQLite"));
    assert!(
        differences.is_empty(),
        "After {direction} of {step} the three databases should have the same tables, columns (by name, and whether they may \
         be null), constraints and indexes. But:\n- {}",
        differences.join("\n- ")
    );
}

#[test]
fn the_three_databases_have_the_same_steps() {
    let [mysql, postgres, sqlite] = FOLDERS.map(steps_of);
    let same = "each step has a folder of the same name in migrations/mysql, migrations/postgres and migrations/sqlite";
    assert!(!mysql.is_empty());
    assert_eq!(mysql, postgres, "{same}");
    assert_eq!(mysql, sqlite, "{same}");
    let mut made = [(); 3].map(|()| Tables::default());
    for step in &mysql {
        for (tables, folder) in made.iter_mut().zip(FOLDERS) {
            tables.apply(&sql_of(folder, step, "up.sql"));
        }
        assert_alike(&made, step, "up.sql");
    }
    assert!(made[0].len() > 20 && made[0].column_count() > 200, "{} tables were found", made[0].len());
    for step in mysql.iter().rev() {
        for (tables, folder) in made.iter_mut().zip(FOLDERS) {
            tables.apply(&sql_of(folder, step, "down.sql"));
        }
        assert_alike(&made, step, "down.sql");
    }
    assert_eq!(made[0].len(), 0, "down.sql of all steps leaves no table");
}

#[tokio::test(flavor = "multi_thread")]
async fn up_then_down_then_up_again_makes_the_same_tables() {
    let database = TestDatabase::create().await;
    let target = database.target();
    assert_eq!(migrations::status(&target).await.unwrap(), all(false));
    assert_eq!(migrations::up(&target).await.unwrap(), all(true));
    let mut conn = database.connect().await;
    let (made, at_first) = (tables(&mut conn).await, structure(&mut conn).await);
    // MariaDB sorts `_` after the letters.
    let (found, declared): (BTreeSet<_>, BTreeSet<_>) =
        (made.iter().cloned().collect(), declared(database.kind).into_keys().collect());
    assert_eq!(found, declared, "in the database, and in src/db/schema.rs");
    assert_eq!(migrations::up(&target).await.unwrap(), all(true));
    assert_eq!(structure(&mut conn).await, at_first, "a second `up` has nothing to do");

    let names = steps_of("sqlite");
    for left in (0..names.len()).rev() {
        let expected: Vec<_> = all(true).into_iter().take(left).chain(all(false).into_iter().skip(left)).collect();
        assert_eq!(migrations::down(&target).await.unwrap(), expected);
    }
    assert_eq!(tables(&mut conn).await, Vec::<String>::new());
    assert!(migrations::down(&target).await.is_err(), "there is no step left to take back");

    assert_eq!(migrations::up(&target).await.unwrap(), all(true));
    assert_eq!(structure(&mut conn).await, at_first);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_migrate_at_once_all_succeed() {
    let database = TestDatabase::create().await;
    let target = database.target();
    let [one, two, three] = std::array::from_fn(|_| migrations::up(&target));
    let (one, two, three) = tokio::join!(one, two, three);
    for steps in [one, two, three] {
        assert_eq!(steps.unwrap(), all(true));
    }
    let count = match database.kind {
        Kind::Mariadb => "SELECT CAST(count(*) AS CHAR) FROM __diesel_schema_migrations",
        _ => "SELECT CAST(count(*) AS text) FROM __diesel_schema_migrations",
    };
    assert_eq!(text(&mut database.connect().await, count).await, all(true).len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_over_its_migrations_lets_the_others_go_on() {
    let database = TestDatabase::create().await;
    let mut dying = database.connect().await;
    let lock = match database.kind {
        Kind::Postgres => "SELECT pg_advisory_lock(20261121)",
        Kind::Mariadb => "DO GET_LOCK('bizcenter.migrations', 60)",
        Kind::Sqlite => "BEGIN IMMEDIATE",
    };
    run(&mut dying, lock).await.unwrap();
    let target = database.target();
    let other = tokio::spawn(async move { migrations::up(&target).await });
    match database.kind {
        // SQLite does not show which statements wait for its file, so this gives the statement enough time to finish.
        Kind::Sqlite => tokio::time::sleep(Duration::from_millis(300)).await,
        Kind::Postgres | Kind::Mariadb => until("it waits", async || database.lock_waits().await > 0).await,
    }
    assert!(!other.is_finished(), "it must wait for its turn");
    drop(dying);
    assert_eq!(other.await.unwrap().unwrap(), all(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_when_its_database_is_migrated() {
    let empty = TestDatabase::create().await;
    let (url, target) = (DatabaseUrl::parse(&empty.url, empty.folder.path()).unwrap(), empty.target());
    let app = TestApp::with(move |config| config.database.url = url).await;
    for has_diesels_table in [false, true] {
        if has_diesels_table {
            migrations::status(&target).await.unwrap(); // this creates the table, without rows
        }
        let answer = app.readiness().await;
        assert_eq!(answer.error(), (503, "unavailable".to_owned()));
        assert_eq!(answer.detail(), json!({"migrations": ["are not all applied"]}), "{has_diesels_table}");
        app.visitor().get("/livez").expect(200).await;
    }
    migrations::up(&target).await.unwrap();
    let ready = app.readiness().await.expect(200).json();
    let cache = if shares_redis() { "up" } else { "unused" };
    assert_eq!(
        ready,
        json!({"status": "up", "database": "up", "cache": cache, "migrations": "up", "encryption": "up"})
    );
    app.tenant().await;

    for _ in steps_of("sqlite") {
        migrations::down(&target).await.unwrap();
    }
    assert_eq!(app.readiness().await.expect(503).detail(), json!({"migrations": ["are not all applied"]}));
}
