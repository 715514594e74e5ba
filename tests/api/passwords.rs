//! Passwords are equal in whatever form their letters are typed. A Mac may split 한 into its three letters.
use crate::support::{Answer, PASSWORD, Person, TestApp};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization;

const LOGIN: &str = "/api/v1/auth/login";
const REGISTER: &str = "/api/v1/auth/register";
const CHANGE: &str = "/api/v1/auth/password";
const PROFILE: &str = "/api/v1/users/me";

/// 24 syllables in 72 bytes. Typed on a Mac, they may be 63 letters.
const COMPOSED: &str = "한글로된비밀번호스물네글자를꼭채워서적어봅니다요";

/// The decomposed form of a text, in which a Mac may type it.
fn decomposed(text: &str) -> String {
    let typed: String = text.nfd().collect();
    assert_ne!(typed, text);
    typed
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    app.visitor().post(LOGIN).json(&json!({"email": email, "password": password})).send().await
}

async fn hash_of(app: &TestApp, person: &Person) -> String {
    let found = app.rows(&format!("SELECT password_hash FROM users WHERE id = {}", app.id(person.id()))).await;
    found.concat().concat()
}

/// Gives a person a password hash as earlier servers made it: of the password as it was typed.
async fn set_old_hash(app: &TestApp, person: &Person, typed: &str) -> String {
    let hash = bcrypt::hash(typed, 4).unwrap();
    app.run(&format!("UPDATE users SET password_hash = '{hash}' WHERE id = {}", app.id(person.id()))).await;
    hash
}

#[tokio::test]
async fn a_password_is_the_same_however_it_is_typed() {
    let app = TestApp::start().await;
    let other = "또다른비밀번호를하나적어둡니다";
    for (set, again) in [(decomposed(COMPOSED), COMPOSED.to_owned()), (COMPOSED.to_owned(), decomposed(COMPOSED))] {
        let email = format!("{}@example.com", app.unique());
        let newcomer = json!({"email": email, "password": set, "name": "Kim"});
        app.visitor().post(REGISTER).json(&newcomer).expect(201).await;
        for typed in [&set, &again] {
            login(&app, &email, typed).await.expect(200);
            let form = [("grant_type", "password"), ("username", email.as_str()), ("password", typed)];
            app.visitor().post("/api/v1/auth/token").form(&form).expect(200).await;
        }
        assert_eq!(login(&app, &email, other).await.error(), (401, "invalid_credentials".into()));
        let person = app.visitor().with_tokens(login(&app, &email, &again).await.expect(200).json());
        let change = json!({"current_password": again, "new_password": decomposed(other)});
        person.post(CHANGE).json(&change).expect(204).await;
        login(&app, &email, other).await.expect(200);
        let back = json!({"current_password": other, "password": again});
        person.patch(PROFILE).json(&back).expect(200).await;
        login(&app, &email, &set).await.expect(200);
    }
}

#[tokio::test]
async fn a_password_by_mail_is_the_same_however_it_is_typed() {
    let app = TestApp::start().await;
    let email = app.tenant().await.viewer().await.email();
    app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": email})).expect(202).await;
    let token = app.letters_to(&email, 1).await[0].token("bcp_");
    let reset = json!({"token": token, "password": decomposed(COMPOSED)});
    app.visitor().post("/api/v1/auth/password/reset").json(&reset).expect(204).await;
    login(&app, &email, COMPOSED).await.expect(200);
}

