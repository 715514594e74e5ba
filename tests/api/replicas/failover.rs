//! A Redis that loses its data or its role as the primary, and what the database stores to be safe against that.
use super::{ME, OwnRedis, is_back, with_redis};
use crate::support::proxy::Proxy;
use crate::support::{Answer, Person, TestApp, has_servers};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bizcenter::config::{RateLimitConfig, SessionStore};
use chrono::Duration;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::time::Instant;
use uuid::Uuid;

const SESSIONS: &str = "/api/v1/auth/sessions";
const TASKS: &str = "/api/v1/tasks";

async fn on(redis: &OwnRedis) -> TestApp {
    let url = redis.url();
    TestApp::with(move |config| with_redis(config, &url)).await
}

fn claim(person: &Person, name: &str) -> Uuid {
    let claims = person.token.as_ref().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&BASE64.decode(claims).unwrap()).unwrap();
    claims[name].as_str().unwrap().parse().unwrap()
}

/// The key of the person's session in Redis.
fn key_of(person: &Person) -> String {
    format!("bc:{{{}}}:session:{}", claim(person, "tenant_id"), claim(person, "sid"))
}

fn path_of(person: &Person) -> String {
    format!("{SESSIONS}/{}", claim(person, "sid"))
}

async fn refresh(app: &TestApp, person: &Person) -> Answer {
    app.visitor().post("/api/v1/auth/refresh").json(&json!({"refresh_token": person.refresh_token()})).send().await
}

/// How often the end of a session is in the audit log and in `ended_sessions`.
async fn ends(app: &TestApp, person: &Person) -> [usize; 2] {
    let id = app.id(claim(person, "sid"));
    let audited = format!("SELECT action FROM audit_logs WHERE subject_id = {id} AND action <> 'sign_in'");
    let noted = format!("SELECT 'one' FROM ended_sessions WHERE id = {id}");
    [app.rows(&audited).await.len(), app.rows(&noted).await.len()]
}

#[tokio::test]
async fn what_has_ended_does_not_come_back_with_a_snapshot() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let app = on(&redis).await;
    let owner = app.tenant().await.owner;
    let sign_in = async || app.visitor().sign_in(&owner.email()).await;
    let (out, revoked, reused) = (sign_in().await, sign_in().await, sign_in().await);
    let kept = app.visitor().with_tokens(refresh(&app, &reused).await.expect(200).json());
    let kept = app.visitor().with_tokens(refresh(&app, &kept).await.expect(200).json());
    let people = [&out, &revoked, &kept];
    for person in people {
        let key = key_of(person);
        let copied: i64 = redis.call(&["COPY", &key, &format!("snapshot:{key}")]).await;
        assert_eq!(copied, 1);
    }
    out.post("/api/v1/auth/logout").expect(204).await;
    owner.delete(&path_of(&revoked)).expect(204).await;
    refresh(&app, &reused).await.expect(401);
    for person in people {
        let key = key_of(person);
        let _: () = redis.call(&["RENAME", &format!("snapshot:{key}"), &key]).await;
        assert_eq!(refresh(&app, person).await.error(), (401, "invalid_token".into()));
        assert_eq!(person.get(ME).send().await.error(), (401, "invalid_token".into()), "it is put right");
        assert_eq!(ends(&app, person).await, [1, 1]);
    }
    refresh(&app, &owner).await.expect(200);
    app.clock.advance(Duration::days(15));
    app.run_jobs().await;
    assert_eq!(ends(&app, &out).await[1], 0, "it would have expired");
}

#[tokio::test]
async fn an_end_that_can_not_be_written_down_is_none_yet() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let app = on(&redis).await;
    let owner = app.tenant().await.owner;
    let other = app.visitor().sign_in(&owner.email()).await;
    app.run("ALTER TABLE audit_logs RENAME TO gone").await;
    owner.delete(&path_of(&other)).expect(500).await;
    app.run("ALTER TABLE gone RENAME TO audit_logs").await;
    other.get(ME).expect(200).await;
    assert_eq!(ends(&app, &other).await, [0, 0]);
    owner.delete(&path_of(&other)).expect(204).await;
    other.get(ME).expect(401).await;
    assert_eq!(ends(&app, &other).await, [1, 1]);
}

