//! A value that is sealed for one place can be opened only there. Data keys are replaced in turn and destroyed with
//! their tenant.
use crate::cli::{bizcenter, run};
use crate::support::{Person, Tenant, TestApp};
use bizcenter::base::error::{Error, Result};
use bizcenter::base::key_ring::MasterKey;
use bizcenter::config::EncryptionConfig;
use bizcenter::db::types::TenantId;
use bizcenter::db::{Action, Change, Place, Sealed, System};
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const AMOUNT: &[u8] = b"918273645546372.81";

fn place(row: Uuid) -> Place {
    Place { table: "contracts", row, column: "amount_sealed" }
}

impl Tenant {
    fn system(&self) -> System {
        System::of(self.id.into())
    }

    async fn seal(&self, place: Place) -> Result<Sealed> {
        let (db, system, tenant) = (self.app.parts.db.clone(), self.system(), TenantId::from(self.id));
        let seal = async move |tx: &mut bizcenter::db::WriteTx| {
            let sealed = tx.seal(place, AMOUNT).await?;
            Ok(tx.happened(Change::of(Action::Update, tenant)).await?.with(sealed))
        };
        self.app.by_hand(async move { db.write(&system, seal).await }).await
    }

    /// Seals three values in one transaction, which opens them again.
    async fn seal_three(&self, place: Place) -> Vec<Sealed> {
        let (db, system, tenant) = (self.app.parts.db.clone(), self.system(), TenantId::from(self.id));
        let seal = async move |tx: &mut bizcenter::db::WriteTx| {
            let mut sealed = vec![];
            for _ in 0..3 {
                sealed.push(tx.seal(place, AMOUNT).await?);
            }
            let keys = tx.unsealer().await?;
            for one in &sealed {
                assert_eq!(keys.open(place, one)?.as_slice(), AMOUNT);
            }
            Ok(tx.happened(Change::of(Action::Update, tenant)).await?.with(sealed))
        };
        self.app.by_hand(async move { db.write(&system, seal).await }).await.unwrap()
    }

    async fn open(&self, place: Place, sealed: &Sealed) -> Result<Vec<u8>> {
        let (db, system, sealed) = (self.app.parts.db.clone(), self.system(), sealed.clone());
        let open = async move |tx: &mut bizcenter::db::ReadTx| Ok(tx.unsealer().await?.open(place, &sealed)?.to_vec());
        self.app.by_hand(async move { db.read(&system, open).await }).await
    }

    /// The number of the tenant's newest data key, and how often it was used.
    async fn newest_key(&self) -> Vec<Vec<String>> {
        let of_tenant = format!("tenant_id = {}", self.app.id(self.id));
        self.app
            .rows(&format!("SELECT concat(number, ''), concat(uses, '') FROM data_key_heads WHERE {of_tenant}"))
            .await
    }

    /// Number, master key and length of each of the tenant's data keys.
    async fn data_keys(&self) -> Vec<Vec<String>> {
        let of_tenant = format!("tenant_id = {}", self.app.id(self.id));
        let columns = "concat(number, ''), master_key_id, made_under, concat(length(wrapped), '')";
        self.app.rows(&format!("SELECT {columns} FROM data_keys WHERE {of_tenant} ORDER BY number")).await
    }
}

fn is_refused(result: Result<Vec<u8>>) -> bool {
    matches!(result, Err(Error::Internal(_)))
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_place_only() {
    let app = TestApp::alone().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let row = app.parts.env.uuid();
    let (sealed, again) = (tenant.seal(place(row)).await.unwrap(), tenant.seal(place(row)).await.unwrap());
    assert_ne!(sealed, again, "equal values look different");
    assert_eq!(tenant.open(place(row), &sealed).await.unwrap(), AMOUNT);
    assert_eq!(tenant.open(place(row), &again).await.unwrap(), AMOUNT);
    other.seal(place(row)).await.unwrap(); // so that the other tenant has a key with the same number

    assert!(is_refused(other.open(place(row), &sealed).await), "another tenant");
    assert!(is_refused(tenant.open(place(app.parts.env.uuid()), &sealed).await), "another row");
    assert!(is_refused(tenant.open(Place { column: "from_sealed", ..place(row) }, &sealed).await), "another column");
    assert!(is_refused(tenant.open(Place { table: "items", ..place(row) }, &sealed).await), "another table");
    for index in 0..sealed.0.len() {
        let mut changed = sealed.clone();
        changed.0[index] ^= 1;
        assert!(is_refused(tenant.open(place(row), &changed).await), "byte {index}");
    }
    assert!(is_refused(tenant.open(place(row), &Sealed(vec![])).await));
    let failures = sealed.0.len() as u64 + 5;
    assert_eq!(app.parts.metrics.unsealing_failures.get(), failures, "each was counted");
}

#[tokio::test]
async fn a_tenant_has_one_data_key_however_many_ask_first() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    assert!(tenant.data_keys().await.is_empty(), "it is made when it is needed");
    let row = app.parts.env.uuid();
    for sealed in join_all((0..20).map(|_| tenant.seal(place(row)))).await {
        assert_eq!(tenant.open(place(row), &sealed.unwrap()).await.unwrap(), AMOUNT);
    }
    // These are the format, the nonce and the tag around a key of 32 bytes.
    assert_eq!(tenant.data_keys().await, [["1", "default", "default", "60"]]);
    assert_eq!(tenant.newest_key().await, [["1", "20"]], "no use is lost");
}