#[tokio::test]
async fn what_counts_are_the_characters_that_people_see() {
    let app = TestApp::start().await;
    let viewer = app.tenant().await.viewer().await;
    let (short, long) = ("일곱글자입니다", format!("{COMPOSED}!"));
    assert_eq!((short.chars().count(), long.len()), (7, 73));
    let refused = async |password: &str, fault: (u16, &str), told: &str| {
        let email = format!("{}@example.com", app.unique());
        let newcomer = json!({"email": email, "password": password, "name": "Kim"});
        let change = json!({"current_password": PASSWORD, "new_password": password});
        for (call, member) in [
            (app.visitor().post(REGISTER).json(&newcomer), "password"),
            (viewer.post(CHANGE).json(&change), "new_password"),
        ] {
            let answer = call.send().await;
            assert_eq!(answer.error(), (fault.0, fault.1.to_owned()), "{password}");
            assert_eq!(answer.detail(), json!({member: [told]}), "{password}");
        }
    };
    for short in [short.to_owned(), decomposed(short)] {
        refused(&short, (400, "validation_error"), "must have at least 8 characters").await;
    }
    for long in [long.clone(), decomposed(&long)] {
        refused(&long, (422, "unprocessable"), "must have at most 72 bytes in UTF-8").await;
    }
    let wide = "１２３４５６７８ｘｙ".repeat(3); // 90 bytes as typed
    let newcomer = json!({"email": format!("{}@example.com", app.unique()), "password": wide, "name": "Kim"});
    app.visitor().post(REGISTER).json(&newcomer).expect(201).await;
    login(&app, newcomer["email"].as_str().unwrap(), &"12345678xy".repeat(3)).await.expect(200);
}

#[tokio::test]
async fn a_hash_from_before_still_fits_and_is_renewed_at_sign_in() {
    let app = TestApp::alone().await;
    let viewer = app.tenant().await.viewer().await;
    let composed = "비밀번호 하나 둘";
    let typed = decomposed(composed);
    let old = set_old_hash(&app, &viewer, &typed).await;
    assert_eq!(login(&app, &viewer.email(), composed).await.status, 401, "which it never was of");
    assert_eq!(login(&app, &viewer.email(), &decomposed("비밀번호 하나 셋")).await.status, 401);
    assert_eq!(hash_of(&app, &viewer).await, old);

    let email = viewer.email();
    for answer in join_all((0..8).map(|_| login(&app, &email, &typed))).await {
        let user: Value = answer.expect(200).json()["user"].clone();
        assert_eq!(user, viewer.signed_in["user"], "nothing of it can be seen");
    }
    let renewed = hash_of(&app, &viewer).await;
    assert_ne!(renewed, old);
    for typed in [composed, &typed] {
        login(&app, &email, typed).await.expect(200);
    }
    assert_eq!(hash_of(&app, &viewer).await, renewed);
    let changes = format!("subject_id = {} AND action IN ('update', 'password_change')", app.id(viewer.id()));
    let none: [[String; 0]; 0] = [];
    assert_eq!(app.rows(&format!("SELECT action FROM audit_logs WHERE {changes}")).await, none);
}

#[tokio::test]
async fn a_hash_from_before_allows_what_needs_the_current_password() {
    let app = TestApp::start().await;
    let viewer = app.tenant().await.viewer().await;
    let typed = decomposed("비밀번호 하나 둘");
    set_old_hash(&app, &viewer, &typed).await;
    let moved = json!({"email": format!("{}@example.com", app.unique()), "current_password": typed});
    viewer.patch(PROFILE).json(&moved).expect(200).await;
    viewer.post(CHANGE).json(&json!({"current_password": typed, "new_password": PASSWORD})).expect(204).await;
    login(&app, moved["email"].as_str().unwrap(), PASSWORD).await.expect(200);
}

/// A password that is checked in two forms is checked in both for every name.
#[tokio::test]
async fn an_unknown_name_takes_as_long_however_the_password_is_typed() {
    let app = TestApp::with(|config| config.auth.bcrypt_cost = 8).await;
    let known = app.tenant().await.viewer().await.email();
    let now = || -> DateTime<Utc> { app.parts.env.now() };
    let typed = decomposed("틀린 비밀번호");
    let mut times = [const { vec![] }; 2];
    for _ in 0..15 {
        for (times, email) in times.iter_mut().zip([known.as_str(), "nobody@example.com"]) {
            let started = now();
            login(&app, email, &typed).await.expect(401);
            times.push((now() - started).as_seconds_f64());
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    assert!(unknown > known / 1.6 && unknown < known * 1.6, "{unknown} s against {known} s");
}
