//! Signing in: by password, by the OAuth2 form, and what a sign-in returns. Access tokens have tests of their own.
use crate::support::{Answer, PASSWORD, Tenant, TestApp, is_pooled, until};
use bizcenter::auth::credentials::MAX_CONCURRENT_LOGIN_AUDITS;
use bizcenter::auth::passwords::Passwords;
use bizcenter::base::metrics::Metrics;
use bizcenter::base::password::Password;
use bizcenter::base::queue::Claimant;
use bizcenter::config::Environment;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

const LOGIN: &str = "/api/v1/auth/login";
const TOKEN: &str = "/api/v1/auth/token";
const ME: &str = "/api/v1/auth/me";
const FORM: &str = "application/x-www-form-urlencoded";

async fn login(app: &TestApp, input: &Value) -> Answer {
    app.visitor().post(LOGIN).json(input).send().await
}

fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn without_request_id(answer: &Answer) -> Value {
    let mut body = answer.json();
    assert!(body["error"]["request_id"].take().is_string());
    body
}

/// Gives the owner this username.
async fn name_owner(tenant: &Tenant, username: &str) {
    let (app, user) = (&tenant.app, tenant.app.id(tenant.owner.id()));
    app.run(&format!("UPDATE users SET username = '{username}' WHERE id = {user}")).await;
    let [tenant, kind] = [app.id(tenant.id), "INSERT INTO logins (name, tenant_id, user_id)".to_owned()];
    app.run(&format!("{kind} VALUES ('{username}', {tenant}, {user})")).await;
}

// --- by JSON

#[tokio::test]
async fn an_email_address_in_any_spelling_and_a_username_sign_in() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let username = app.unique();
    name_owner(&tenant, &username).await;
    let email = tenant.owner.email();
    let full_width = email.replacen('o', "\u{ff4f}", 1);
    for email in [email.clone(), email.to_uppercase(), format!(" {email} "), full_width] {
        let answer = login(&app, &json!({"email": email, "password": PASSWORD})).await.expect(200).json();
        assert_eq!(answer["user"]["id"], json!(tenant.owner.id()), "{email}");
    }
    for username in [username.clone(), username.to_uppercase(), format!(" {username} "), email] {
        let answer = login(&app, &json!({"username": username, "password": PASSWORD})).await.expect(200).json();
        assert_eq!(answer["user"]["id"], json!(tenant.owner.id()), "{username}");
    }
}

#[tokio::test]
async fn one_name_must_be_given_and_not_two() {
    let app = TestApp::start().await;
    let email = app.tenant().await.owner.email();
    for input in [json!({"password": PASSWORD}), json!({"email": email, "username": email, "password": PASSWORD})] {
        let answer = login(&app, &input).await;
        assert_eq!(answer.error(), (422, "unprocessable".into()));
        assert_eq!(answer.detail(), json!({"email": ["exactly one of `email` and `username` is required"]}));
    }
}

