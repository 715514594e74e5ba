//! A name with a blank at its end is another name, on every database: MariaDB's usual collations pass over it.
use crate::support::rows::{rows, run};
use crate::support::{Kind, TestApp};
use crate::tenancy::tenant_with_everything;
use bizcenter::db::AnyConnection;
use serde_json::json;

/// Each text that must be unique: its table, the column, and those that must differ besides, as ids.
const UNIQUE: [(&str, &str, &[&str]); 8] = [
    ("tenants", "slug", &["id"]),
    ("logins", "name", &[]),
    ("idempotency_keys", "key", &[]),
    ("invitations", "email", &["id"]),
    ("meeting_attendees", "email", &["id"]),
    ("jobs", "unique_key", &["id"]),
    ("cache_generations", "kind", &[]),
    ("key_checks", "master_key_id", &[]),
];

/// The unique texts of the catalogue, as in [`UNIQUE`]; ids are not among them.
async fn unique_texts(conn: &mut AnyConnection, kind: Kind) -> Vec<(String, String)> {
    let sql = match kind {
        Kind::Postgres => {
            "SELECT DISTINCT i.indrelid::regclass::text, a.attname::text FROM pg_index i
             JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
             WHERE i.indisunique AND a.atttypid IN ('text'::regtype, 'varchar'::regtype) ORDER BY 1, 2"
        }
        Kind::Mariadb => {
            "SELECT DISTINCT s.table_name, s.column_name FROM information_schema.statistics s
             JOIN information_schema.columns c USING (table_schema, table_name, column_name)
             WHERE s.table_schema = database() AND s.non_unique = 0 AND c.collation_name IS NOT NULL ORDER BY 1, 2"
        }
        Kind::Sqlite => {
            "SELECT DISTINCT t.name, c.name FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_info(i.name) x,
                    pragma_table_info(t.name) c
             WHERE t.type = 'table' AND i.\"unique\" = 1 AND c.cid = x.cid AND c.type = 'TEXT' ORDER BY 1, 2"
        }
    };
    let found = rows(conn, sql).await.into_iter().map(|row| (row[0].clone(), row[1].clone()));
    found.filter(|(table, _)| table != "__diesel_schema_migrations").collect()
}

#[tokio::test]
async fn no_unique_text_is_missing_here() {
    let app = TestApp::start().await;
    let found = unique_texts(&mut app.database.connect().await, app.database.kind).await;
    let mut listed: Vec<_> = UNIQUE.map(|(table, column, _)| (table.to_owned(), column.to_owned())).into();
    listed.sort();
    assert_eq!(found, listed);
}

#[tokio::test]
async fn names_that_differ_by_a_blank_at_the_end_are_two_names() {
    let app = TestApp::alone().await;
    let kind = app.database.kind;
    let tenant = tenant_with_everything(&app).await;
    let meeting = tenant.owner.meeting(json!({})).await;
    let attendees = format!("/api/v1/meetings/{}/attendees", meeting["id"].as_str().unwrap());
    tenant.owner.post(&attendees).json(&json!({"email": "guest@example.com"})).expect(201).await;
    let parts = app.parts.clone();
    app.by_hand(async move { parts.verify_keys().await }).await.unwrap(); // writes a check value
    app.run_jobs().await; // the regular ones have unique keys
    let mut conn = app.database.connect().await;
    for (table, column, ids) in UNIQUE {
        let quoted = |name: &str| if kind == Kind::Mariadb { format!("`{name}`") } else { format!("\"{name}\"") };
        let columns = match kind {
            Kind::Sqlite => format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"),
            Kind::Postgres => format!(
                "SELECT column_name::text FROM information_schema.columns
                 WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
            ),
            Kind::Mariadb => format!(
                "SELECT column_name FROM information_schema.columns
                 WHERE table_schema = database() AND table_name = '{table}' ORDER BY ordinal_position"
            ),
        };
        let columns = rows(&mut conn, &columns).await.concat();
        let own = quoted(column);
        let oldest =
            format!("FROM {table} WHERE {own} = (SELECT t.name FROM (SELECT min({own}) AS name FROM {table}) AS t)");
        assert_eq!(rows(&mut conn, &format!("SELECT '1' {oldest}")).await.len(), 1, "{table} has a row to copy");
        let copy = |with: &str| {
            let value = |name: &String| match name.as_str() {
                name if name == column => format!("concat({own}, '{with}')"),
                name if ids.contains(&name) => {
                    app.id(app.parts.env.uuid()) + if kind == Kind::Postgres { "::uuid" } else { "" }
                }
                name => quoted(name),
            };
            let names = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
            let values = columns.iter().map(value).collect::<Vec<_>>().join(", ");
            format!("INSERT INTO {table} ({names}) SELECT {values} {oldest}")
        };
        let same = copy("");
        assert!(run(&mut conn, &same).await.is_err(), "{same} was let through");
        let with_blank = copy(" ");
        run(&mut conn, &with_blank).await.unwrap_or_else(|error| panic!("{with_blank}: {error}"));
    }
}

#[tokio::test]
async fn a_filter_tells_them_apart() {
    let tenant = TestApp::start().await.tenant().await;
    for tag in ["Acme", "Acme "] {
        tenant.owner.task(json!({"title": "x", "tags": [tag]})).await;
    }
    let tagged = |tag: &'static str| {
        let call = tenant.owner.get(&format!("/api/v1/tasks?tag={tag}"));
        async move { call.expect(200).await.json()["items"].as_array().unwrap().clone() }
    };
    assert_eq!(tagged("Acme").await.iter().map(|task| task["tags"].clone()).collect::<Vec<_>>(), [json!(["Acme"])]);
    assert_eq!(tagged("Acme%20").await.iter().map(|task| task["tags"].clone()).collect::<Vec<_>>(), [json!(["Acme "])]);
}
