//! Several servers on one database and one Redis: what one server was told takes effect on the others at once. Other
//! tests interrupt Redis: nobody gets access who should not, nobody waits for long, and everything works when Redis is
//! back.
mod failover;

use crate::support::{Person, TestApp, has_servers, redis_call, redis_url};
use bizcenter::auth::Role;
use bizcenter::config::{Config, SessionStore};
use redis::FromRedisValue;
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

const ME: &str = "/api/v1/auth/me";
const LOGIN: &str = "/api/v1/auth/login";

fn with_redis(config: &mut Config, url: &str) {
    config.redis.url = Some(url.to_owned().into());
    config.auth.session_store = SessionStore::Redis;
}

/// Two servers that share everything. `None` if the run has no Redis.
async fn two(change: impl Fn(&mut Config) + Clone + Send + 'static) -> Option<(TestApp, TestApp)> {
    if !has_servers() {
        return None;
    }
    let shared = move |config: &mut Config| {
        with_redis(config, &redis_url());
        change(config);
    };
    let first = TestApp::with(shared.clone()).await;
    let second = first.replica_with(shared).await;
    Some((first, second))
}

#[tokio::test]
async fn signing_in_and_out_holds_on_both() {
    let Some((first, second)) = two(|_| {}).await else { return };
    let tenant = first.tenant().await;
    let there = tenant.owner.at(&second);
    there.get(ME).expect(200).await;
    let other = second.visitor().sign_in(&tenant.owner.email()).await;
    let listed = tenant.owner.get("/api/v1/auth/sessions").expect(200).await.json();
    assert_eq!(listed["meta"]["total"], 2);
    let id = other.signed_in["access_token"].as_str().map(|_| listed["items"][0]["id"].clone()).unwrap();
    tenant.owner.delete(&format!("/api/v1/auth/sessions/{}", id.as_str().unwrap())).expect(204).await;
    assert_eq!(other.get(ME).send().await.error(), (401, "invalid_token".into()));
    tenant.owner.post("/api/v1/auth/logout").expect(204).await;
    assert_eq!(there.get(ME).send().await.error(), (401, "invalid_token".into()));
}

#[tokio::test]
async fn demotion_disabling_and_the_end_of_all_sessions_hold_on_both() {
    let Some((first, second)) = two(|_| {}).await else { return };
    let tenant = first.tenant().await;
    let (editor, task) = (tenant.editor().await, json!({"title": "x"}));
    let there = editor.at(&second);
    for round in 0..20 {
        let (role, status) = if round % 2 == 0 { ("viewer", 403) } else { ("editor", 201) };
        there.post("/api/v1/tasks").json(&task).expect(if round % 2 == 0 { 201 } else { 403 }).await;
        let path = format!("/api/v1/users/{}", editor.id());
        tenant.owner.patch(&path).json(&json!({"role": role})).expect(200).await;
        there.post("/api/v1/tasks").json(&task).expect(status).await;
        editor.post("/api/v1/tasks").json(&task).expect(status).await;
    }
    editor.post("/api/v1/auth/logout-all").expect(204).await;
    assert_eq!(there.get(ME).send().await.status, 401);
    let admin = tenant.admin().await;
    admin.at(&second).get(ME).expect(200).await;
    let path = format!("/api/v1/users/{}", admin.id());
    tenant.owner.patch(&path).json(&json!({"is_active": false})).expect(200).await;
    assert_eq!(admin.at(&second).get(ME).send().await.error(), (401, "invalid_token".into()));
}

#[tokio::test]
async fn a_limit_is_used_up_on_both_together() {
    let limited = |config: &mut Config| {
        config.rate_limit.enabled = true;
        config.rate_limit.register_per_minute = 1000;
        config.rate_limit.login_per_minute = 1000;
        config.rate_limit.user_per_hour = 4;
    };
    let Some((first, second)) = two(limited).await else { return };
    let owner = first.tenant().await.owner;
    for (turn, app) in [&first, &second, &first, &second].into_iter().enumerate() {
        let answer = owner.at(app).get(ME).expect(200).await;
        assert!(answer.header("ratelimit").unwrap().starts_with(&format!("\"user\";r={}", 3 - turn)));
    }
    for app in [&first, &second] {
        assert_eq!(owner.at(app).get(ME).send().await.error(), (429, "rate_limited".into()));
    }
}

