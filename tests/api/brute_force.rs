//! Guessing passwords: a client that has failed too often has to wait, longer each time, whichever way it signs in.
use crate::support::{Answer, Call, PASSWORD, Person, TestApp, has_servers, redis_call, redis_url, until};
use bizcenter::auth::limits::network;
use bizcenter::config::{Config, RateLimitConfig};
use chrono::Duration;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

const LOGIN: &str = "/api/v1/auth/login";
const TOKEN: &str = "/api/v1/auth/token";
const CHANGE: &str = "/api/v1/auth/password";
const PROFILE: &str = "/api/v1/users/me";

/// Limits of five failures for an account and fifty for an address. No other limit interferes.
fn guarded(config: &mut Config) {
    config.rate_limit = RateLimitConfig::highest().unwrap();
    config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
}

async fn guarded_app() -> TestApp {
    TestApp::with(guarded).await
}

/// An IP address that no other test uses, because all servers of a run may count in one Redis.
struct Place {
    app: TestApp,
    address: String,
}

impl Place {
    fn somewhere(app: &TestApp) -> Self {
        let [a, b, c, d] = app.parts.env.random_bytes();
        Self { app: app.clone(), address: format!("2001:db8:{a:02x}{b:02x}:{c:02x}{d:02x}::1") }
    }

    fn sent_from_here(&self, call: Call) -> Call {
        call.header("x-forwarded-for", &self.address)
    }

    /// Signs in by e-mail address or username.
    fn sign_in(&self, name: &str, password: &str) -> Call {
        let form = [("grant_type", "password"), ("username", name), ("password", password)];
        self.sent_from_here(self.app.visitor().post(TOKEN).form(&form))
    }

    async fn wrong(&self, name: &str) {
        let answer = self.sign_in(name, "wrong").send().await;
        assert_eq!(answer.error(), (401, "invalid_credentials".into()), "{name}");
    }

    /// Sends the request within the wait, however slow this machine is: the clock is set back in the meantime.
    async fn at_once(&self, call: Call) -> Answer {
        self.app.clock.advance(Duration::seconds(-20));
        let answer = call.send().await;
        self.app.clock.advance(Duration::seconds(20));
        answer
    }

    /// The seconds that even the right password has to wait.
    async fn wait(&self, name: &str) -> i64 {
        let answer = self.at_once(self.sign_in(name, PASSWORD)).await;
        refused(&answer);
        answer.header("retry-after").unwrap().parse::<i64>().unwrap() - 20
    }
}

#[track_caller]
fn refused(answer: &Answer) {
    assert_eq!(answer.error(), (429, "rate_limited".into()));
    assert!(answer.header("retry-after").is_some());
}

fn seconds_since(begun: Instant) -> i64 {
    begun.elapsed().as_secs().try_into().unwrap()
}

async fn name(person: &Person, username: &str) {
    person.patch(PROFILE).json(&json!({"username": username})).expect(200).await;
}

// --- one account

#[tokio::test]
async fn after_five_failures_each_further_try_waits_twice_as_long_and_success_ends_it() {
    let app = guarded_app().await;
    let (email, place) = (app.tenant().await.owner.email(), Place::somewhere(&app));
    for _ in 0..4 {
        place.wrong(&email).await;
    }
    for seconds in [1, 2, 4, 8, 16] {
        let begun = Instant::now();
        place.wrong(&email).await;
        for _ in 0..2 {
            let told = place.wait(&email).await; // a refused try does not make the wait longer
            assert!((seconds - seconds_since(begun)..=seconds).contains(&told), "{told} instead of {seconds}");
        }
        app.clock.advance(Duration::seconds(seconds));
    }
    place.sign_in(&email, PASSWORD).expect(200).await;
    for _ in 0..4 {
        place.wrong(&email).await;
    }
    place.sign_in(&email, PASSWORD).expect(200).await;
}