#[tokio::test]
async fn a_data_key_that_was_used_up_gets_a_successor() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let row = app.parts.env.uuid();
    let old = tenant.seal(place(row)).await.unwrap();
    let head = format!("data_key_heads SET uses = 4294967295 WHERE tenant_id = {}", app.id(tenant.id));
    app.run(&format!("UPDATE {head}")).await;
    let last = tenant.seal(place(row)).await.unwrap();
    assert_eq!(tenant.data_keys().await.len(), 1, "2^32 uses are allowed");
    let new = tenant.seal(place(row)).await.unwrap();
    assert_eq!(tenant.data_keys().await.len(), 2);
    for sealed in [old, last, new] {
        assert_eq!(tenant.open(place(row), &sealed).await.unwrap(), AMOUNT);
    }
    assert_eq!(tenant.newest_key().await, [["2", "1"]]);
}

#[tokio::test]
async fn a_transaction_that_seals_several_values_counts_each_of_them() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let place = place(app.parts.env.uuid());
    tenant.seal_three(place).await;
    tenant.seal_three(place).await;
    assert_eq!(tenant.newest_key().await, [["1", "6"]]);
    let head = format!("data_key_heads SET uses = 4294967295 WHERE tenant_id = {}", app.id(tenant.id));
    app.run(&format!("UPDATE {head}")).await;
    let sealed = tenant.seal_three(place).await;
    assert_eq!(tenant.newest_key().await, [["2", "2"]], "the first was the last use of the first key");
    for one in &sealed {
        assert_eq!(tenant.open(place, one).await.unwrap(), AMOUNT);
    }
}

#[tokio::test]
async fn a_deleted_tenants_keys_are_destroyed_at_once() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    tenant.owner.post("/api/v1/tasks").header("idempotency-key", "k").json(&json!({"title": "a"})).expect(201).await;
    tenant.seal(place(app.parts.env.uuid())).await.unwrap();
    assert_eq!(tenant.data_keys().await.len(), 1);
    let answers = format!("SELECT 'kept' FROM idempotency_keys WHERE tenant_id = {}", app.id(tenant.id));
    assert_eq!(app.rows(&answers).await.len(), 1);
    tenant.owner.delete(&format!("/api/v1/tenant?confirm={}", tenant.slug)).expect(204).await;
    assert!(tenant.data_keys().await.is_empty(), "no job is waited for");
    assert!(app.rows(&answers).await.is_empty(), "stored answers may hold what they sealed");
}

const OLD_KEY: &str = "the encryption key of all the tests";
const NEW_KEY: &str = "the second master key: 8b1d7e5f3a9c2064";