#[tokio::test]
async fn an_end_that_redis_does_not_take_is_finished_by_a_repeat() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let app = on(&redis).await;
    let owner = app.tenant().await.owner;
    let other = app.visitor().sign_in(&owner.email()).await;
    owner.get(ME).expect(200).await; // from now on, this request writes nothing to Redis
    let _: () = redis.call(&["REPLICAOF", "127.0.0.1", "1"]).await;
    owner.delete(&path_of(&other)).expect(503).await;
    assert_eq!(ends(&app, &other).await, [1, 1]);
    let _: () = redis.call(&["REPLICAOF", "NO", "ONE"]).await;
    is_back(&owner).await;
    other.get(ME).expect(200).await;
    owner.delete(&path_of(&other)).expect(204).await;
    assert_eq!(other.get(ME).send().await.error(), (401, "invalid_token".into()));
    owner.delete(&path_of(&other)).expect(404).await;
    assert_eq!(ends(&app, &other).await, [1, 1]);
}

/// The old primary continues as a replica. New connections to the same address reach the new primary.
#[tokio::test]
async fn a_redis_that_became_a_replica_is_left_for_the_new_one() {
    if !has_servers() {
        return;
    }
    let (old, new) = (OwnRedis::start(), OwnRedis::start());
    let at = |redis: &OwnRedis| SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port));
    let proxy = Proxy::to(at(&old)).await;
    let url = format!("redis://{}/0", proxy.address);
    let app = TestApp::with(move |config| with_redis(config, &url)).await;
    let owner = app.tenant().await.owner;
    for _ in 0..5 {
        owner.get(ME).expect(200).await;
    }
    let _: () = new.call(&["REPLICAOF", "127.0.0.1", &old.port.to_string()]).await;
    let since = Instant::now();
    while new.call::<i64>(&["EXISTS", &key_of(&owner)]).await == 0 {
        assert!(since.elapsed() < std::time::Duration::from_secs(20), "the replica does not come up");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // between two tries
    }
    let _: () = new.call(&["REPLICAOF", "NO", "ONE"]).await;
    let _: () = old.call(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]).await;
    proxy.lead_to(at(&new));
    let since = Instant::now();
    let login = json!({"email": owner.email(), "password": "correct horse battery"});
    while app.visitor().post("/api/v1/auth/login").json(&login).send().await.status != 200 {
        assert!(since.elapsed() < std::time::Duration::from_secs(3), "it stays with the old one");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // between two tries
    }
    owner.get(ME).expect(200).await;
    refresh(&app, &owner).await.expect(200);
}

#[tokio::test]
async fn without_a_redis_that_takes_writes_limits_are_counted_here() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| {
        config.redis.url = Some(url.into());
        config.auth.session_store = SessionStore::Database;
        config.rate_limit = RateLimitConfig { enabled: true, writes_per_minute: 2, ..config.rate_limit };
    })
    .await;
    let owner = app.tenant().await.owner;
    let _: () = redis.call(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for status in [201, 201, 429] {
        owner.post(TASKS).json(&json!({"title": "x"})).expect(status).await;
    }
}

