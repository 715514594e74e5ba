//! A name with a blank at its end is a different name on every database. The usual collations of MariaDB ignore such
//! blanks.
use crate::support::fixtures::everything;
use crate::support::rows::run;
use crate::support::{Catalogue, Kind, TestApp};
use serde_json::json;

#[tokio::test]
async fn names_that_differ_by_a_blank_at_the_end_are_two_names() {
    let app = TestApp::alone().await;
    everything(&app).await;
    let parts = app.parts.clone();
    app.by_hand(async move { parts.verify_keys().await }).await.unwrap(); // this writes a check value
    app.run_jobs().await; // recurring jobs have unique keys
    let kind = app.database.kind;
    let Catalogue { tables, unique_texts, .. } = app.catalogue().await;
    assert!(!unique_texts.is_empty(), "the catalogue tells of no unique text");
    for (table, column) in &unique_texts {
        let quoted = |name: &str| if kind == Kind::Mariadb { format!("`{name}`") } else { format!("\"{name}\"") };
        let own = quoted(column);
        let first = format!("SELECT t.name FROM (SELECT min({own}) AS name FROM {table}) AS t");
        let oldest = format!("FROM {table} WHERE {own} = ({first}) LIMIT 1"); // a key may have more columns
        let found = app.rows(&format!("SELECT '1' {oldest}")).await.len();
        assert_eq!(found, 1, "{table} has no row to copy: make one in `everything`, support/fixtures.rs");
        // If the text is not part of the primary key, the copy has another primary key.
        let key = &tables[table].key;
        let id = key.last().filter(|_| !key.contains(column));
        let copy = |with: &str| {
            let value = |name: &String| match name {
                name if name == column => format!("concat({own}, '{with}')"),
                name if Some(name) == id => {
                    app.id(app.parts.env.uuid()) + if kind == Kind::Postgres { "::uuid" } else { "" }
                }
                name => quoted(name),
            };
            let columns = tables[table].columns.keys();
            let names = columns.clone().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
            let values = columns.map(value).collect::<Vec<_>>().join(", ");
            format!("INSERT INTO {table} ({names}) SELECT {values} {oldest}")
        };
        let mut conn = app.database.connect().await;
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
