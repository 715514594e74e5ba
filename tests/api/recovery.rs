//! Tokens that are sent by mail: for a new password after the user forgot the old one, and to verify the user's
//! address.
use crate::support::{Answer, PASSWORD, Person, TestApp};
use chrono::Duration;
use futures_util::future::join_all;
use serde_json::{Value, json};

const FORGOT: &str = "/api/v1/auth/password/forgot";
const RESET: &str = "/api/v1/auth/password/reset";
const VERIFY: &str = "/api/v1/auth/email/verify";
const PROFILE: &str = "/api/v1/users/me";
const ME: &str = "/api/v1/auth/me";
const NEW: &str = "another good password";

async fn post(app: &TestApp, path: &str, input: &Value) -> Answer {
    app.visitor().post(path).json(input).send().await
}

async fn forgot(app: &TestApp, email: &str) -> Answer {
    post(app, FORGOT, &json!({"email": email})).await.expect(202)
}

async fn reset(app: &TestApp, token: &str) -> Answer {
    post(app, RESET, &json!({"token": token, "password": NEW})).await
}

async fn verify(app: &TestApp, token: &str) -> Answer {
    post(app, VERIFY, &json!({"token": token, "password": PASSWORD})).await
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    post(app, "/api/v1/auth/login", &json!({"email": email, "password": password})).await
}

/// Runs all jobs that are due, and returns the tokens of one kind that were mailed to an address. No other test has
/// jobs on this server.
async fn mailed(app: &TestApp, email: &str, prefix: &str) -> Vec<String> {
    app.run_jobs().await;
    let letters = app.mailbox.to(email);
    letters.iter().filter(|letter| letter.text.contains(prefix)).map(|letter| letter.token(prefix)).collect()
}

/// A token to set a new password. The user must not have received such a token before.
async fn reset_token(app: &TestApp, email: &str) -> String {
    forgot(app, email).await;
    let [token] = mailed(app, email, "bcp_").await.try_into().unwrap();
    token
}

#[track_caller]
fn no_good(answer: &Answer) {
    assert_eq!(answer.error(), (422, "unprocessable".into()));
    assert_eq!(answer.detail(), json!({"token": ["is not valid, was used, or has expired"]}));
}

/// Registers a user with an unverified address.
async fn newcomer(app: &TestApp) -> String {
    let email = format!("{}@example.com", app.unique());
    let input = json!({"email": email, "password": PASSWORD, "name": "Nora New"});
    post(app, "/api/v1/auth/register", &input).await.expect(201);
    email
}

async fn is_verified(person: &Person) -> Value {
    person.get(ME).expect(200).await.json()["email_verified"].clone()
}

// --- a new password

#[tokio::test]
async fn a_mailed_token_sets_a_new_password_once_and_ends_all_sessions() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let viewer = tenant.viewer().await;
    let (email, elsewhere) = (viewer.email(), app.visitor().sign_in(&viewer.email()).await);
    forgot(&app, &format!(" {}", email.to_uppercase())).await;
    let [token] = mailed(&app, &email, "bcp_").await.try_into().unwrap();
    assert_eq!(app.mailbox.to(&email)[0].subject, "Reset your password");
    viewer.get(ME).expect(200).await; // a request for a token changes nothing
    reset(&app, &token).await.expect(204);
    no_good(&reset(&app, &token).await);
    for person in [&viewer, &elsewhere] {
        assert_eq!(person.get(ME).send().await.error(), (401, "invalid_token".into()));
        let refresh = json!({"refresh_token": person.refresh_token()});
        assert_eq!(post(&app, "/api/v1/auth/refresh", &refresh).await.error(), (401, "invalid_token".into()));
    }
    assert_eq!(login(&app, &email, PASSWORD).await.error(), (401, "invalid_credentials".into()));
    login(&app, &email, NEW).await.expect(200);
    tenant.owner.get(ME).expect(200).await;
}

#[tokio::test]
async fn of_ten_who_use_a_token_at_once_one_sets_the_password() {
    let app = TestApp::alone().await;
    let email = app.tenant().await.viewer().await.email();
    let token = reset_token(&app, &email).await;
    let password = |n: usize| format!("another good password {n}");
    let inputs: Vec<_> = (0..10).map(|n| json!({"token": token, "password": password(n)})).collect();
    let answers = join_all(inputs.iter().map(|input| post(&app, RESET, input))).await;
    let winners: Vec<_> = (0..10).filter(|n| answers[*n].status == 204).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    answers.iter().filter(|answer| answer.status != 204).for_each(no_good);
    for n in 0..10 {
        login(&app, &email, &password(n)).await.expect(if n == winners[0] { 200 } else { 401 });
    }
}