#[tokio::test]
async fn all_ways_of_a_name_count_together() {
    let app = guarded_app().await;
    let tenant = app.tenant().await;
    let (email, place) = (tenant.owner.email(), Place::somewhere(&app));
    let login = |name: &str, value: &str| {
        let call = app.visitor().post(LOGIN).json(&json!({name: value, "password": "wrong"}));
        Place::somewhere(&app).sent_from_here(call) // from a new address each time
    };
    login("email", &email.to_uppercase()).expect(401).await;
    login("email", &email).expect(401).await;
    login("username", &email).expect(401).await;
    place.wrong(&format!(" {}", email.to_uppercase())).await;
    place.wrong(&email).await;
    place.wait(&email).await;
    Place::somewhere(&app).wait(&email).await;
    let colleague = tenant.viewer().await;
    place.sign_in(&colleague.email(), PASSWORD).expect(200).await;
}

/// Otherwise anybody who sees a username could find out by trying which address belongs to it.
#[tokio::test]
async fn another_name_of_an_account_that_waits_is_answered_as_a_strangers() {
    let app = guarded_app().await;
    let tenant = app.tenant().await;
    let (email, username, place) = (tenant.owner.email(), app.unique(), Place::somewhere(&app));
    name(&tenant.owner, &username).await;
    let told = async |name: &str, password: &str| {
        let answer = place.at_once(place.sign_in(name, password)).await;
        let mut body = answer.json();
        body["error"]["request_id"] = Value::Null;
        (answer.status.as_u16(), body, answer.header("retry-after").map(str::to_owned))
    };
    for (locked, other) in [(&username, &email), (&email, &username)] {
        for _ in 0..5 {
            place.wrong(locked).await;
        }
        place.wait(locked).await;
        let stranger = told(&app.unique(), "wrong").await;
        assert_eq!(stranger.0, 401);
        for password in ["wrong", PASSWORD] {
            assert_eq!(told(other, password).await, stranger, "{password}");
        }
        app.clock.advance(Duration::seconds(1));
        place.sign_in(other, PASSWORD).expect(200).await;
        place.wait(locked).await; // the success by the other name does not show here
        app.clock.advance(Duration::minutes(16));
    }
}

#[tokio::test]
async fn guesses_of_the_current_password_wait_by_themselves() {
    let app = guarded_app().await;
    let (owner, place) = (app.tenant().await.owner, Place::somewhere(&app));
    let change = |current: &str| {
        let input = json!({"current_password": current, "new_password": "another good password"});
        place.sent_from_here(owner.post(CHANGE).json(&input))
    };
    let move_away = |current: &str| {
        let input = json!({"current_password": current, "email": format!("{}@example.com", app.unique())});
        place.sent_from_here(owner.patch(PROFILE).json(&input))
    };
    for call in [change("wrong"), change("wrong"), move_away("wrong"), move_away("wrong"), change("wrong")] {
        let answer = call.send().await;
        assert_eq!(answer.error(), (422, "unprocessable".into()));
        assert_eq!(answer.detail(), json!({"current_password": ["is wrong"]}));
    }
    for call in [change(PASSWORD), change("wrong"), move_away(PASSWORD)] {
        refused(&place.at_once(call).await);
    }
    owner.patch(PROFILE).json(&json!({"name": "No guess"})).expect(200).await;
    app.clock.advance(Duration::seconds(1));
    for _ in 0..5 {
        place.wrong(&owner.email()).await; // sign-in has a count of its own
    }
    place.wait(&owner.email()).await;
    change(PASSWORD).expect(204).await; // failed sign-ins do not stop a signed-in user
    for _ in 0..4 {
        change("wrong").expect(422).await; // all failures are forgotten
    }
    change("another good password").expect(204).await;
    let failed = format!("SELECT action FROM audit_logs WHERE actor_id = {}", app.id(owner.id()));
    let failed = async || app.rows(&failed).await.iter().filter(|row| row[0] == "sign_in_failed").count();
    until("the failures are written down, beside the answers", async || failed().await == 14).await;
}

#[tokio::test]
async fn a_new_password_by_mail_ends_the_wait() {
    let app = guarded_app().await;
    let (owner, place, username) = (app.tenant().await.owner, Place::somewhere(&app), app.unique());
    let email = owner.email();
    name(&owner, &username).await;
    for name in [&username, &email] {
        for _ in 0..5 {
            place.wrong(name).await;
        }
        place.wait(name).await;
    }
    app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": email})).expect(202).await;
    app.run_jobs().await;
    let letters = app.mailbox.to(&email);
    let token = letters.iter().find(|letter| letter.text.contains("bcp_")).unwrap().token("bcp_");
    let input = json!({"token": token, "password": "another good password"});
    app.visitor().post("/api/v1/auth/password/reset").json(&input).expect(204).await;
    for name in [&email, &username] {
        place.at_once(place.sign_in(name, "another good password")).await.expect(200);
    }
}

