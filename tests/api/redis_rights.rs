//! The server detects a Redis user with too few rights and says which are missing. The README lists the rights that it
//! needs.
use crate::support::{TestApp, has_servers, redis_call, redis_url};
use bizcenter::base::env::Env;
use bizcenter::config::{Config, SessionStore};
use bizcenter::services::redis::{Redis, RedisOptions};
use serde_json::json;
use std::time::Duration;

const PASSWORD: &str = "a-password-of-this-test";

/// A new user of this run's Redis.
struct RedisUser {
    name: String,
    url: String,
}

impl RedisUser {
    async fn with(rights: &[&str]) -> Self {
        let name = format!("test-{}", Env::real().uuid().simple());
        let url = redis_url().replace("redis://", &format!("redis://{name}:{PASSWORD}@"));
        let user = Self { name, url };
        user.grant(rights).await;
        user
    }

    /// Gives the user exactly these rights.
    async fn grant(&self, rights: &[&str]) {
        let password = format!(">{PASSWORD}");
        let words = [&["ACL", "SETUSER", &self.name, "reset", "on", &password][..], rights].concat();
        assert_eq!(redis_call::<String>(&redis_url(), &words).await, "OK");
    }

    async fn delete(self) {
        assert_eq!(redis_call::<i64>(&redis_url(), &["ACL", "DELUSER", &self.name]).await, 1);
    }

    fn connect(&self) -> Redis {
        Redis::new(&self.url, RedisOptions { pool_size: 1, timeout: Duration::from_secs(5) }).unwrap()
    }

    /// The settings of a server that uses Redis as this user and keeps its sessions in this store.
    fn settings(&self, session_store: SessionStore) -> impl FnOnce(&mut Config) + Send + use<> {
        let url = self.url.clone();
        move |config| {
            config.redis.url = Some(url.into());
            config.auth.session_store = session_store;
        }
    }
}

/// The rights that the README lists.
fn documented() -> Vec<&'static str> {
    let line = include_str!("../../README.md").lines().find(|line| line.starts_with("~bc:*"));
    line.expect("the README names the rights").split(' ').collect()
}

#[tokio::test]
async fn a_user_with_the_rights_of_the_readme_can_do_all_that_is_needed() {
    if !has_servers() {
        return;
    }
    let rights = documented();
    let user = RedisUser::with(&rights).await;
    assert_eq!(user.connect().missing_rights().await.unwrap(), None);
    let app = TestApp::with(user.settings(SessionStore::Redis)).await;
    let ready = app.readiness().await.expect(200).json();
    assert_eq!(ready["cache"], json!("up"), "{ready}");
    let owner = app.tenant().await.owner;
    let task = owner.task(json!({"title": "x"})).await;
    owner.get(&format!("/api/v1/tasks/{}", task["id"].as_str().unwrap())).expect(200).await;
    owner.item(json!({"title": "x"})).await;
    for _ in 0..2 {
        owner.get("/api/v1/items").expect(200).await;
    }
    owner.get("/api/v1/auth/sessions").expect(200).await;
    let refresh = json!({"refresh_token": owner.refresh_token()});
    app.visitor().post("/api/v1/auth/refresh").json(&refresh).expect(200).await;
    user.delete().await;
}

#[tokio::test]
async fn each_right_that_is_missing_is_named() {
    if !has_servers() {
        return;
    }
    let rights = documented();
    let user = RedisUser::with(&rights).await;
    for missing in &rights {
        let others: Vec<&str> = rights.iter().copied().filter(|right| right != missing).collect();
        user.grant(&others).await;
        let found = user.connect().missing_rights().await.unwrap().unwrap_or_else(|| panic!("{missing} is not missed"));
        assert!(found.contains(missing), "{missing}: {found}");
        let named = rights.iter().filter(|right| found.split(' ').any(|word| word == **right)).count();
        assert!(named == 1 || found.starts_with("one of"), "{missing}: {found}");
    }
    user.delete().await;
}

#[tokio::test]
async fn without_rights_on_our_keys_the_cache_is_down() {
    if !has_servers() {
        return;
    }
    let user = RedisUser::with(&["~other:*", "+@all"]).await;
    let passed_over = TestApp::with(user.settings(SessionStore::Database)).await;
    let ready = passed_over.readiness().await.expect(200).json();
    assert_eq!(ready["cache"], json!("down"), "{ready}: the server goes on without it");
    passed_over.tenant().await.owner.get("/api/v1/items").expect(200).await;

    let needed = TestApp::with(user.settings(SessionStore::Redis)).await;
    let ready = needed.readiness().await.expect(503);
    assert_eq!(ready.detail(), json!({"cache": ["does not grant its user all rights that the server needs"]}));
    user.grant(&documented()).await;
    assert_eq!(needed.readiness().await.expect(200).json()["cache"], json!("up"), "once it has them");
    user.delete().await;
}
