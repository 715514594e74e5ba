//! Rate limits: the parties whose requests are counted, what clients learn about the limits, and what is not counted.
mod credentials;
mod in_redis;
mod rules;
mod usernames;

use crate::support::{Answer, PASSWORD, Person, TestApp};
use bizcenter::config::{Config, RateLimitConfig};
use chrono::Duration;
use serde_json::{Value, json};
use std::sync::LazyLock;

const ME: &str = "/api/v1/auth/me";
const STATUS: &str = "/api/v1/status";
const TASKS: &str = "/api/v1/tasks";
const REFRESH: &str = "/api/v1/auth/refresh";
const FORWARDED: &str = "x-forwarded-for";

/// Limits that are on, but too high for any test to reach.
static HIGH: LazyLock<RateLimitConfig> = LazyLock::new(|| RateLimitConfig::highest().unwrap());

/// Settings with these limits. Each test has IP addresses of its own, because all servers of a run may count in one
/// Redis.
fn settings(limits: RateLimitConfig) -> impl FnOnce(&mut Config) + Send + 'static {
    move |config: &mut Config| {
        config.redis.url = None; // in Redis, all servers of a run would share the count of 127.0.0.1
        config.rate_limit = limits;
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.auth.access_lifetime = std::time::Duration::from_secs(864_000); // tests advance the clock by hours
    }
}

async fn limited(limits: RateLimitConfig) -> TestApp {
    TestApp::with(settings(limits)).await
}

/// An IP address that no other test uses.
fn address(app: &TestApp) -> String {
    let [a, b, c, d] = app.parts.env.random_bytes();
    format!("2001:db8:{a:02x}{b:02x}:{c:02x}{d:02x}::1")
}

/// Parses `"user";q=5;w=3600` as `("user", [5, 3600])`.
fn item(text: &str, names: [&str; 2]) -> (String, [i64; 2]) {
    let [name, first, second] = text.split(';').collect::<Vec<_>>().try_into().unwrap();
    let number = |text: &str, name: &str| -> i64 { text.strip_prefix(name).unwrap().parse().unwrap() };
    (name.trim_matches('"').to_owned(), [number(first, names[0]), number(second, names[1])])
}

/// What the headers of an answer say about each limit: its name, quota, window, the remaining requests, and the seconds
/// until the whole quota is available again.
#[track_caller]
fn told(answer: &Answer) -> Vec<(String, [i64; 4])> {
    let items = |name: &str, parts| {
        let text = answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}"));
        text.split(", ").map(|text| item(text, parts)).collect::<Vec<_>>()
    };
    let (policies, states) = (items("ratelimit-policy", ["q=", "w="]), items("ratelimit", ["r=", "t="]));
    assert_eq!(policies.len(), states.len());
    let pairs = policies.into_iter().zip(states);
    pairs
        .map(|((policy, [quota, window]), (name, [remaining, reset]))| {
            assert_eq!(policy, name);
            (policy, [quota, window, remaining, reset])
        })
        .collect()
}

/// Each limit in the headers of an answer, in the form `user 5/3600: 4`.
#[track_caller]
fn counts(answer: &Answer) -> Vec<String> {
    let limits = told(answer).into_iter();
    limits.map(|(name, [quota, window, remaining, _])| format!("{name} {quota}/{window}: {remaining}")).collect()
}

/// The seconds that a refused request has to wait.
#[track_caller]
fn wait(answer: &Answer) -> i64 {
    assert_eq!(answer.error(), (429, "rate_limited".into()));
    answer.header("retry-after").unwrap().parse().unwrap()
}

async fn status(app: &TestApp, address: &str) -> Answer {
    app.visitor().get(STATUS).header(FORWARDED, address).send().await
}

/// The key of a new service account.
async fn api_key(maker: &Person) -> String {
    let made =
        maker.post("/api/v1/api-keys").json(&json!({"name": "Robot", "role": "editor"})).expect(201).await.json();
    made["key"].as_str().unwrap().to_owned()
}