/// Runs `keys rotate` as the operator does, with the old key and the new one. The new key is active.
async fn rotate(app: &TestApp, old: &str, options: &[&str]) -> (bool, String) {
    let folder = app.database.folder.path();
    std::fs::write(folder.join("new"), NEW_KEY).unwrap();
    let mut command = bizcenter(folder, &[&["keys", "rotate"], options].concat());
    command
        .env("DATABASE_URL", &app.database.url)
        .env("CONTRACT_ENCRYPTION_KEY", old)
        .env("BIZCENTER_ENCRYPTION__KEYS", r#"[{"id": "new", "key_file": "new"}]"#)
        .env("BIZCENTER_ENCRYPTION__ACTIVE", "new");
    let (code, out, error) = run(&mut command).await;
    (code == 0, out + &error)
}

/// A server that has only the new master key.
async fn with_new_key_alone(app: &TestApp) -> TestApp {
    let new = MasterKey { id: "new".to_owned(), secret: NEW_KEY.into() };
    app.replica_with(|config| config.encryption = EncryptionConfig { keys: vec![new], active: "new".to_owned() }).await
}

#[tokio::test]
async fn the_old_master_key_can_be_taken_away_after_a_rotation() {
    let app = TestApp::alone().await;
    let tenant = app.unverified_tenant().await; // so that a mail to its owner is due
    let row = app.parts.env.uuid();
    let sealed = tenant.seal(place(row)).await.unwrap();
    let task = json!({"title": "Once"});
    let create = |person: Person| {
        let call = person.post("/api/v1/tasks").header("idempotency-key", "rotation").json(&task);
        async move { call.expect(201).await }
    };
    let created = create(tenant.owner.clone()).await.json();
    app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": tenant.owner.email()})).expect(202).await;

    let (done, text) = rotate(&app, OLD_KEY, &[]).await;
    assert!(done, "{text}");
    assert!(text.starts_with("new now encrypts 1 more data keys, 1 stored answers and "), "{text}");
    assert_eq!(tenant.data_keys().await, [["1", "new", "default", "60"]]);
    let (done, text) = rotate(&app, OLD_KEY, &[]).await;
    assert!(done && text.starts_with("new now encrypts 0 more data keys"), "it can be done again: {text}");
    assert!(tenant.open(place(row), &sealed).await.is_err(), "a server without the new key is left behind");

    let later = with_new_key_alone(&app).await;
    let there = Tenant { app: later.clone(), slug: tenant.slug.clone(), owner: tenant.owner.clone(), ..tenant };
    assert_eq!(there.open(place(row), &sealed).await.unwrap(), AMOUNT);
    let replayed = create(tenant.owner.at(&later)).await;
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    assert_eq!(replayed.json(), created);
    assert_eq!(later.letters_to(&tenant.owner.email(), 2).await.len(), 2, "waiting jobs open too");
}

#[tokio::test]
async fn a_rotation_that_lacks_a_key_says_so_and_loses_nothing() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let row = app.parts.env.uuid();
    let sealed = tenant.seal(place(row)).await.unwrap();
    let (done, text) = rotate(&app, "not the key that the servers have had so far", &[]).await;
    let refused = "encryption.key: the key default is another one than this database is encrypted under";
    assert!(!done && text.contains(refused), "{text}");
    assert!(!text.contains("not the key that") && !text.contains(NEW_KEY), "{text}");
    assert_eq!(tenant.data_keys().await, [["1", "default", "default", "60"]]);
    assert_eq!(tenant.open(place(row), &sealed).await.unwrap(), AMOUNT);
}

#[tokio::test]
async fn a_tenant_that_awaits_its_removal_stops_no_rotation() {
    let app = TestApp::alone().await;
    let (gone, kept) = (app.tenant().await, app.tenant().await);
    for tenant in [&gone, &kept] {
        tenant.seal(place(app.parts.env.uuid())).await.unwrap();
    }
    gone.owner.delete(&format!("/api/v1/tenant?confirm={}", gone.slug)).expect(204).await;
    let (done, text) = rotate(&app, OLD_KEY, &["--data"]).await;
    assert!(done && text.starts_with("new now encrypts 1 more data keys"), "{text}");
    assert_eq!(kept.data_keys().await, [["2", "new", "new", "60"]]);
}

/// The second half of a rotation fails at a value that can't be decrypted. It succeeds after the value was repaired.
#[tokio::test]
async fn a_rotation_that_stops_halfway_is_taken_up_again() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let contracts: Vec<_> = join_all((0..5).map(|n| tenant.owner.contract(json!({"amount": format!("{n}.50")})))).await;
    let broken = app.id(contracts[3]["id"].as_str().unwrap().parse().unwrap());
    let of_broken = format!("FROM contracts WHERE id = {broken}");
    let hide = format!(
        "UPDATE contracts SET amount_sealed = (SELECT wrapped FROM data_keys WHERE number = 1) WHERE id = {broken}"
    );
    let keep = "CREATE TABLE kept AS SELECT amount_sealed FROM contracts WHERE 1 = 0";
    app.run(keep).await;
    app.run(&format!("INSERT INTO kept SELECT amount_sealed {of_broken}")).await;
    app.run(&hide).await;

    let (done, text) = rotate(&app, OLD_KEY, &["--data"]).await;
    assert!(!done && text.contains("new encrypts all data keys, but in 1 of 1 tenants values are still"), "{text}");
    assert_eq!(tenant.data_keys().await.len(), 2, "the old key is needed");
    let mend = "UPDATE contracts SET amount_sealed = (SELECT amount_sealed FROM kept)";
    app.run(&format!("{mend} WHERE id = {broken}")).await;
    app.run("DROP TABLE kept").await;
    let (done, text) = rotate(&app, OLD_KEY, &["--data"]).await;
    assert!(done && text.contains("5 values are encrypted under data keys that were made under new"), "{text}");
    assert_eq!(tenant.data_keys().await, [["2", "new", "new", "60"]]);
    let owner = tenant.owner.at(&with_new_key_alone(&app).await);
    for contract in contracts {
        let path = format!("/api/v1/contracts/{}", contract["id"].as_str().unwrap());
        assert_eq!(owner.get(&path).expect(200).await.json()["amount"], contract["amount"]);
    }
}