#[tokio::test]
async fn asking_tells_nobody_who_is_known() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let (known, unknown) = (tenant.viewer().await.email(), format!("{}@example.com", app.unique()));
    let (disabled, removed) = (tenant.viewer().await, tenant.viewer().await);
    let path = |person: &Person| format!("/api/v1/users/{}", person.id());
    let token = reset_token(&app, &removed.email()).await;
    tenant.owner.patch(&path(&disabled)).json(&json!({"is_active": false})).expect(200).await;
    tenant.owner.delete(&path(&removed)).expect(204).await;
    app.clock.advance(Duration::minutes(2));
    let mut told = vec![];
    for email in [&known, &unknown, &disabled.email(), &removed.email()] {
        let answer = forgot(&app, email).await;
        let mut headers: Vec<_> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
        headers.sort_unstable();
        told.push((answer.text(), headers));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(mailed(&app, &known, "bcp_").await.len(), 1);
    assert_eq!(mailed(&app, &unknown, "").await.len() + mailed(&app, &disabled.email(), "").await.len(), 0);
    // From before the user was removed.
    assert_eq!(mailed(&app, &removed.email(), "bcp_").await, std::slice::from_ref(&token));
    no_good(&reset(&app, &token).await);
    for email in ["", "nobody", "a b@example.com"] {
        let answer = post(&app, FORGOT, &json!({"email": email})).await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{email}");
    }
}

#[tokio::test]
async fn asking_takes_as_long_for_the_unknown() {
    let app = TestApp::alone().await;
    let (known, unknown) = (app.tenant().await.viewer().await.email(), format!("{}@example.com", app.unique()));
    let mut times = [vec![], vec![]];
    for _ in 0..15 {
        for (times, email) in times.iter_mut().zip([&known, &unknown]) {
            let asked = app.parts.env.now();
            forgot(&app, email).await;
            times.push((app.parts.env.now() - asked).as_seconds_f64());
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    assert!(unknown > known / 3.0 && unknown < known * 3.0, "{unknown} s against {known} s");
}

#[tokio::test]
async fn a_token_is_good_for_half_an_hour_and_the_latest_alone() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let [early, late, again] = [tenant.viewer().await, tenant.viewer().await, tenant.viewer().await];
    let [in_time, too_late] = [reset_token(&app, &early.email()).await, reset_token(&app, &late.email()).await];
    let first = reset_token(&app, &again.email()).await;
    for _ in 0..3 {
        forgot(&app, &again.email()).await;
    }
    assert_eq!(mailed(&app, &again.email(), "bcp_").await, std::slice::from_ref(&first)); // only one mail a minute
    app.clock.advance(Duration::seconds(61));
    forgot(&app, &again.email()).await;
    let [_, second] = mailed(&app, &again.email(), "bcp_").await.try_into().unwrap();
    no_good(&reset(&app, &first).await);
    reset(&app, &second).await.expect(204);

    app.clock.advance(Duration::minutes(28));
    reset(&app, &in_time).await.expect(204);
    app.clock.advance(Duration::minutes(1));
    no_good(&reset(&app, &too_late).await);
    login(&app, &late.email(), PASSWORD).await.expect(200);
}

/// A person who reads the user's former mailbox must not get access. A token that was asked for before the password was
/// changed must not work, either.
#[tokio::test]
async fn a_token_is_no_good_once_the_address_or_the_password_was_changed() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let email = format!("{}@example.com", app.unique());
    let changes = [
        json!({"email": email, "current_password": PASSWORD}),
        json!({"password": "a third good password", "current_password": PASSWORD}),
    ];
    for change in changes {
        let viewer = tenant.viewer().await;
        let token = reset_token(&app, &viewer.email()).await;
        viewer.patch(PROFILE).json(&change).expect(200).await;
        no_good(&reset(&app, &token).await);
    }
}