// --- whose turns are counted

#[tokio::test]
async fn a_user_has_so_many_requests_an_hour_on_all_devices_together() {
    let app = limited(RateLimitConfig { user_per_hour: 5, ..*HIGH }).await;
    let tenant = app.tenant().await;
    let (owner, colleague) = (&tenant.owner, tenant.viewer().await);
    for turn in 1..=5 {
        let answer = owner.get(ME).expect(200).await;
        assert_eq!(counts(&answer), [format!("user 5/3600: {}", 5 - turn)]);
        let [_, _, _, reset] = told(&answer)[0].1;
        assert!((turn * 720 - 60..=turn * 720).contains(&reset), "{reset}");
    }
    let elsewhere = app.visitor().sign_in(&owner.email()).await;
    for _ in 0..3 {
        let refused = elsewhere.get(ME).send().await;
        assert!((660..=720).contains(&wait(&refused)), "{refused:?}");
        assert_eq!(counts(&refused), ["user 5/3600: 0"]);
        let [_, _, _, reset] = told(&refused)[0].1;
        assert!((3540..=3600).contains(&reset), "{reset}");
    }
    colleague.get(ME).expect(200).await;
    app.clock.advance(Duration::seconds(720));
    owner.get(ME).expect(200).await; // one request is available again, and the refused ones were not counted
    wait(&owner.get(ME).send().await);
    app.clock.advance(Duration::hours(1));
    for _ in 0..5 {
        owner.get(ME).expect(200).await;
    }
    wait(&owner.get(ME).send().await);
}

#[tokio::test]
async fn who_waits_as_long_as_they_are_told_is_served() {
    let app = limited(RateLimitConfig { user_per_hour: 7, anonymous_per_hour: 7, ..*HIGH }).await;
    let (owner, address) = (app.tenant().await.owner, address(&app));
    for turn in 0..7 {
        let (answer, visitor) = (owner.get(ME).expect(200).await, status(&app, &address).await.expect(200));
        assert_eq!(told(&visitor)[0].1[2], 6 - turn);
        assert_eq!(told(&answer)[0].1[2], 6 - turn);
    }
    let seconds = wait(&status(&app, &address).await).max(wait(&owner.get(ME).send().await));
    app.clock.advance(Duration::seconds(seconds));
    status(&app, &address).await.expect(200);
    let answer = owner.get(ME).expect(200).await;
    app.clock.advance(Duration::seconds(told(&answer)[0].1[3]));
    for _ in 0..7 {
        owner.get(ME).expect(200).await; // the whole quota is available again
    }
}

#[tokio::test]
async fn an_api_key_has_turns_of_its_own() {
    let app = limited(RateLimitConfig { api_key_per_hour: 2, user_per_hour: 10, writes_per_minute: 7, ..*HIGH }).await;
    let owner = app.tenant().await.owner;
    let [first, second] = [api_key(&owner).await, api_key(&owner).await];
    let list = |key: &str| app.visitor().get(TASKS).header("x-api-key", key);
    assert_eq!(counts(&list(&first).expect(200).await), ["api-key 2/3600: 1"]);
    let create = app.visitor().post(TASKS).header("x-api-key", &first).json(&json!({"title": "By a robot"}));
    assert_eq!(counts(&create.expect(201).await), ["api-key 2/3600: 0", "writes 7/60: 6"]);
    assert!(wait(&list(&first).send().await) <= 1800);
    list(&second).expect(200).await;
    // Three requests: two to create keys, and this one.
    assert_eq!(counts(&owner.get(ME).expect(200).await), ["user 10/3600: 7"]);
    app.clock.advance(Duration::seconds(1800));
    list(&first).expect(200).await;
    wait(&list(&first).send().await);
}

