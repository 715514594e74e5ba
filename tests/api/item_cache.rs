//! The cache of lists of items: it repeats earlier answers, but on no server an answer that is no longer true.
use crate::items::{ITEMS, path_of};
use crate::support::proxy::Proxy;
use crate::support::{Person, Tenant, TestApp, has_servers, redis_url};
use bizcenter::auth::Role;
use bizcenter::base::metrics::CacheLookup;
use bizcenter::config::{Config, SessionStore};
use bizcenter::db::WriteTx;
use bizcenter::resources::items;
use bizcenter::resources::items::{Item, ItemContent};
use bizcenter::services::redis::{Redis, RedisOptions};
use futures_util::future::join_all;
use redis::Script;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

fn without_redis(config: &mut Config) {
    config.redis.url = None;
}

/// Settings with Redis for the cache only: sessions stay in the database.
pub fn with_redis(config: &mut Config) {
    config.redis.url = Some(redis_url().into());
    config.auth.session_store = SessionStore::Database;
}

/// Pairs of servers on one database: two with a cache of their own and, if there is a Redis, two that share it.
async fn pairs() -> Vec<[TestApp; 2]> {
    let mut pairs = vec![];
    let mut settings: Vec<fn(&mut Config)> = vec![without_redis];
    settings.extend(has_servers().then_some(with_redis as fn(&mut Config)));
    for change in settings {
        let first = TestApp::with(change).await;
        let second = first.replica_with(change).await;
        pairs.push([first, second]);
    }
    pairs
}

/// The numbers of hits and misses so far.
fn lookups(app: &TestApp) -> (u64, u64) {
    let count = |result| app.parts.metrics.cache_lookups.get_or_create(&CacheLookup { cache: "item", result }).get();
    (count("hit"), count("miss"))
}

async fn list(person: &Person, query: &str) -> Value {
    person.get(&format!("{ITEMS}?{query}")).expect(200).await.json()
}