#[tokio::test]
async fn a_token_sets_no_password_after_the_address_was_changed() {
    let app = TestApp::alone().await;
    let viewer = app.tenant().await.viewer().await;
    let token = reset_token(&app, &viewer.email()).await;
    let id = app.id(viewer.id());
    app.run(&format!("UPDATE users SET email = '{}@example.com' WHERE id = {id}", app.unique())).await;
    no_good(&reset(&app, &token).await);
    login(&app, &viewer.email(), PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_token_is_mailed_to_the_address_that_its_user_has_when_it_is_made() {
    let app = TestApp::alone().await;
    let viewer = app.tenant().await.viewer().await;
    let (former, email) = (viewer.email(), format!("{}@example.com", app.unique()));
    forgot(&app, &former).await;
    let change = format!("UPDATE users SET email = '{email}' WHERE id = {}", app.id(viewer.id()));
    let open = app.begin(&change).await;
    let commit = async {
        app.until_waiting_for_lock(1).await;
        open.commit().await;
    };
    tokio::join!(app.run_jobs(), commit);
    assert_eq!((mailed(&app, &former, "bcp_").await.len(), mailed(&app, &email, "bcp_").await.len()), (0, 1));
}

/// The change gets the lock first, and revokes the token that the reset uses. Neither waits for a lock that the other
/// holds.
#[tokio::test]
async fn a_change_of_the_password_and_a_reset_at_once_are_both_answered() {
    let app = TestApp::alone().await;
    let viewer = app.tenant().await.viewer().await;
    let token = reset_token(&app, &viewer.email()).await;
    let held = app.lock_row("users", viewer.id()).await;
    let late_reset = async {
        app.until_waiting_for_lock(1).await;
        reset(&app, &token).await
    };
    let unlock = async {
        app.until_waiting_for_lock(2).await;
        held.roll_back().await;
    };
    let change = json!({"current_password": PASSWORD, "new_password": NEW});
    let change = viewer.post("/api/v1/auth/password").json(&change).send();
    let (changed, late, ()) = tokio::join!(change, late_reset, unlock);
    changed.expect(204);
    no_good(&late);
}

#[tokio::test]
async fn a_token_is_good_for_its_own_purpose_alone() {
    let app = TestApp::alone().await;
    let tenant = app.unverified_tenant().await;
    let (owner, admin) = (&tenant.owner, tenant.admin().await);
    let reset_by = reset_token(&app, &owner.email()).await;
    let [verify_by] = mailed(&app, &owner.email(), "bcv_").await.try_into().unwrap();
    let key = json!({"name": "Robot", "role": "viewer"});
    let key = admin.post("/api/v1/api-keys").json(&key).expect(201).await.json()["key"].as_str().unwrap().to_owned();
    let no_resets = [
        verify_by.clone(),
        verify_by.replacen("bcv_", "bcp_", 1),
        reset_by[..reset_by.len() - 1].to_owned(),
        format!("{reset_by}A"),
        format!(" {reset_by}"),
        reset_by.to_lowercase(),
        reset_by[4..].to_owned(),
        key,
        owner.refresh_token(),
        owner.token.clone().unwrap(),
        "bcp_".to_owned(),
        String::new(),
        "비".repeat(300),
    ];
    for token in &no_resets {
        no_good(&reset(&app, token).await);
    }
    for token in ["", &reset_by, &reset_by.replacen("bcp_", "bcv_", 1), &format!("{verify_by}A")] {
        no_good(&verify(&app, token).await);
    }
    assert_eq!(reset(&app, &"x".repeat(1001)).await.error(), (400, "validation_error".into()));
    assert_eq!(is_verified(owner).await, json!(false));
    owner.post(VERIFY).json(&json!({"token": verify_by})).expect(204).await; // none of this used up the tokens
    assert_eq!(is_verified(owner).await, json!(true));
    reset(&app, &reset_by).await.expect(204);
}

#[tokio::test]
async fn a_disabled_user_is_not_let_in_by_a_token_from_before() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let viewer = tenant.viewer().await;
    let token = reset_token(&app, &viewer.email()).await;
    let path = format!("/api/v1/users/{}", viewer.id());
    tenant.owner.patch(&path).json(&json!({"is_active": false})).expect(200).await;
    let answer = reset(&app, &token).await;
    let password = if answer.status == 204 { NEW } else { PASSWORD };
    assert_eq!(login(&app, &viewer.email(), password).await.error(), (403, "inactive_user".into()));
}

#[tokio::test]
async fn the_commonest_passwords_are_refused_wherever_one_is_set() {
    let app = TestApp::with(|config| config.auth.refuse_common_passwords = true).await;
    let viewer = app.tenant().await.viewer().await;
    let token = reset_token(&app, &viewer.email()).await;
    for common in ["password1", "PassWord1", "\u{ff50}assword1"] {
        let email = format!("{}@example.com", app.unique());
        let calls = [
            (app.visitor().post("/api/v1/auth/register"), json!({"email": email, "name": "Nora", "password": common})),
            (app.visitor().post(RESET), json!({"token": token, "password": common})),
            (viewer.post("/api/v1/auth/password"), json!({"current_password": PASSWORD, "new_password": common})),
            (viewer.patch(PROFILE), json!({"current_password": PASSWORD, "password": common})),
        ];
        for (member, (call, input)) in ["password", "password", "new_password", "password"].into_iter().zip(calls) {
            let answer = call.json(&input).send().await;
            assert_eq!(answer.error(), (422, "unprocessable".into()), "{input}");
            assert_eq!(
                answer.detail(),
                json!({member: ["is a commonly used password. Choose another one."]}),
                "{input}"
            );
        }
    }
    viewer.get(ME).expect(200).await;
    reset(&app, &token).await.expect(204); // it was not used up
    let app = TestApp::start().await; // a server that accepts unverified addresses
    let input = json!({"email": format!("{}@example.com", app.unique()), "password": "password1", "name": "Nora"});
    post(&app, "/api/v1/auth/register", &input).await.expect(201);
}

// --- addresses

#[tokio::test]
async fn where_it_is_a_must_nobody_signs_in_before_the_address_is_verified() {
    let app = TestApp::with(|config| config.auth.require_verified_email = true).await;
    let email = newcomer(&app).await;
    let closed = async |email: &str| {
        let answer = login(&app, email, PASSWORD).await;
        assert_eq!((answer.error(), answer.header("set-cookie")), ((403, "inactive_user".into()), None));
    };
    closed(&email).await;
    let form = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
    app.visitor().post("/api/v1/auth/token").form(&form).expect(403).await;
    let [first] = mailed(&app, &email, "bcv_").await.try_into().unwrap(); // only one mail for all tries
    app.clock.advance(Duration::seconds(61));
    assert_eq!(login(&app, &email, "wrong").await.error(), (401, "invalid_credentials".into()));
    assert_eq!(mailed(&app, &email, "bcv_").await, std::slice::from_ref(&first));
    closed(&email).await;
    let [_, second] = mailed(&app, &email, "bcv_").await.try_into().unwrap();
    no_good(&verify(&app, &first).await);
    closed(&email).await;
    app.clock.advance(Duration::days(3) - Duration::minutes(2));
    verify(&app, &second).await.expect(204);
    no_good(&verify(&app, &second).await);
    let user = login(&app, &email, PASSWORD).await.expect(200).json()["user"].clone();
    assert_eq!(user["email_verified"], json!(true));
    assert_eq!(mailed(&app, &email, "bcv_").await.len(), 2); // there is nothing left to verify

    let late = newcomer(&app).await;
    let [token] = mailed(&app, &late, "bcv_").await.try_into().unwrap();
    app.clock.advance(Duration::days(3) + Duration::minutes(1));
    no_good(&verify(&app, &token).await);
    closed(&late).await;
    let token = reset_token(&app, &late).await;
    reset(&app, &token).await.expect(204); // which proves that they read the mail of this address
    login(&app, &late, NEW).await.expect(200);
}

#[tokio::test]
async fn a_token_verifies_the_address_that_it_was_mailed_to() {
    let app = TestApp::alone().await;
    let (former, email) = (newcomer(&app).await, format!("{}@example.com", app.unique()));
    let [token] = mailed(&app, &former, "bcv_").await.try_into().unwrap();
    let person = app.visitor().sign_in(&former).await;
    assert_eq!(is_verified(&person).await, json!(false));
    let change = json!({"email": email, "current_password": PASSWORD});
    person.patch(PROFILE).json(&change).expect(200).await;
    let _ = verify(&app, &token).await; // the answer does not matter here
    assert_eq!(is_verified(&person).await, json!(false));
    let [token] = mailed(&app, &email, "bcv_").await.try_into().unwrap();
    let is_told = |address: &str| {
        let letters = app.mailbox.to(address);
        letters.iter().any(|letter| letter.subject == "Your e-mail address was changed")
    };
    assert!(!is_told(&former), "nobody has proved that it is theirs");
    person.post(VERIFY).json(&json!({"token": token})).expect(204).await;
    assert_eq!(is_verified(&person).await, json!(true));
    let change = json!({"email": former, "current_password": PASSWORD});
    let changed = person.patch(PROFILE).json(&change).expect(200).await.json();
    assert_eq!(changed["email_verified"], json!(false));
    app.run_jobs().await;
    assert!(is_told(&email));
}

#[tokio::test]
async fn links_lead_to_the_front_end_where_there_is_one() {
    let links = TestApp::with(|config| config.mail.app_url = Some("https://app.example.com/ui".into())).await;
    let bare = TestApp::alone().await;
    for (app, url) in [(&links, "https://app.example.com/ui"), (&bare, "")] {
        let email = newcomer(app).await;
        forgot(app, &email).await;
        app.run_jobs().await;
        let letters = app.mailbox.to(&email);
        for (prefix, page) in [("bcv_", "verify-email"), ("bcp_", "reset-password")] {
            let letter = letters.iter().find(|letter| letter.text.contains(prefix)).unwrap();
            let token = letter.token(prefix);
            let line = if url.is_empty() { token } else { format!("{url}/{page}?token={token}") };
            assert!(letter.text.lines().any(|text| text == line), "{}", letter.text);
            assert!(letter.text.contains("Hello \"Nora New\","), "{}", letter.text);
        }
    }
}