#[tokio::test]
async fn of_many_tries_at_once_five_are_judged() {
    let app = guarded_app().await;
    let (email, place) = (app.tenant().await.owner.email(), Place::somewhere(&app));
    let begun = Instant::now();
    let answers = join_all((0..20).map(|_| place.sign_in(&email, "wrong").send())).await;
    let judged = answers.iter().filter(|answer| answer.status == 401).count();
    answers.iter().filter(|answer| answer.status != 401).for_each(refused);
    let most = 5 + usize::try_from(seconds_since(begun)).unwrap(); // each further one waited for a second
    assert!((1..=most).contains(&judged), "{judged} were judged");
    for _ in judged..5 {
        place.wrong(&email).await;
    }
    place.wait(&email).await;
}

// --- nobody learns which names are known

/// The answers to tries with a name: before, during and after the wait.
async fn story(place: &Place, name: &str) -> Vec<Value> {
    let mut answers = vec![];
    for _ in 0..5 {
        answers.push(place.sign_in(name, "wrong").send().await);
    }
    for _ in 0..3 {
        answers.push(place.at_once(place.sign_in(name, "wrong")).await);
    }
    place.app.clock.advance(Duration::seconds(1));
    answers.push(place.sign_in(name, "wrong").send().await);
    answers.push(place.at_once(place.sign_in(name, "wrong")).await);
    let tell = |answer: &Answer| {
        let mut body = answer.json();
        body["error"]["request_id"] = Value::Null;
        let mut headers: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
        headers.sort_unstable();
        json!({"status": answer.status.as_u16(), "body": body, "headers": headers})
    };
    answers.iter().map(tell).collect()
}