#[tokio::test]
async fn who_can_not_prove_who_they_are_is_counted_by_address() {
    let app = limited(RateLimitConfig { anonymous_per_hour: 6, ..*HIGH }).await;
    let (owner, here, elsewhere) = (app.tenant().await.owner, address(&app), address(&app));
    let calls = || {
        let visitor = app.visitor();
        let bad_refresh = json!({"refresh_token": "bcr_x"});
        let calls = [
            visitor.get(STATUS),
            visitor.get(ME),
            visitor.get(ME).header("authorization", "Bearer x"),
            visitor.get(ME).header("x-api-key", "bc_x"),
            visitor.post(REFRESH),
            visitor.post(REFRESH).json(&bad_refresh),
        ];
        calls.map(|call| call.header(FORWARDED, &here))
    };
    for (turn, (call, expected)) in calls().into_iter().zip([200, 401, 401, 401, 401, 401]).enumerate() {
        let answer = call.expect(expected).await;
        assert_eq!(counts(&answer), [format!("anonymous 6/3600: {}", 5 - turn)]);
    }
    for call in calls() {
        assert!(wait(&call.send().await) <= 600);
    }
    wait(&status(&app, &here.replace("::1", ":ffff::2")).await); // an address in the network of the same subscriber
    status(&app, &elsewhere).await.expect(200);
    let signed_in = owner.get(ME).header(FORWARDED, &here).expect(200).await;
    assert_eq!(counts(&signed_in), ["user 1000000/3600: 999999"]);
    app.clock.advance(Duration::seconds(600));
    status(&app, &here).await.expect(200);
    wait(&status(&app, &here).await);
}

#[tokio::test]
async fn a_forwarded_address_is_believed_of_trusted_proxies_alone() {
    let limits = RateLimitConfig { anonymous_per_hour: 2, ..*HIGH };
    let app = TestApp::with(move |config| {
        config.rate_limit = limits;
        config.redis.url = None; // in Redis, all servers of a run would share the count of 127.0.0.1
    })
    .await;
    for remaining in ["1", "0"] {
        let answer = status(&app, &address(&app)).await.expect(200);
        assert_eq!(counts(&answer), [format!("anonymous 2/3600: {remaining}")]);
    }
    wait(&status(&app, &address(&app)).await);
    let trusting = app.replica_with(settings(limits)).await;
    let (client, other) = (address(&app), address(&app));
    for expected in [200, 200, 429, 429] {
        let claims = format!("{}, {client}", address(&app)); // the address that the client itself sent comes first
        status(&trusting, &claims).await.expect(expected);
    }
    status(&trusting, &format!("{client}, {other}, 127.0.0.1")).await.expect(200);
}

#[tokio::test]
async fn registering_and_signing_in_count_by_address_and_against_nothing_else() {
    let limits = RateLimitConfig { register_per_minute: 2, login_per_minute: 3, anonymous_per_hour: 1, ..*HIGH };
    let app = limited(limits).await;
    let (here, elsewhere, name) = (address(&app), address(&app), app.unique());
    let post = |path: &str, address: &str| app.visitor().post(path).header(FORWARDED, address);
    let register = |address: &str, name: &str| {
        let input = json!({"email": format!("{name}@example.com"), "password": PASSWORD, "name": "Nora"});
        post("/api/v1/auth/register", address).json(&input)
    };
    assert_eq!(counts(&register(&here, &name).expect(201).await), ["register 2/60: 1"]);
    let faulty = post("/api/v1/auth/register", &here).json(&json!({})).expect(400).await;
    assert_eq!(counts(&faulty), ["register 2/60: 0"]);
    let refused = register(&here, &app.unique()).send().await;
    assert_eq!(counts(&refused), ["register 2/60: 0"]);
    assert!((1..=30).contains(&wait(&refused)));
    register(&elsewhere, &app.unique()).expect(201).await;

    let email = format!("{name}@example.com");
    let login = |password: &str| post("/api/v1/auth/login", &here).json(&json!({"email": email, "password": password}));
    assert_eq!(counts(&login("wrong").expect(401).await), ["login 3/60: 2"]);
    let form = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
    let by_form = || post("/api/v1/auth/token", &here).form(&form);
    assert_eq!(counts(&by_form().expect(200).await), ["login 3/60: 1"]);
    assert_eq!(counts(&login(PASSWORD).expect(200).await), ["login 3/60: 0"]);
    for call in [login(PASSWORD), by_form()] {
        assert!((1..=20).contains(&wait(&call.send().await)));
    }
    assert_eq!(counts(&status(&app, &here).await.expect(200)), ["anonymous 1/3600: 0"]);
    app.clock.advance(Duration::seconds(30));
    register(&here, &app.unique()).expect(201).await;
    login(PASSWORD).expect(200).await;
    wait(&register(&here, &app.unique()).send().await);
}