/// A Redis for one test, which keeps its data when it is stopped.
struct OwnRedis {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl OwnRedis {
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut redis = Self { folder: tempfile::tempdir().unwrap(), port, process: None };
        redis.restart();
        redis
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    async fn call<T: FromRedisValue>(&self, words: &[&str]) -> T {
        redis_call(&self.url(), words).await
    }

    fn restart(&mut self) {
        let arguments = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let mut command = Command::new("redis-server");
        command.args(arguments).arg("--port").arg(self.port.to_string()).arg("--dir").arg(self.folder.path());
        self.process = Some(command.stdout(Stdio::null()).spawn().unwrap());
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(10)); // between two tries
        }
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal to the process, such as `STOP` to let it hang and `CONT` to let it continue.
    fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn is_unavailable_at_once(person: &Person, path: &str) {
    let asked = Instant::now();
    assert_eq!(person.get(path).send().await.error(), (503, "unavailable".into()), "{path}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{path} took {:?}", asked.elapsed());
}

/// Asserts that requests are served again within two seconds.
async fn is_back(person: &Person) {
    let since = Instant::now();
    while person.get(ME).send().await.status != 200 {
        assert!(since.elapsed() < Duration::from_secs(2), "it is not back within two seconds");
        tokio::time::sleep(Duration::from_millis(20)).await; // between two tries
    }
}

#[tokio::test]
async fn without_redis_sessions_in_it_answer_503_at_once_and_are_back_with_it() {
    if !has_servers() {
        return;
    }
    let mut redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| with_redis(config, &url)).await;
    let tenant = app.tenant().await;
    let owner = &tenant.owner;
    for _ in 0..20 {
        owner.get(ME).expect(200).await; // so that several connections are open
    }
    let login = json!({"email": owner.email(), "password": "correct horse battery"});
    for _ in 0..2 {
        redis.stop();
        for _ in 0..3 {
            is_unavailable_at_once(owner, ME).await;
            is_unavailable_at_once(owner, "/api/v1/tasks").await;
        }
        let before = sign_ins(&app).await;
        for password in ["correct horse battery", "wrong wrong"] {
            let asked = Instant::now();
            let login = json!({"email": owner.email(), "password": password});
            let answer = app.visitor().post(LOGIN).json(&login).send().await;
            assert_eq!(answer.error(), (503, "unavailable".into()), "a session that is nowhere opens no door");
            assert!(asked.elapsed() < Duration::from_secs(1));
        }
        assert_eq!(sign_ins(&app).await, before, "nobody was signed in");
        let refresh = json!({"refresh_token": owner.refresh_token()});
        app.visitor().post("/api/v1/auth/refresh").json(&refresh).expect(503).await;
        app.visitor().get("/health").expect(200).await;
        let ready = app.readiness().await.expect(503);
        assert_eq!(ready.detail(), json!({"cache": ["does not answer"]}));
        redis.restart();
        is_back(owner).await;
        app.visitor().post(LOGIN).json(&login).expect(200).await;
    }
    redis.signal("STOP"); // it accepts connections, but does not answer
    for _ in 0..3 {
        is_unavailable_at_once(owner, ME).await;
    }
    redis.signal("CONT");
    is_back(owner).await;
    tenant.person(Role::Viewer).await.get(ME).expect(200).await;
}

/// With limits, a sign-in asks Redis several times.
#[tokio::test]
async fn a_sign_in_does_not_wait_for_a_redis_that_hangs() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| {
        with_redis(config, &url);
        config.rate_limit.enabled = true;
        config.auth.bcrypt_cost = 10;
    })
    .await;
    let owner = app.tenant().await.owner;
    let login = json!({"email": owner.email(), "password": "correct horse battery"});
    let before = sign_ins(&app).await;
    redis.signal("STOP");
    for _ in 0..3 {
        let asked = Instant::now();
        let answer = app.visitor().post(LOGIN).json(&login).send().await;
        assert_eq!(answer.error(), (503, "unavailable".into()));
        assert!(asked.elapsed() < Duration::from_secs(1), "it took {:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(400)).await; // until Redis is asked again
    }
    redis.signal("CONT");
    is_back(&owner).await;
    assert_eq!(sign_ins(&app).await, before, "nobody was signed in");
    app.visitor().post(LOGIN).json(&login).expect(200).await;
}