#[tokio::test]
async fn unknown_names_wait_as_known_ones_do() {
    let app = guarded_app().await;
    let tenant = app.tenant().await;
    let (username, disabled) = (app.unique(), tenant.viewer().await);
    name(&tenant.owner, &username).await;
    let inactive = json!({"is_active": false});
    tenant.owner.patch(&format!("/api/v1/users/{}", disabled.id())).json(&inactive).expect(200).await;
    let known = story(&Place::somewhere(&app), &tenant.owner.email()).await;
    let statuses: Vec<_> = known.iter().map(|told| told["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429, 401, 429]);
    let unknown = format!("{}@example.com", app.unique());
    for name in [&unknown, &app.unique(), &disabled.email()] {
        assert_eq!(story(&Place::somewhere(&app), name).await, known, "{name}");
    }
    let (place, name) = (Place::somewhere(&app), app.unique());
    for spelling in [&name, &name.to_uppercase(), &format!(" {name} "), &name.replacen('u', "\u{ff55}", 1), &name] {
        place.wrong(spelling).await;
    }
    place.wait(&name).await;
}

// --- one address

#[tokio::test]
async fn fifty_failures_from_an_address_make_it_wait_for_every_account() {
    let app = guarded_app().await;
    let (email, place) = (app.tenant().await.owner.email(), Place::somewhere(&app));
    for _ in 0..49 {
        place.wrong(&format!("{}@example.com", app.unique())).await;
    }
    place.sign_in(&email, PASSWORD).expect(200).await; // this is no failure
    let begun = Instant::now();
    place.wrong(&format!("{}@example.com", app.unique())).await;
    for _ in 0..6 {
        let told = place.wait(&email).await;
        assert!((1 - seconds_since(begun)..=1).contains(&told), "{told}");
    }
    let elsewhere = Place::somewhere(&app);
    elsewhere.wrong(&email).await; // refused tries there do not count against the account
    elsewhere.sign_in(&email, PASSWORD).expect(200).await;
    app.clock.advance(Duration::seconds(1));
    place.wrong(&email).await;
    assert!(place.wait(&email).await <= 2);
    app.clock.advance(Duration::minutes(16));
    for _ in 0..5 {
        place.wrong(&format!("{}@example.com", app.unique())).await; // the earlier failures are forgotten
    }
}

/// This is an office at nine in the morning.
#[tokio::test]
async fn twenty_people_of_one_address_sign_in_at_once() {
    let redis = has_servers().then(|| redis_url().into()); // with Redis, counting takes several steps
    let app = TestApp::with(move |config| {
        guarded(config);
        config.redis.url = redis;
    })
    .await;
    let (tenant, place) = (app.tenant().await, Place::somewhere(&app));
    let mut emails = vec![];
    for _ in 0..20 {
        emails.push(tenant.viewer().await.email());
    }
    for answer in join_all(emails.iter().map(|email| place.sign_in(email, PASSWORD).send())).await {
        answer.expect(200);
    }
}

// --- what is no guess

#[tokio::test]
async fn errors_of_the_server_and_right_passwords_are_no_failures() {
    let app = guarded_app().await;
    let tenant = app.tenant().await;
    let (viewer, place) = (tenant.viewer().await, Place::somewhere(&app));
    let id = app.id(viewer.id());
    let hash = app.rows(&format!("SELECT password_hash FROM users WHERE id = {id}")).await.concat().concat();
    let set = async |hash: &str| {
        app.run(&format!("UPDATE users SET password_hash = '{hash}' WHERE id = {id}")).await;
    };
    set("no hash").await;
    for _ in 0..7 {
        let answer = place.sign_in(&viewer.email(), PASSWORD).send().await;
        assert_eq!(answer.error(), (500, "internal_error".into()));
    }
    set(&hash).await;
    for _ in 0..4 {
        place.wrong(&viewer.email()).await;
    }
    place.sign_in(&viewer.email(), PASSWORD).expect(200).await;
    let inactive = json!({"is_active": false});
    tenant.owner.patch(&format!("/api/v1/users/{}", viewer.id())).json(&inactive).expect(200).await;
    for _ in 0..7 {
        let answer = place.sign_in(&viewer.email(), PASSWORD).send().await;
        assert_eq!(answer.error(), (403, "inactive_user".into()));
    }
}

#[tokio::test]
async fn where_limits_are_off_nobody_waits() {
    let app = TestApp::start().await;
    let (owner, place) = (app.tenant().await.owner, Place::somewhere(&app));
    for _ in 0..12 {
        place.wrong(&owner.email()).await;
    }
    for _ in 0..7 {
        let input = json!({"current_password": "wrong", "new_password": "another good password"});
        owner.post(CHANGE).json(&input).expect(422).await;
    }
    place.sign_in(&owner.email(), PASSWORD).expect(200).await;
}

/// The first of several parallel tries may arrive last, and the clocks of servers differ.
#[tokio::test]
async fn a_try_that_comes_late_does_not_wait() {
    let redis = has_servers().then(|| redis_url().into());
    let app = TestApp::with(move |config| {
        guarded(config);
        config.redis.url = redis;
    })
    .await;
    let (email, place) = (app.tenant().await.owner.email(), Place::somewhere(&app));
    for _ in 0..3 {
        place.wrong(&email).await;
        app.clock.advance(Duration::seconds(-2));
    }
    place.sign_in(&email, PASSWORD).expect(200).await;
}

#[tokio::test]
async fn redis_keeps_failures_no_longer_than_they_count() {
    if !has_servers() {
        return;
    }
    let app = TestApp::with(|config| {
        guarded(config);
        config.redis.url = Some(redis_url().into());
    })
    .await;
    let (email, place) = (app.tenant().await.owner.email(), Place::somewhere(&app));
    let key = format!("bc:failures:{}", network(Some(place.address.parse().unwrap())));
    let left = async || redis_call::<i64>(&redis_url(), &["PTTL", &key]).await;
    place.sign_in(&email, PASSWORD).expect(200).await;
    assert_eq!(left().await, -2, "there is nothing to remember");
    place.wrong(&email).await;
    for _ in 0..2 {
        assert!((1..=15 * 60 * 1000).contains(&left().await), "{}", left().await);
        place.sign_in(&email, PASSWORD).expect(200).await;
    }
    assert_eq!(redis_call::<i64>(&redis_url(), &["HGET", &key, "count"]).await, 1);
}