#[tokio::test]
async fn who_signs_in_once_too_often_loses_their_oldest_session_whole() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let app = on(&redis).await;
    let owner = app.tenant().await.owner;
    let index = format!("bc:{{{}}}:sessions:{}", claim(&owner, "tenant_id"), owner.id());
    let later = (app.parts.env.now() + Duration::days(30)).timestamp_micros().to_string();
    let others: Vec<_> = (0..999).flat_map(|number| [later.clone(), number.to_string()]).collect();
    let words: Vec<_> = ["ZADD", index.as_str()].into_iter().chain(others.iter().map(String::as_str)).collect();
    let _: () = redis.call(&words).await;
    owner.get(ME).expect(200).await;
    let latest = app.visitor().sign_in(&owner.email()).await;
    assert_eq!(owner.get(ME).send().await.error(), (401, "invalid_token".into()));
    assert_eq!(refresh(&app, &owner).await.error(), (401, "invalid_token".into()));
    latest.get(ME).expect(200).await;
    let (count, hash): (i64, i64) =
        (redis.call(&["ZCARD", &index]).await, redis.call(&["EXISTS", &key_of(&owner)]).await);
    assert_eq!((count, hash), (1000, 0));
}

/// A session's data includes the client's address and program, so it must be deleted with the user.
#[tokio::test]
async fn who_is_removed_leaves_no_session_in_redis() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let app = on(&redis).await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let [viewer, colleague] = [tenant.viewer().await, tenant.viewer().await];
    let again = app.visitor().sign_in(&viewer.email()).await;
    for person in [&viewer, &again, &colleague] {
        person.get(ME).expect(200).await;
    }
    let of_user = format!("*{}*", viewer.id());
    let of_tenant = format!("bc:{{{}}}:session*", tenant.id);
    let of_other = format!("bc:{{{}}}:session*", other.id);
    let keys = async |pattern: &str| redis.call::<Vec<String>>(&["KEYS", pattern]).await;
    assert_eq!(keys(&of_tenant).await.len(), 4 + 3, "four sessions of three people");
    assert_eq!(keys(&of_user).await.len(), 2, "where they are, and the standing");

    tenant.owner.delete(&format!("/api/v1/users/{}", viewer.id())).expect(204).await;
    app.run_jobs().await;
    for person in [&viewer, &again] {
        assert_eq!(redis.call::<i64>(&["EXISTS", &key_of(person)]).await, 0);
    }
    assert_eq!((keys(&of_tenant).await.len(), keys(&of_user).await), (2 + 2, vec![]));
    colleague.get(ME).expect(200).await;

    let before = keys(&of_other).await;
    tenant.owner.delete(&format!("/api/v1/tenant?confirm={}", tenant.slug)).expect(204).await;
    redis.call::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await; // Redis takes no writes for a while
    app.run_jobs().await;
    let rows = format!("SELECT name FROM tenants WHERE id = {}", app.id(tenant.id));
    assert_eq!(app.rows(&rows).await.len(), 1, "it is not done yet");
    redis.call::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await; // until Redis is asked again
    app.clock.advance(Duration::minutes(1));
    app.run_jobs().await;
    assert_eq!((keys(&of_tenant).await, app.rows(&rows).await.len()), (vec![], 0));
    assert_eq!(keys(&of_other).await, before);
}

/// Requests may take long. While a change may still be running, nothing is cached, even if its end is never reported.
#[tokio::test]
async fn a_fence_outlasts_the_longest_request() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| {
        with_redis(config, &url);
        config.server.request_timeout = std::time::Duration::from_secs(3600);
        config.auth.access_lifetime = std::time::Duration::from_secs(864_000);
    })
    .await;
    let tenant = app.tenant().await;
    let editor = tenant.editor().await;
    let create = || editor.post(TASKS).json(&json!({"title": "x"}));
    let _dropped = app.parts.sessions.fence(tenant.id.into()).await.unwrap();
    let role = async |role: &str| {
        app.run(&format!("UPDATE users SET role = {role} WHERE id = {}", app.id(editor.id()))).await;
    };
    for _ in 0..2 {
        create().expect(201).await;
        role("1").await;
        create().expect(403).await;
        role("3").await;
        app.clock.advance(Duration::minutes(59));
    }
    app.clock.advance(Duration::minutes(4));
    create().expect(201).await; // the fence has expired: this result is cached
    role("1").await;
    create().expect(201).await;
}
