//! Limits that replicas share in Redis give the same results as the limits of a single server.
use super::{HIGH, ME, TASKS, counts, settings};
use crate::support::{TestApp, has_servers, redis_url};
use bizcenter::auth::limits::{Limit, Limits};
use bizcenter::base::env::Env;
use bizcenter::config::RateLimitConfig;
use bizcenter::services::redis::{Redis, RedisOptions};
use chrono::{DateTime, Duration};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const SECOND: i64 = 1_000_000;

/// Makes random calls at random times. The clock stands still in between and is sometimes set back.
#[tokio::test]
async fn any_turns_are_taken_alike() {
    if !has_servers() {
        return;
    }
    let real = Env::real();
    let clock = Arc::new(AtomicI64::new(real.now().timestamp_micros()));
    let time = clock.clone();
    let env = Env::new(move || DateTime::from_timestamp_micros(time.load(Ordering::SeqCst)).unwrap(), |_| {});
    let options = RedisOptions { pool_size: 2, timeout: std::time::Duration::from_secs(10) };
    let redis = Redis::new(&redis_url(), options).unwrap();
    let [here, there] = [None, Some(redis)].map(|redis| Limits::new(*HIGH, redis, env.clone()));
    let (mut allowed, mut refused) = (0, 0);
    for _ in 0..20 {
        let [requests, writes] = ["requests", "writes"].map(|name| format!("bc:test:{}:{name}", real.uuid()));
        let mut story = vec![];
        for byte in real.random_bytes::<60>() {
            let limit = |policy, key: &String, quota, seconds| {
                let window = std::time::Duration::from_secs(seconds);
                Limit { policy, key: key.clone(), quota, window }
            };
            let quota = [7, 1, 60, 13][usize::from(byte >> 6)]; // as if the quota was changed
            let mut limits = vec![limit("requests", &requests, quota, 3600)];
            if byte & 1 == 1 {
                limits.push(limit("writes", &writes, 3, 600));
            }
            let pauses = [0, 0, 1, SECOND, 200 * SECOND, 514_285_714, 7200 * SECOND, -50 * SECOND];
            clock.fetch_add(pauses[usize::from(byte >> 1 & 7)], Ordering::SeqCst);
            let (taken, shared) = (here.take(&limits).await.unwrap(), there.take(&limits).await.unwrap());
            story.push(byte);
            assert_eq!(taken, shared, "{story:?}");
            assert_eq!(taken.len(), limits.len());
            match taken.iter().any(|taken| taken.wait.is_some()) {
                true => refused += 1,
                false => allowed += 1,
            }
        }
    }
    assert!(allowed > 100 && refused > 100, "{allowed} allowed, {refused} refused");
}

#[tokio::test]
async fn a_server_with_redis_limits_its_users_as_one_without() {
    if !has_servers() {
        return;
    }
    let limits = RateLimitConfig { user_per_hour: 5, writes_per_minute: 2, ..*HIGH };
    let alone = TestApp::with(move |config| {
        settings(limits)(config);
        config.redis.url = None;
    });
    let shared = TestApp::with(move |config| {
        settings(limits)(config);
        config.redis.url = Some(redis_url().into());
    });
    let apps = [alone.await, shared.await];
    let people = [apps[0].tenant().await.owner, apps[1].tenant().await.owner];
    let (mut statuses, mut story) = (vec![], vec![]);
    for byte in apps[0].parts.env.random_bytes::<60>() {
        // At least 90 seconds, so that the speed of the two servers does not matter.
        let pause = [0, 0, 0, 0, 90, 360, 810, 3600][usize::from(byte & 7)];
        let mut told = vec![];
        for (app, person) in apps.iter().zip(&people) {
            app.clock.advance(Duration::seconds(pause));
            let call = match byte & 8 {
                0 => person.get(ME),
                _ => person.post(TASKS).json(&json!({"title": "x"})),
            };
            let answer = call.send().await;
            told.push((answer.status.as_u16(), counts(&answer)));
        }
        story.push(byte);
        assert_eq!(told[0], told[1], "{story:?}");
        statuses.push(told[0].0);
    }
    for expected in [200, 201, 429] {
        assert!(statuses.contains(&expected), "{statuses:?}");
    }
}
