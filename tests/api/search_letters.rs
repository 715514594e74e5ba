//! Searches ignore case in all scripts, even where PostgreSQL's own folding knows only ASCII.
use crate::support::{Kind, Person, TestApp, TestDatabase, is_for};
use bizcenter::config::DatabaseUrl;
use bizcenter::db::migrations;
use bizcenter::db::search::Folding;
use serde_json::json;

const SMALL: &str = "%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82"; // привет

/// The number of records that a list finds.
async fn found(person: &Person, path: &str) -> i64 {
    person.get(path).expect(200).await.json()["meta"]["total"].as_i64().unwrap()
}

/// Asserts that every list and filter with a search finds the letters.
async fn assert_found(app: &TestApp) {
    let tenant = app.tenant().await;
    let owner = &tenant.owner;
    owner.task(json!({"title": "ПРИВЕТ, мир"})).await;
    owner.task(json!({"title": "Other", "description": "и Привет"})).await;
    owner.task(json!({"title": "Nothing"})).await;
    owner.item(json!({"title": "ПРИВЕТ"})).await;
    owner.meeting(json!({"title": "ПРИВЕТ", "location": "ПРИВЕТ"})).await;
    owner.contract(json!({"title": "Один", "counterparty": "ПРИВЕТ"})).await;
    owner.patch("/api/v1/users/me").json(&json!({"name": "ПРИВЕТ Ольга"})).expect(200).await;
    for (path, count) in [
        ("/api/v1/tasks?q=", 2),
        ("/api/v1/items?q=", 1),
        ("/api/v1/meetings?q=", 1),
        ("/api/v1/contracts?q=", 1),
        ("/api/v1/contracts?counterparty=", 1),
        ("/api/v1/users?q=", 1),
    ] {
        assert_eq!(found(owner, &format!("{path}{SMALL}")).await, count, "{path}");
        assert_eq!(found(owner, &format!("{path}{SMALL}{SMALL}")).await, 0, "{path}");
    }
    assert!(found(owner, &format!("/api/v1/audit-logs?q={SMALL}")).await > 0);
    let exported =
        owner.get(&format!("/api/v1/tasks/export?format=csv&fields=title&q={SMALL}")).expect(200).await.text();
    assert!(exported.contains("ПРИВЕТ, мир") && !exported.contains("Nothing"), "{exported}");
}

async fn folding(app: &TestApp) -> Folding {
    let db = app.parts.db.clone();
    app.by_hand(async move { db.folding().await }).await.unwrap()
}

#[tokio::test]
async fn large_letters_are_found_by_small_ones() {
    let app = TestApp::alone().await;
    assert_eq!(folding(&app).await, Folding::Own, "an ordinary database pays for no collation");
    assert_found(&app).await;
}

#[tokio::test]
async fn large_letters_are_found_where_postgres_knows_only_ascii() {
    if !is_for(Kind::Postgres, "the other databases have no LC_CTYPE") {
        return;
    }
    let database = TestDatabase::create_with("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'").await;
    migrations::up(&database.target()).await.unwrap();
    let url = DatabaseUrl::parse(&database.url, database.folder.path()).unwrap();
    let app = TestApp::with(move |config| config.database.url = url).await;
    assert_found(&app).await; // the first search finds out by itself how the database folds case
    assert!(matches!(folding(&app).await, Folding::By(_)));
}