#[tokio::test]
async fn refreshing_counts_by_session_and_a_refused_token_stays_good() {
    let limits = RateLimitConfig { refresh_per_minute: 2, user_per_hour: 1, anonymous_per_hour: 1, ..*HIGH };
    let app = limited(limits).await;
    let (owner, here) = (app.tenant().await.owner, address(&app));
    let other = app.visitor().sign_in(&owner.email()).await;
    let refresh = async |token: &Value| {
        let call = app.visitor().post(REFRESH).header(FORWARDED, &here);
        call.json(&json!({"refresh_token": token})).send().await
    };
    let first = refresh(&owner.signed_in["refresh_token"]).await.expect(200);
    assert_eq!(counts(&first), ["refresh 2/60: 1"]);
    let second = refresh(&first.json()["refresh_token"]).await.expect(200);
    assert_eq!(counts(&second), ["refresh 2/60: 0"]);
    for _ in 0..2 {
        assert!((1..=30).contains(&wait(&refresh(&second.json()["refresh_token"]).await)));
    }
    refresh(&other.signed_in["refresh_token"]).await.expect(200);
    app.clock.advance(Duration::seconds(30));
    refresh(&second.json()["refresh_token"]).await.expect(200);
    status(&app, &here).await.expect(200);
    owner.get(ME).expect(200).await;
}

#[tokio::test]
async fn changes_count_twice_and_a_refused_one_not_at_all() {
    let app = limited(RateLimitConfig { user_per_hour: 10, writes_per_minute: 2, ..*HIGH }).await;
    let tenant = app.tenant().await;
    let (owner, viewer) = (&tenant.owner, tenant.viewer().await);
    let create = |person: &Person| person.post(TASKS).json(&json!({"title": "x"}));
    assert_eq!(counts(&create(owner).expect(201).await), ["user 10/3600: 9", "writes 2/60: 1"]);
    assert_eq!(counts(&create(owner).expect(201).await), ["user 10/3600: 8", "writes 2/60: 0"]);
    for _ in 0..3 {
        assert!((1..=30).contains(&wait(&create(owner).send().await)));
    }
    assert_eq!(counts(&owner.get(TASKS).expect(200).await), ["user 10/3600: 7"]);
    assert_eq!(counts(&create(&viewer).expect(403).await), ["user 10/3600: 9", "writes 2/60: 1"]);
    app.clock.advance(Duration::seconds(30));
    assert_eq!(counts(&create(owner).expect(201).await), ["user 10/3600: 6", "writes 2/60: 0"]);
}

#[tokio::test]
async fn a_refused_change_is_told_what_really_remains() {
    let app = limited(RateLimitConfig { user_per_hour: 10, writes_per_minute: 1, ..*HIGH }).await;
    let owner = app.tenant().await.owner;
    let create = || owner.post(TASKS).json(&json!({"title": "x"}));
    assert_eq!(counts(&create().expect(201).await), ["user 10/3600: 9", "writes 1/60: 0"]);
    assert_eq!(counts(&create().expect(429).await), ["user 10/3600: 9", "writes 1/60: 0"]);
}
