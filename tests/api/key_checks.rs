//! An encryption key that differs from the earlier one with the same id: the server notices this before it encrypts
//! anything with the new key.
use crate::cli::{bizcenter, run, serve};
use crate::support::rows::{rows, run as run_sql};
use crate::support::{TestApp, TestDatabase};
use bizcenter::base::key_ring::MasterKey;
use bizcenter::config::{ConfigError, EncryptionConfig};
use serde_json::json;
use std::path::Path;
use tokio::process::Command;

const KEY: &str = "the encryption key of all the tests";
const OTHER: &str = "not the key of yesterday: 8b1d7e5f3a9c2064";
const NEW: &str = "the second master key: 5f3a9c20648b1d7e";

/// Settings with these master keys, as ids and secrets. The first one is active.
fn ring(keys: &[(&str, &str)]) -> EncryptionConfig {
    let key = |(id, secret): &(&str, &str)| MasterKey { id: (*id).to_owned(), secret: (*secret).into() };
    EncryptionConfig { keys: keys.iter().map(key).collect(), active: keys[0].0.to_owned() }
}

/// A second server on the same database that has these keys.
async fn with_keys(app: &TestApp, keys: &[(&str, &str)]) -> TestApp {
    let encryption = ring(keys);
    app.replica_with(|config| config.encryption = encryption).await
}

/// Runs the check of the keys that a server runs when it starts.
async fn verify(app: &TestApp) -> anyhow::Result<()> {
    let parts = app.parts.clone();
    app.by_hand(async move { parts.verify_keys().await }).await
}

/// The ids of the master keys with a check value.
async fn known(database: &TestDatabase) -> Vec<String> {
    rows(&mut database.connect().await, "SELECT master_key_id FROM key_checks ORDER BY 1").await.concat()
}

fn command(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = bizcenter(database.folder.path(), arguments);
    command.env("DATABASE_URL", &database.url).env("PORT", "0");
    command
}

#[track_caller]
fn assert_refused((code, out, error): (i32, String, String), id: &str, setting: &str) {
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    let told = format!("{setting}: the key {id} is another one than this database is encrypted under");
    assert!(error.contains(&told), "{error}");
    for secret in [KEY, OTHER, NEW] {
        assert!(!error.contains(secret), "{error}");
    }
}

/// What the operator sees if the data folder has lost its secrets, but the database has not.
#[tokio::test]
async fn the_server_does_not_start_with_another_key_than_yesterdays() {
    let database = TestDatabase::create().await;
    let seed = ["seed", "--users", "5", "--tasks", "1", "--items", "0", "--meetings", "0", "--contracts", "3"];
    let (code, _, error) = run(&mut command(&database, &seed)).await;
    assert_eq!(code, 0, "{error}");
    assert_eq!(known(&database).await, ["default"]);
    let file = database.folder.path().join("data/secrets/encryption_key");
    let yesterdays = std::fs::read_to_string(&file).unwrap();

    std::fs::remove_file(&file).unwrap();
    assert_refused(run(&mut command(&database, &[])).await, "default", "encryption.key");
    let todays = std::fs::read_to_string(&file).unwrap();
    assert_ne!(todays, yesterdays, "development has made a new one");
    for arguments in
        [&seed[..], &["keys", "rotate"], &["audit", "verify"], &["create-tenant", "--slug", "acme", "--name", "Acme"]]
    {
        assert_refused(run(&mut command(&database, arguments)).await, "default", "encryption.key");
    }
    let (code, out, error) = run(&mut command(&database, &["keys", "status"])).await;
    assert!(code == 1 && out.contains("does not open") && error.contains("default"), "{out}{error}");

    std::fs::write(&file, &yesterdays).unwrap();
    let (child, address) = serve(&database).await;
    let ready: serde_json::Value = reqwest::get(format!("{address}/readyz")).await.unwrap().json().await.unwrap();
    assert_eq!(ready["encryption"], "up");
    drop(child);
    let (code, out, error) = run(&mut command(&database, &["keys", "status"])).await;
    assert_eq!((code, out.trim_end()), (0, "default  active         1 data key  opens"), "{error}");

    // The new key together with the earlier one, under an id of its own.
    std::fs::write(database.folder.path().join("new"), &todays).unwrap();
    let mut both = command(&database, &["keys", "status"]);
    both.env("BIZCENTER_ENCRYPTION__KEYS", r#"[{"id": "new", "key_file": "new"}]"#)
        .env("BIZCENTER_ENCRYPTION__ACTIVE", "new")
        .env("CONTRACT_ENCRYPTION_KEY", &yesterdays);
    let (code, out, error) = run(&mut both).await;
    assert!(code == 0 && out.contains("unknown: nothing was encrypted under it yet"), "{out}{error}");
}

/// A database from before check values were introduced. The first start after the update may have the wrong key.
#[tokio::test]
async fn a_wrong_key_is_never_taken_for_the_right_one() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let contract = tenant.owner.contract(json!({"amount": "5.00"})).await;
    let wrong = with_keys(&app, &[("default", OTHER)]).await;
    for _ in 0..2 {
        let refused = verify(&wrong).await.unwrap_err();
        let ConfigError { problems } = refused.downcast_ref::<ConfigError>().unwrap();
        assert_eq!((problems.len(), problems[0].setting.as_str()), (1, "encryption.key"));
        assert_eq!(known(&app.database).await, [""; 0], "nothing is noted of it");
    }
    verify(&app).await.unwrap();
    assert_eq!(known(&app.database).await, ["default"]);
    verify(&app).await.unwrap();
    verify(&wrong).await.unwrap_err();
    let path = format!("/api/v1/contracts/{}", contract["id"].as_str().unwrap());
    assert_eq!(tenant.owner.get(&path).expect(200).await.json()["amount"], "5.00");
}