fn ring(active: &str) -> EncryptionConfig {
    let key = |id: &str, secret: &str| MasterKey { id: id.to_owned(), secret: secret.into() };
    EncryptionConfig { keys: vec![key("default", OLD_KEY), key("new", NEW_KEY)], active: active.to_owned() }
}

/// Reads contracts 25 times a second until it is stopped. Returns how many it has read.
async fn read_on(person: Person, known: Vec<(String, String)>, stop: CancellationToken) -> usize {
    let mut pace = tokio::time::interval(Duration::from_millis(40));
    let mut count = 0;
    while !stop.is_cancelled() {
        pace.tick().await;
        let (path, amount) = &known[count % known.len()];
        assert_eq!(&person.get(path).expect(200).await.json()["amount"], amount);
        count += 1;
    }
    count
}

#[tokio::test]
async fn two_hundred_reads_a_second_notice_nothing_of_a_rotation() {
    let app = TestApp::with(|config| config.encryption = ring("default")).await;
    let tenant = app.tenant().await;
    let mut known = vec![];
    for n in 0..40 {
        let contract = tenant.owner.contract(json!({"amount": format!("{n}.50")})).await;
        let path = format!("/api/v1/contracts/{}", contract["id"].as_str().unwrap());
        let amount = format!("{n}.75");
        tenant.owner.patch(&path).json(&json!({"amount": amount})).expect(200).await;
        known.push((path, amount));
    }
    let changed = tenant.owner.contract(json!({"amount": "1"})).await;
    let changed = format!("/api/v1/contracts/{}", changed["id"].as_str().unwrap());
    let other = app.replica_with(|config| config.encryption = ring("new")).await;
    let stop = CancellationToken::new();
    let readers: Vec<_> = (0..8)
        .map(|n| tenant.owner.at(if n % 2 == 0 { &app } else { &other }))
        .map(|person| tokio::spawn(read_on(person, known.clone(), stop.clone())))
        .collect();
    let (writer, until) = (tenant.owner.at(&other), stop.clone());
    let writer = tokio::spawn(async move {
        let mut count = 0;
        while !until.is_cancelled() {
            count += 1;
            writer.patch(&changed).json(&json!({"amount": format!("{count}.00")})).expect(200).await;
            tokio::time::sleep(Duration::from_millis(20)).await; // the pace of the writer
        }
        count
    });
    tokio::time::sleep(Duration::from_millis(500)).await; // time to read before the rotation
    let (done, text) = rotate(&app, OLD_KEY, &["--data"]).await;
    assert!(done, "{text}");
    let (done, again) = rotate(&app, OLD_KEY, &["--data"]).await;
    assert!(done && again.starts_with("new now encrypts 0 more data keys"), "it can be done again: {again}");
    tokio::time::sleep(Duration::from_millis(500)).await; // time to read after the rotation
    stop.cancel();
    let reads: Vec<usize> = join_all(readers).await.into_iter().map(|count| count.unwrap()).collect();
    assert!(reads.iter().all(|count| *count > 10) && writer.await.unwrap() > 5, "{reads:?}");
    assert_eq!(tenant.data_keys().await, [["2", "new", "new", "60"]], "the old data key is destroyed");

    let owner = tenant.owner.at(&with_new_key_alone(&app).await);
    for (path, amount) in &known {
        assert_eq!(&owner.get(path).expect(200).await.json()["amount"], amount);
        let history = owner.get(&format!("{path}/history")).expect(200).await.json();
        assert_eq!(&history["items"][0]["to"], amount);
    }
}