#[tokio::test]
async fn what_breaks_the_schema_is_refused() {
    let app = TestApp::start().await;
    let email = app.tenant().await.owner.email();
    let faults = [
        (json!({"email": email}), "password"),
        (json!({"email": email, "password": "x".repeat(201)}), "password"),
        (json!({"email": email, "password": "a\u{0}b"}), "password"),
        (json!({"email": "no address", "password": PASSWORD}), "email"),
        (json!({"username": "x\u{0}", "password": PASSWORD}), "username"),
        (json!({"email": email, "password": PASSWORD, "device_name": "x".repeat(121)}), "device_name"),
        (json!({"email": email, "password": PASSWORD, "return_refresh_in_body": "yes"}), "return_refresh_in_body"),
        (json!({"email": email, "password": PASSWORD, "tenant_id": "t"}), "tenant_id"),
    ];
    for (input, member) in faults {
        let answer = login(&app, &input).await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{input}");
        assert_eq!(members(&answer.detail()), [member], "{input}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_the_same_as_a_wrong_password() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let refuse = async |input: Value| {
        let answer = login(&app, &input).await;
        assert_eq!(answer.error(), (401, "invalid_credentials".into()), "{input}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.header("set-cookie"), None);
        without_request_id(&answer)
    };
    let wrong = refuse(json!({"email": tenant.owner.email(), "password": "correct horse batterY"})).await;
    let unknown = format!("{}@example.com", app.unique());
    assert_eq!(refuse(json!({"email": unknown, "password": PASSWORD})).await, wrong);
    assert_eq!(refuse(json!({"username": "nobody", "password": PASSWORD})).await, wrong);
    assert_eq!(refuse(json!({"email": unknown, "password": ""})).await, wrong);
    assert_eq!(refuse(json!({"email": tenant.owner.email(), "password": "비".repeat(100)})).await, wrong);
}

/// Signs in with a wrong password for each of these addresses, in turn. Returns the median time for each address.
async fn medians<const N: usize>(app: &TestApp, emails: [&str; N]) -> [f64; N] {
    let now = || -> DateTime<Utc> { app.parts.env.now() };
    let mut times = [const { vec![] }; N];
    for _ in 0..9 {
        for (times, email) in times.iter_mut().zip(emails) {
            let started = now();
            login(app, &json!({"email": email, "password": "wrong"})).await.expect(401);
            times.push((now() - started).as_seconds_f64());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

#[tokio::test]
async fn an_unknown_name_takes_as_long_as_a_wrong_password() {
    let app = TestApp::with(|config| config.auth.bcrypt_cost = 8).await;
    let tenant = app.tenant().await;
    let without_password = tenant.viewer().await;
    app.run(&format!("UPDATE users SET password_hash = NULL WHERE id = {}", app.id(without_password.id()))).await;
    let from_before = tenant.viewer().await; // a user from before the cost of hashes was raised
    let cheap = Passwords::new(5, app.parts.env.clone(), Metrics::default().queue("passwords"));
    let cheap = cheap.hash(Claimant::server(), &Password::new(PASSWORD)).await.unwrap();
    app.run(&format!("UPDATE users SET password_hash = '{cheap}' WHERE id = {}", app.id(from_before.id()))).await;
    let (known, none, cheap) = (tenant.owner.email(), without_password.email(), from_before.email());
    let [known, unknown, none, cheap] = medians(&app, [&known, "nobody@example.com", &none, &cheap]).await;
    for other in [unknown, none, cheap] {
        assert!(other > known / 2.0 && other < known * 2.0, "{other} s against {known} s");
    }
}

#[tokio::test]
async fn a_disabled_user_learns_so_only_by_the_right_password() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, viewer) = (&tenant.app, tenant.viewer().await);
    app.run(&format!("UPDATE users SET is_active = FALSE WHERE id = {}", app.id(viewer.id()))).await;
    let right = login(app, &json!({"email": viewer.email(), "password": PASSWORD})).await;
    assert_eq!(right.error(), (403, "inactive_user".into()));
    assert_eq!(right.header("set-cookie"), None);
    let wrong = login(app, &json!({"email": viewer.email(), "password": "wrong"})).await;
    assert_eq!(wrong.error(), (401, "invalid_credentials".into()));
    let form = app.visitor().post(TOKEN).form(&[
        ("grant_type", "password"),
        ("username", &viewer.email()),
        ("password", PASSWORD),
    ]);
    assert_eq!(form.send().await.error(), (403, "inactive_user".into()));
}

#[tokio::test]
async fn a_sign_in_that_is_refused_in_spite_of_the_right_password_is_in_the_audit_log() {
    let easy = TestApp::alone().await;
    let (tenant, suspended) = (easy.tenant().await, easy.tenant().await);
    let app = easy.replica_with(|config| config.auth.require_verified_email = true).await;
    let unverified = json!({"email": format!("{}@example.com", app.unique()), "password": PASSWORD, "name": "Nora"});
    let unverified = app.visitor().post("/api/v1/auth/register").json(&unverified).expect(201).await.json();
    let disabled = tenant.viewer().await;
    app.run(&format!("UPDATE users SET is_active = FALSE WHERE id = {}", app.id(disabled.id()))).await;
    let guest = suspended.viewer().await;
    app.run(&format!("UPDATE tenants SET is_suspended = TRUE WHERE id = {}", app.id(suspended.id))).await;
    let of = |email: &str, id: &str| (email.to_owned(), id.parse::<Uuid>().unwrap());
    let people = [
        of(&disabled.email(), &disabled.id().to_string()),
        of(&guest.email(), &guest.id().to_string()),
        of(unverified["email"].as_str().unwrap(), unverified["id"].as_str().unwrap()),
    ];
    for (email, id) in people {
        let answer = login(&app, &json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(answer.error(), (403, "inactive_user".into()), "{email}");
        let request = answer.header("x-request-id").unwrap();
        let id = app.id(id);
        let about = format!("subject_id = {id} AND actor_id = {id} AND ip = '127.0.0.1' AND request_id = '{request}'");
        let rows = app.rows(&format!("SELECT action, subject_kind FROM audit_logs WHERE {about}")).await;
        assert_eq!(rows, [["sign_in_refused", "user"]], "{email}");
    }
}

#[tokio::test]
async fn only_so_many_failures_wait_to_be_written_to_the_audit_log() {
    if is_pooled("the failures that wait for a lock have all of the pooler's sessions") {
        return;
    }
    let tenant = TestApp::alone().await.tenant().await;
    let app = &tenant.app;
    let held = app.lock_row("tenants", tenant.id).await; // nothing about the tenant can be logged
    let (known, unknown) = (tenant.owner.email(), format!("{}@example.com", app.unique()));
    let wrong = |email: &str| json!({"email": email, "password": "wrong"});
    for _ in 0..MAX_CONCURRENT_LOGIN_AUDITS {
        login(app, &wrong(&known)).await.expect(401);
    }
    let (known, unknown) = (wrong(&known), wrong(&unknown));
    let places = app.parts.metrics.queue("failed_sign_ins");
    tokio::select! {
        answers = async { tokio::join!(login(app, &known), login(app, &unknown)) } => panic!("{answers:?}"),
        // Both must wait. Otherwise the wait would reveal which address a user has.
        () = until("both wait", async || places.waiting.get() == 2) => {}
    }
    tenant.owner.get(ME).expect(200).await;
    held.roll_back().await;
    login(app, &unknown).await.expect(401);
    login(app, &known).await.expect(401);
}

#[tokio::test]
async fn a_hash_of_another_cost_is_renewed_by_who_signs_in() {
    let old = TestApp::alone().await;
    let tenant = old.tenant().await;
    let app = old.replica_with(|config| config.auth.bcrypt_cost = 5).await;
    let (viewer, idle) = (tenant.viewer().await, tenant.viewer().await);
    let hash = async |id| {
        let found = app.rows(&format!("SELECT password_hash FROM users WHERE id = {}", app.id(id))).await;
        found.concat().concat()
    };
    let input = json!({"email": viewer.email(), "password": PASSWORD});
    let answers = join_all((0..8).map(|_| login(&app, &input))).await;
    for answer in answers {
        let user = answer.expect(200).json()["user"].clone();
        assert_eq!(user, viewer.signed_in["user"], "nothing of it can be seen");
    }
    assert!(hash(viewer.id()).await.starts_with("$2b$05$"));
    assert!(hash(idle.id()).await.starts_with("$2b$04$"));
    viewer.get(ME).expect(200).await; // other sessions continue
    login(&app, &json!({"email": idle.email(), "password": "wrong"})).await.expect(401);
    assert!(hash(idle.id()).await.starts_with("$2b$04$"));
}

// --- what is answered

#[tokio::test]
async fn the_answer_has_tokens_and_the_user_and_is_not_stored() {
    let tenant = TestApp::start().await.tenant().await;
    let input = json!({"email": tenant.owner.email(), "password": PASSWORD});
    let answer = login(&tenant.app, &input).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    let expected = ["access_token", "expires_in", "refresh_expires_in", "token_type", "user"];
    assert_eq!(members(&body), expected);
    let facts = (&body["token_type"], &body["expires_in"], &body["refresh_expires_in"]);
    assert_eq!(facts, (&json!("Bearer"), &json!(900), &json!(1_209_600)));
    assert_eq!(body["user"], tenant.owner.get(ME).expect(200).await.json());
    assert!(!answer.text().contains("bcr_") && !answer.text().contains("$2"), "{}", answer.text());
}

#[tokio::test]
async fn the_refresh_token_is_in_a_cookie_that_scripts_and_other_paths_do_not_see() {
    let tenant = TestApp::start().await.tenant().await;
    let input = json!({"email": tenant.owner.email(), "password": PASSWORD});
    let answer = login(&tenant.app, &input).await.expect(200);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1);
    let (token, attributes) = answer.header("set-cookie").unwrap().split_once("; ").unwrap();
    assert!(token.starts_with("refresh_token=bcr_"), "{token}");
    let mut attributes: Vec<_> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Max-Age=1209600", "Path=/api/v1/auth", "SameSite=Strict"]);
}

#[tokio::test]
async fn the_cookie_wants_https_outside_development() {
    for environment in [Environment::Staging, Environment::Production] {
        let app = TestApp::with(move |config| config.environment = environment).await;
        let owner = app.tenant().await.owner;
        let input = json!({"email": owner.email(), "password": PASSWORD});
        let signed_in = login(&app, &input).await.expect(200);
        let signed_out = owner.post("/api/v1/auth/logout").expect(204).await;
        for answer in [signed_in, signed_out] {
            let cookie = answer.header("set-cookie").unwrap();
            assert!(cookie.split("; ").any(|attribute| attribute == "Secure"), "{cookie}");
        }
    }
}

#[tokio::test]
async fn the_refresh_token_is_in_the_body_only_where_it_is_asked_for() {
    let tenant = TestApp::start().await.tenant().await;
    let input = json!({"email": tenant.owner.email(), "password": PASSWORD, "return_refresh_in_body": true});
    let answer = login(&tenant.app, &input).await.expect(200);
    assert!(answer.json()["refresh_token"].as_str().unwrap().starts_with("bcr_"));
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn without_cookies_the_refresh_token_is_in_the_body() {
    let app = TestApp::with(|config| config.auth.refresh_in_cookie = false).await;
    let owner = app.tenant().await.owner;
    let answer = login(&app, &json!({"email": owner.email(), "password": PASSWORD})).await.expect(200);
    assert_eq!(answer.header("set-cookie"), None);
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let cookie = format!("refresh_token={token}");
    let refreshed = app.visitor().post("/api/v1/auth/refresh").header("cookie", &cookie).expect(200).await;
    assert_eq!(refreshed.header("set-cookie"), None);
    assert!(refreshed.json()["refresh_token"].is_string());
}

#[tokio::test]
async fn me_is_answered_with_an_etag_and_not_twice() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let me = owner.get(ME).expect(200).await;
    let etag = me.header("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}"); // a strong tag
    assert_eq!(me.header("cache-control"), Some("private, no-cache"));
    assert_eq!((&me.json()["email"], &me.json()["tenant_id"]), (&json!(owner.email()), &json!(tenant.id)));
    for known in [etag, &format!("W/{etag}"), &format!("\"other\", {etag}"), "*"] {
        let answer = owner.get(ME).header("if-none-match", known).expect(304).await;
        assert_eq!((answer.header("etag"), answer.body.len()), (Some(etag), 0), "{known}");
    }
    owner.get(ME).header("if-none-match", "\"other\"").expect(200).await;
    tenant.viewer().await.get(ME).header("if-none-match", etag).expect(200).await; // another user's tag
    app.run(&format!("UPDATE users SET name = 'Anew', version = 2 WHERE id = {}", app.id(owner.id()))).await;
    let anew = owner.get(ME).header("if-none-match", etag).expect(200).await;
    assert_ne!(anew.header("etag"), Some(etag));
    assert_eq!(anew.json()["name"], json!("Anew"));
}

// --- by the OAuth2 form

#[tokio::test]
async fn the_form_signs_in_by_either_name_with_the_refresh_token_in_the_body() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let username = app.unique();
    name_owner(&tenant, &username).await;
    for name in [tenant.owner.email().to_uppercase(), username] {
        let rest = [("scope", "all"), ("client_id", "docs"), ("client_secret", "any")];
        let form = [[("grant_type", "password"), ("username", &name), ("password", PASSWORD)], rest].concat();
        let answer = app.visitor().post(TOKEN).form(&form).expect(200).await;
        assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), (None, Some("no-store")));
        let person = app.visitor().with_tokens(answer.json());
        assert_eq!(person.id(), tenant.owner.id());
        person.get(ME).expect(200).await;
        let refresh = json!({"refresh_token": person.refresh_token()});
        app.visitor().post("/api/v1/auth/refresh").json(&refresh).expect(200).await;
    }
}