#[tokio::test]
async fn of_two_first_servers_with_different_keys_one_starts() {
    let app = TestApp::alone().await;
    let other = with_keys(&app, &[("default", OTHER)]).await;
    let (one, two) = tokio::join!(verify(&app), verify(&other));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(known(&app.database).await, ["default"]);
    let (again, and_again) = tokio::join!(verify(&app), verify(&other));
    assert_eq!((again.is_ok(), and_again.is_ok()), (one.is_ok(), two.is_ok()));
}

#[tokio::test]
async fn only_keys_that_encrypt_or_have_opened_something_are_noted() {
    let app = TestApp::alone().await;
    let later = with_keys(&app, &[("default", KEY), ("new", NEW)]).await;
    verify(&later).await.unwrap();
    assert_eq!(known(&app.database).await, ["default"], "the new one is not in use yet");
    verify(&with_keys(&app, &[("default", KEY), ("new", OTHER)]).await).await.unwrap();
    verify(&with_keys(&app, &[("new", NEW), ("default", KEY)]).await).await.unwrap();
    assert_eq!(known(&app.database).await, ["default", "new"]);
    verify(&with_keys(&app, &[("default", KEY), ("new", OTHER)]).await).await.unwrap_err();
}

#[tokio::test]
async fn a_running_server_that_lacks_a_key_in_use_is_not_ready() {
    let app = TestApp::alone().await;
    verify(&app).await.unwrap();
    assert_eq!(app.readiness().await.expect(200).json()["encryption"], "up");
    let other = with_keys(&app, &[("new", NEW), ("default", KEY)]).await;
    verify(&other).await.unwrap();
    assert_eq!(app.readiness().await.expect(200).json()["encryption"], "up", "nothing is encrypted under it yet");
    let there = other.tenant().await;
    let contract = there.owner.contract(json!({"amount": "5.00"})).await;
    let path = format!("/api/v1/contracts/{}", contract["id"].as_str().unwrap());

    there.owner.at(&app).get(&path).expect(500).await;
    let answer = app.readiness().await.expect(503);
    assert_eq!(answer.error().1, "unavailable");
    assert_eq!(answer.detail(), json!({"encryption": ["is down, because a key does not decrypt the data"]}));
    assert!(!answer.text().contains("new"), "ids are for the log: {}", answer.text());
    assert_eq!(other.readiness().await.expect(200).json()["encryption"], "up");
    app.visitor().get("/livez").expect(200).await;

    let wrong = with_keys(&app, &[("new", OTHER), ("default", KEY)]).await;
    assert!(wrong.readiness().await.expect(503).detail()["encryption"].is_array(), "another one under its id");
}

#[tokio::test]
async fn a_look_at_the_keys_costs_the_database_little() {
    let app = TestApp::alone().await;
    verify(&app).await.unwrap();
    app.readiness().await.expect(200);
    // The server looks up the keys in use once a minute, so it does not see at once what another program changes.
    let tenant = app.tenant().await;
    tenant.owner.contract(json!({"amount": "1"})).await;
    app.run("UPDATE data_keys SET master_key_id = 'gone'").await;
    app.readiness().await.expect(200);
    let contract = tenant.owner.post("/api/v1/contracts").json(&json!({
        "title": "Managed SOC", "counterparty": "Acme", "start_date": "2026-01-01", "end_date": "2026-12-31", "amount": "2",
    }));
    contract.expect(500).await;
    app.readiness().await.expect(503);
}