/// Redis fails after the password was checked.
#[tokio::test]
async fn a_session_that_redis_does_not_take_is_over_in_the_audit_log_too() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| with_redis(config, &url)).await;
    let owner = app.tenant().await.owner;
    // The key for the user's sessions has a text, to which no session can be added.
    let index: Vec<String> = redis.call(&["KEYS", "bc:*:sessions:*"]).await;
    let _: () = redis.call(&["SET", &index[0], "in the way"]).await;
    let login = json!({"email": owner.email(), "password": "correct horse battery"});
    let [before, out_before] = [sign_ins(&app).await, sign_outs(&app).await];
    let answer = app.visitor().post(LOGIN).json(&login).send().await;
    assert_eq!(answer.error(), (503, "unavailable".into()));
    assert_eq!([sign_ins(&app).await, sign_outs(&app).await], [before + 1, out_before + 1]);
    let _: i64 = redis.call(&["DEL", &index[0]]).await;
    app.visitor().post(LOGIN).json(&login).expect(200).await;
    assert_eq!([sign_ins(&app).await, sign_outs(&app).await], [before + 2, out_before + 1]);
}

/// One script checks session, user and limits.
#[tokio::test]
async fn a_request_is_one_command_to_redis() {
    if !has_servers() {
        return;
    }
    let redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| {
        with_redis(config, &url);
        config.rate_limit.enabled = true;
    })
    .await;
    let owner = app.tenant().await.owner;
    let task = format!("/api/v1/tasks/{}", owner.task(json!({"title": "x"})).await["id"].as_str().unwrap());
    let _: () = redis.call(&["CONFIG", "RESETSTAT"]).await;
    for _ in 0..5 {
        owner.get(ME).expect(200).await;
        owner.get("/api/v1/tasks").expect(200).await;
        owner.patch(&task).json(&json!({"title": "y"})).expect(200).await;
    }
    let stats: String = redis.call(&["INFO", "commandstats"]).await;
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u32>().unwrap())
    };
    let others = ["eval", "script|load", "script|exists", "ping", "multi"].map(calls);
    assert_eq!((calls("evalsha"), others), (15, [0; 5]), "{stats}");
}

/// Settings with Redis for limits, and the database for sessions.
fn with_limits(config: &mut Config, url: &str) {
    config.redis.url = Some(url.to_owned().into());
    config.auth.session_store = SessionStore::Database;
    config.rate_limit.enabled = true;
}

#[tokio::test]
async fn without_redis_failures_are_counted_here() {
    if !has_servers() {
        return;
    }
    let mut redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| with_limits(config, &url)).await;
    let email = app.tenant().await.owner.email();
    let login = |password: &str| app.visitor().post(LOGIN).json(&json!({"email": email, "password": password})).send();
    redis.stop();
    for _ in 0..5 {
        assert_eq!(login("wrong").await.error(), (401, "invalid_credentials".into()));
    }
    app.clock.advance(chrono::Duration::seconds(-20)); // within the wait, however slow this machine is
    assert_eq!(login("correct horse battery").await.error(), (429, "rate_limited".into()));
    app.clock.advance(chrono::Duration::seconds(21));
    login("correct horse battery").await.expect(200);
}

async fn count(app: &TestApp, action: &str) -> usize {
    app.rows(&format!("SELECT action FROM audit_logs WHERE action = '{action}'")).await.len()
}

async fn sign_ins(app: &TestApp) -> usize {
    count(app, "sign_in").await
}

async fn sign_outs(app: &TestApp) -> usize {
    count(app, "sign_out").await
}

#[tokio::test]
async fn without_redis_sessions_in_the_database_go_on_and_limits_are_counted_here() {
    if !has_servers() {
        return;
    }
    let mut redis = OwnRedis::start();
    let url = redis.url();
    let app = TestApp::with(move |config| {
        with_limits(config, &url);
        config.rate_limit.writes_per_minute = 3;
    })
    .await;
    let owner = app.tenant().await.owner;
    redis.stop();
    let asked = Instant::now();
    for _ in 0..10 {
        owner.get(ME).expect(200).await;
    }
    assert!(asked.elapsed() < Duration::from_secs(3), "each request waited for Redis: {:?}", asked.elapsed());
    app.visitor().sign_in(&owner.email()).await.get(ME).expect(200).await;
    for status in [201, 201, 201, 429] {
        owner.post("/api/v1/tasks").json(&json!({"title": "x"})).expect(status).await;
    }
    app.readiness().await.expect(200);
    redis.restart();
    tokio::time::sleep(Duration::from_secs(1)).await; // until Redis is asked again
    owner.post("/api/v1/tasks").json(&json!({"title": "x"})).expect(201).await; // Redis has no counts yet
}