async fn titles(person: &Person) -> Vec<String> {
    let list = list(person, "sort=title").await;
    list["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_same_question_is_answered_from_the_cache() {
    for [app, _] in pairs().await {
        let tenant = app.tenant().await;
        tenant.owner.item(json!({"title": "a", "price": 5})).await;
        let first = list(&tenant.owner, "").await;
        assert_eq!(lookups(&app), (0, 1));
        let (editor, viewer) = (tenant.editor().await, tenant.viewer().await);
        for same in ["", "page=1", "per_page=20&sort=-created_at", "sort=-created_at&page=1&per_page=20"] {
            assert_eq!(list(&tenant.owner, same).await, first);
            assert_eq!(list(&viewer, same).await, first, "everybody sees the same");
        }
        assert_eq!(lookups(&app), (8, 1));
        let mine = format!("owner_id={}", tenant.owner.id());
        let others = [
            "page=2",
            "per_page=21",
            "sort=created_at",
            "q=a",
            "q=A",
            "min_price=5",
            "max_price=5",
            "currency=USD",
            &mine,
        ];
        for other in others {
            list(&editor, other).await;
        }
        assert_eq!(lookups(&app), (8, 10), "each is a question of its own");
        tenant.app.visitor().get(ITEMS).expect(401).await;
    }
}

#[tokio::test]
async fn a_change_is_seen_at_once_on_every_server() {
    for [here, there] in pairs().await {
        let tenant = here.tenant().await;
        let (owner, elsewhere) = (&tenant.owner, tenant.owner.at(&there));
        let both = async |expected: &[&str]| {
            for turn in ["found", "kept"] {
                assert_eq!(titles(owner).await, expected, "here, {turn}");
                assert_eq!(titles(&elsewhere).await, expected, "there, {turn}");
            }
        };
        both(&[]).await;
        let first = owner.item(json!({"title": "a"})).await;
        both(&["a"]).await;
        elsewhere.item(json!({"title": "b"})).await;
        both(&["a", "b"]).await;
        owner.patch(&path_of(&first)).json(&json!({"title": "c"})).expect(200).await;
        both(&["b", "c"]).await;
        elsewhere.put(&path_of(&first)).json(&json!({"title": "d"})).expect(200).await;
        both(&["b", "d"]).await;
        owner.post(ITEMS).header("idempotency-key", "k").json(&json!({"title": "e"})).expect(201).await;
        both(&["b", "d", "e"]).await;
        elsewhere.delete(&path_of(&first)).expect(204).await;
        both(&["b", "e"]).await;
        let hits = lookups(&here).0 + lookups(&there).0;
        assert!(hits >= 14, "only {hits} of 28 lists were in the cache");
    }
}

#[tokio::test]
async fn what_did_not_happen_and_what_others_do_outdates_nothing() {
    for [app, _] in pairs().await {
        let (tenant, other) = (app.tenant().await, app.tenant().await);
        let item = tenant.owner.item(json!({"title": "a"})).await;
        let (path, editor) = (path_of(&item), tenant.editor().await);
        let first = list(&editor, "").await;
        let nobody = json!({"title": "b", "owner_id": app.parts.env.uuid()});
        tenant.owner.post(ITEMS).json(&nobody).expect(422).await;
        tenant.owner.patch(&path).header("if-match", "\"7\"").json(&json!({"title": "b"})).expect(412).await;
        editor.delete(&path).expect(403).await;
        tenant.owner.task(json!({"title": "a"})).await;
        other.owner.item(json!({"title": "theirs"})).await;
        assert_eq!(list(&editor, "").await, first);
        assert_eq!(lookups(&app), (1, 1));
    }
}

/// `bizcenter seed` does not write an audit row for each record, and users may read lists while it runs.
#[tokio::test]
async fn what_is_stored_in_bulk_is_seen_at_once() {
    for [app, _] in pairs().await {
        let tenant = app.tenant().await;
        assert!(titles(&tenant.owner).await.is_empty());
        let now = app.parts.env.now().into();
        let item = Item {
            id: app.parts.env.uuid().into(),
            content: ItemContent { title: "a".into(), description: None, price: 1 },
            currency: "EUR".into(),
            owner_id: tenant.owner.id().into(),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let (db, id) = (app.parts.db.clone(), tenant.id.into());
        let store = async move {
            db.write_seeded(id, async |tx: &mut WriteTx| items::store(tx, &[item]).await).await.unwrap();
        };
        app.by_hand(store).await;
        assert_eq!(titles(&tenant.owner).await, ["a"]);
    }
}

#[tokio::test]
async fn no_two_tenants_share_an_answer() {
    for [here, there] in pairs().await {
        let (a, b) = (here.tenant().await, here.tenant().await);
        for query in ["", "q=x", "per_page=100"] {
            assert_eq!(list(&a.owner, query).await["items"], json!([]));
            assert_eq!(list(&b.owner, query).await["items"], json!([]));
        }
        a.owner.item(json!({"title": "x of a"})).await;
        for query in ["", "q=x", "per_page=100"] {
            for app in [&here, &there, &here] {
                assert_eq!(list(&a.owner.at(app), query).await["meta"]["total"].clone(), json!(1), "{query}");
                assert_eq!(list(&b.owner.at(app), query).await["items"], json!([]), "{query}");
            }
        }
    }
}

/// The rounds of one writer. A created record is visible as soon as the request was answered, and a deleted one no
/// longer is.
async fn writes(tenant: &Tenant, apps: &[TestApp; 2], writer: usize, rounds: usize) {
    let editor = tenant.person(Role::Editor).await;
    for round in 0..rounds {
        let (writing, reading) = (editor.at(&apps[round % 2]), editor.at(&apps[(round + writer) % 2]));
        let item = writing.item(json!({"title": format!("{writer} {round}")})).await;
        let sees = async |person: &Person| {
            let list = list(person, "per_page=100").await;
            list["items"].as_array().unwrap().iter().any(|listed| listed["id"] == item["id"])
        };
        assert!(sees(&reading).await, "{writer} {round}: made, and not in the list");
        writing.delete(&path_of(&item)).expect(204).await;
        assert!(!sees(&reading).await, "{writer} {round}: deleted, and in the list");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_list_is_older_than_a_change_that_was_answered() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 50;
    for apps in pairs().await {
        let tenant = apps[0].tenant().await;
        let done = AtomicBool::new(false);
        let reader = async |app: &TestApp| {
            let viewer = tenant.owner.at(app);
            while !done.load(Ordering::SeqCst) {
                list(&viewer, "per_page=100").await;
            }
        };
        let write = async {
            join_all((0..WRITERS).map(|writer| writes(&tenant, &apps, writer, ROUNDS))).await;
            done.store(true, Ordering::SeqCst);
        };
        tokio::join!(write, reader(&apps[0]), reader(&apps[1]), reader(&apps[0]));
        let lookups = apps.each_ref().map(lookups);
        assert!(lookups.iter().all(|(hits, misses)| *hits > 0 && *misses > 0), "{lookups:?}: nothing was tried");
    }
}

async fn keys_of(redis: &Redis, tenant: &Tenant) -> Vec<String> {
    let keys = Script::new("return redis.call('KEYS', ARGV[1])");
    redis.run(&keys.arg(format!("*{}*", tenant.id))).await.unwrap()
}

#[tokio::test]
async fn redis_keeps_a_list_for_a_minute_under_a_name_of_ours() {
    if !has_servers() {
        return;
    }
    let app = TestApp::with(with_redis).await;
    let tenant = app.tenant().await;
    list(&tenant.owner, "").await;
    let redis = Redis::new(&redis_url(), RedisOptions { pool_size: 1, timeout: Duration::from_secs(5) }).unwrap();
    let keys = keys_of(&redis, &tenant).await;
    let keys: Vec<_> = keys.iter().filter(|key| key.starts_with("bc:cache:")).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let left = Script::new("return redis.call('PTTL', KEYS[1])");
    let left: i64 = redis.run(&left.key(keys[0])).await.unwrap();
    assert!((1..=60_000).contains(&left), "{left} ms");
    let spoil = Script::new("redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x') return 1");
    let _: i64 = redis.run(&spoil.key(keys[0])).await.unwrap();
    assert_eq!(list(&tenant.owner, "").await["items"], json!([]), "what is no list is passed over");
}

#[tokio::test]
async fn who_asks_something_new_each_time_does_not_fill_redis() {
    if !has_servers() {
        return;
    }
    let app = TestApp::with(with_redis).await;
    let tenant = app.tenant().await;
    let long = "x".repeat(10_000);
    join_all((0..20).map(|_| tenant.owner.item(json!({"title": "a", "description": long, "price": 500})))).await;
    let redis = Redis::new(&redis_url(), RedisOptions { pool_size: 1, timeout: Duration::from_secs(5) }).unwrap();
    let bytes = Script::new(
        "local bytes = 0 for _, value in ipairs(redis.call('HVALS', KEYS[1])) do bytes = bytes + #value end return bytes",
    );
    let mut most = 0;
    for price in 0..24 {
        let found = list(&tenant.owner, &format!("min_price={price}")).await;
        assert_eq!(found["meta"]["total"], json!(20));
        let keys = keys_of(&redis, &tenant).await;
        let keys: Vec<_> = keys.iter().filter(|key| key.starts_with("bc:cache:")).collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
        most = most.max(redis.run::<i64>(&bytes.key(keys[0])).await.unwrap());
    }
    assert!((1_000_000..2_100_000).contains(&most), "{most} bytes of the 4,800,000 that were answered");
    let (hits, misses) = lookups(&app);
    list(&tenant.owner, "min_price=23").await;
    assert_eq!(lookups(&app), (hits + 1, misses), "the latest are kept");
}

#[tokio::test]
async fn a_redis_that_is_away_or_silent_is_passed_over() {
    if !has_servers() {
        return;
    }
    let address = redis_url().trim_start_matches("redis://").split('/').next().unwrap().parse().unwrap();
    let proxy = Proxy::to(address).await;
    let url = format!("redis://{}/0", proxy.address);
    let app = TestApp::with(move |config| {
        with_redis(config);
        config.redis.url = Some(url.into());
        config.redis.timeout = Duration::from_millis(200);
    })
    .await;
    let owner = app.tenant().await.owner;
    owner.item(json!({"title": "a"})).await;
    for _ in 0..2 {
        assert_eq!(titles(&owner).await, ["a"]);
    }
    assert!(lookups(&app).0 >= 1, "{:?}", lookups(&app));
    for stalls in [true, false] {
        if stalls {
            proxy.stall();
        } else {
            proxy.refuse();
        }
        for n in 0..5 {
            let asked = Instant::now();
            owner.item(json!({"title": "b"})).await;
            let now = titles(&owner).await;
            assert_eq!(now.iter().filter(|title| *title == "b").count(), n + 1, "{now:?}");
            assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
        }
        proxy.restore();
        let hits = lookups(&app).0;
        let since = Instant::now();
        while lookups(&app).0 == hits {
            assert!(since.elapsed() < Duration::from_secs(5), "it is not used again");
            titles(&owner).await;
            tokio::time::sleep(Duration::from_millis(20)).await; // between two tries
        }
        for item in list(&owner, "q=b").await["items"].as_array().unwrap() {
            owner.delete(&path_of(item)).expect(204).await;
        }
    }
}