/// The command `keys`, with the first key as `default` and the second one as `new`, which is active.
fn keys(app: &TestApp, old: &str, what: &[&str]) -> Command {
    let folder: &Path = app.database.folder.path();
    std::fs::write(folder.join("new"), NEW).unwrap();
    let mut command = command(&app.database, &[&["keys"], what].concat());
    command
        .env("CONTRACT_ENCRYPTION_KEY", old)
        .env("BIZCENTER_ENCRYPTION__KEYS", r#"[{"id": "new", "key_file": "new"}]"#)
        .env("BIZCENTER_ENCRYPTION__ACTIVE", "new");
    command
}

#[tokio::test]
async fn the_state_of_all_keys_is_listed() {
    let app = TestApp::alone().await;
    for _ in 0..2 {
        app.tenant().await.owner.contract(json!({"amount": "1"})).await;
    }
    let (code, out, _) = run(&mut keys(&app, KEY, &["status"])).await;
    let lines = [
        "new      active         0 data keys  unknown: nothing was encrypted under it yet",
        "default                 2 data keys  opens",
    ];
    assert_eq!((code, out.lines().collect::<Vec<_>>()), (0, lines.to_vec()));
    let (code, out, error) = run(&mut keys(&app, OTHER, &["status"])).await;
    assert!(code == 1 && out.contains("2 data keys  does not open: the settings have another key"), "{out}");
    assert!(error.contains("not all opens that is encrypted under default"), "{error}");
    assert!(!(out + &error).contains(OTHER));
    let gone = format!("UPDATE data_keys SET master_key_id = 'gone' WHERE tenant_id = {}", first_tenant(&app).await);
    app.run(&gone).await;
    let (code, out, error) = run(&mut keys(&app, KEY, &["status"])).await;
    assert!(code == 1 && out.contains("1 data key  does not open: the settings have no such key"), "{out}");
    assert!(error.contains("under gone"), "{error}");
    let (code, out, error) = run(&mut keys(&app, KEY, &["rotate"])).await;
    assert!(code == 1 && error.contains("data keys under gone") && out.is_empty(), "{out}{error}");
}

/// The id of a tenant with a data key, as an SQL literal.
async fn first_tenant(app: &TestApp) -> String {
    let id = format!("SELECT {} FROM data_keys ORDER BY 1", app.id_column("tenant_id"));
    app.id(app.rows(&id).await[0][0].parse().unwrap())
}

/// Two keys with one id, from before keys were verified. A rotation must not skip the data keys that do not decrypt.
#[tokio::test]
async fn a_rotation_fails_on_keys_that_do_not_open() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    tenant.owner.contract(json!({"amount": "1"})).await;
    let wrong = with_keys(&app, &[("default", OTHER)]).await;
    let other = wrong.tenant().await;
    other.owner.contract(json!({"amount": "2"})).await;
    verify(&app).await.unwrap(); // one of the data keys decrypts
    let mut same = command(&app.database, &["keys", "rotate"]);
    for rotate in [same.env("CONTRACT_ENCRYPTION_KEY", KEY), &mut keys(&app, KEY, &["rotate"])] {
        let (code, out, error) = run(rotate).await;
        assert_eq!(code, 1, "{out}{error}");
        assert!(error.contains("a data key under the master key default does not open"), "{error}");
        assert!(error.contains("1 of 2 tenants are not done: keep the old key"), "{error}");
    }
    let (code, out, _) = run(&mut keys(&app, KEY, &["status"])).await;
    assert!(code == 1 && out.contains("1 data key  opens all but 1 of them"), "{out}");
    let state = format!("SELECT master_key_id FROM data_keys WHERE tenant_id = {}", app.id(other.id));
    assert_eq!(app.rows(&state).await, [["default"]], "it is left as it was");
}

#[tokio::test]
async fn an_id_is_free_again_after_a_rotation() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    tenant.owner.contract(json!({"amount": "1"})).await;
    verify(&app).await.unwrap();
    let (code, out, error) = run(&mut keys(&app, KEY, &["rotate"])).await;
    assert_eq!(code, 0, "{out}{error}");
    assert_eq!(known(&app.database).await, ["new"]);
    verify(&with_keys(&app, &[("new", NEW), ("default", OTHER)]).await).await.unwrap();
    run_sql(&mut app.database.connect().await, "DELETE FROM key_checks").await.unwrap();
    verify(&with_keys(&app, &[("new", OTHER)]).await).await.unwrap_err();
}