#[tokio::test]
async fn a_faulty_form_is_refused() {
    let app = TestApp::start().await;
    let email = app.tenant().await.owner.email().replace('@', "%40");
    let password = "password=correct+horse+battery";
    let faults = [
        (format!("grant_type=refresh_token&username={email}&{password}"), "refresh_token"),
        (format!("grant_type=&username={email}&{password}"), "grant_type"),
        (format!("username={email}&{password}"), "grant_type"),
        (format!("grant_type=password&username={email}"), "password"),
        (format!("grant_type=password&username={email}&{password}&password=other"), "password"),
    ];
    for (form, member) in faults {
        let answer = app.visitor().post(TOKEN).body(FORM, form.clone()).send().await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{form}");
        assert_eq!(members(&answer.detail()), [member], "{form}");
    }
    let sound = format!("grant_type=password&username={email}&{password}");
    app.visitor().post(TOKEN).body(&format!("{FORM}; charset=UTF-8"), sound).expect(200).await;
    let wrong = format!("grant_type=password&username={email}&password=wrong");
    let answer = app.visitor().post(TOKEN).body(FORM, wrong).send().await;
    assert_eq!(answer.error(), (401, "invalid_credentials".into()));
}

#[tokio::test]
async fn each_operation_takes_its_own_media_type() {
    let app = TestApp::start().await;
    let email = app.tenant().await.owner.email();
    let json = json!({"grant_type": "password", "username": email, "password": PASSWORD});
    let to_token = app.visitor().post(TOKEN).json(&json).send().await;
    assert_eq!(to_token.error(), (415, "unsupported_media_type".into()));
    let to_login = app.visitor().post(LOGIN).form(&[("email", &email), ("password", PASSWORD)]).send().await;
    assert_eq!(to_login.error(), (415, "unsupported_media_type".into()));
    let text = json!({"email": email, "password": PASSWORD}).to_string();
    let as_text = app.visitor().post(LOGIN).body("text/plain", text).send().await;
    assert_eq!(as_text.error(), (415, "unsupported_media_type".into())); // a form on another site could send this
}
