//! The token endpoint according to OAuth 2.0 (RFC 6749): which parameters count, and the grant of a refresh token.
use crate::support::{Answer, Call, PASSWORD, Person, TestApp};
use chrono::Duration;
use serde_json::{Value, json};

const TOKEN: &str = "/api/v1/auth/token";
const REFRESH: &str = "/api/v1/auth/refresh";
const ME: &str = "/api/v1/auth/me";
const FORM: &str = "application/x-www-form-urlencoded";

async fn ask(app: &TestApp, form: &[(&str, &str)]) -> Answer {
    app.visitor().post(TOKEN).form(form).send().await
}

fn by_refresh_token(app: &TestApp, token: &str) -> Call {
    app.visitor().post(TOKEN).form(&[("grant_type", "refresh_token"), ("refresh_token", token)])
}

/// Refreshes at the token endpoint and returns the person with the new tokens.
async fn refreshed(app: &TestApp, token: &str) -> Person {
    let answer = by_refresh_token(app, token).expect(200).await;
    assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), (None, Some("no-store")));
    app.visitor().with_tokens(answer.json())
}

/// Asserts a 400 that names these members, each with this message.
#[track_caller]
fn is_faulty(answer: &Answer, members: &[&str], message: &str) {
    assert_eq!(answer.error(), (400, "validation_error".into()));
    let expected: serde_json::Map<_, _> =
        members.iter().map(|member| ((*member).to_owned(), json!([message]))).collect();
    assert_eq!(answer.detail(), Value::Object(expected));
}

// --- parameters

#[tokio::test]
async fn parameters_that_are_not_known_are_ignored() {
    let app = TestApp::start().await;
    let email = app.tenant().await.owner.email();
    let sound = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
    let long = "x".repeat(5000);
    let more =
        [("audience", "api"), ("resource", "https://example.com/"), ("device_name", ""), ("a\0", "\0"), ("b", &long)];
    ask(&app, &[&sound[..], &more].concat()).await.expect(200);
    // The client may use any id and secret, because clients are not registered.
    let clients = [("scope", "openid profile"), ("client_id", "docs"), ("client_secret", "any")];
    ask(&app, &[&sound[..], &clients].concat()).await.expect(200);
    let basic = app.visitor().post(TOKEN).header("authorization", "Basic ZG9jczphbnk=").form(&sound);
    basic.expect(200).await;
}

#[tokio::test]
async fn a_parameter_without_a_value_counts_as_left_out() {
    let app = TestApp::start().await;
    let email = app.tenant().await.owner.email();
    let empty = [("scope", ""), ("client_id", ""), ("client_secret", ""), ("refresh_token", ""), ("resource", "")];
    let sound = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
    ask(&app, &[&sound[..], &empty].concat()).await.expect(200);
    let required = "is required";
    for (form, members) in [
        (vec![("grant_type", ""), ("username", &email), ("password", PASSWORD)], vec!["grant_type"]),
        (vec![("grant_type", "password"), ("username", ""), ("password", "")], vec!["password", "username"]),
        (vec![("grant_type", "password"), ("username", &email), ("password", "")], vec!["password"]),
        (vec![("grant_type", "password"), ("password", PASSWORD)], vec!["username"]),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "")], vec!["refresh_token"]),
        (vec![("grant_type", "refresh_token"), ("username", &email), ("password", PASSWORD)], vec!["refresh_token"]),
    ] {
        is_faulty(&ask(&app, &form).await, &members, required);
    }
}

#[tokio::test]
async fn no_parameter_is_given_twice() {
    let app = TestApp::start().await;
    let email = app.tenant().await.owner.email();
    let sound = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
    for (name, first, second) in [
        ("scope", "a", "a"),
        ("scope", "", ""),
        ("resource", "https://a.example/", "https://b.example/"),
        ("resource", "", "x"),
        ("", "", ""),
    ] {
        let form = [&sound[..], &[(name, first), (name, second)]].concat();
        is_faulty(&ask(&app, &form).await, &[name], "must be given once");
    }
    for name in ["grant_type", "username", "password"] {
        let form = [&sound[..], &[(name, "")]].concat();
        is_faulty(&ask(&app, &form).await, &[name], "must be given once");
    }
    let all_at_once = [("grant_type", "implicit"), ("resource", "a"), ("resource", "b"), ("resource", "c")];
    let answer = ask(&app, &all_at_once).await;
    assert_eq!(answer.error(), (400, "validation_error".into()));
    let detail = answer.detail();
    assert_eq!(detail["grant_type"], json!(["must be one of password, refresh_token"]));
    assert_eq!(detail["resource"].as_array().map(Vec::len), Some(2), "{detail}");
}

#[tokio::test]
async fn a_grant_that_is_not_supported_is_refused_in_the_one_body() {
    let app = TestApp::start().await;
    for grant in ["authorization_code", "client_credentials", "PASSWORD", "urn:ietf:params:oauth:grant-type:jwt-bearer"]
    {
        let answer = ask(&app, &[("grant_type", grant), ("code", "x")]).await;
        is_faulty(&answer, &["grant_type"], "must be one of password, refresh_token");
        assert_eq!(answer.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["error"]);
        assert!(answer.json()["error"]["message"].is_string());
    }
}

// --- the grant of a refresh token

#[tokio::test]
async fn a_refresh_token_gives_the_next_tokens_of_its_session() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let next = refreshed(&app, &owner.refresh_token()).await;
    assert_ne!(next.refresh_token(), owner.refresh_token());
    assert_eq!(next.signed_in["user"], owner.signed_in["user"]);
    next.get(ME).expect(200).await;
    let listed = next.get("/api/v1/auth/sessions").expect(200).await.json();
    assert_eq!(listed["meta"]["total"], json!(1), "it is no other session");
    // The token can be refreshed at either operation.
    let refresh = json!({"refresh_token": next.refresh_token()});
    let third = app.visitor().post(REFRESH).json(&refresh).expect(200).await.json();
    let fourth = refreshed(&app, third["refresh_token"].as_str().unwrap()).await;
    fourth.get(ME).expect(200).await;
}

#[tokio::test]
async fn a_refresh_token_is_rotated_by_the_same_rules() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let next = refreshed(&app, &owner.refresh_token()).await;
    app.clock.advance(Duration::seconds(9));
    assert_eq!(refreshed(&app, &owner.refresh_token()).await.refresh_token(), next.refresh_token());
    app.clock.advance(Duration::seconds(2));
    let reused = by_refresh_token(&app, &owner.refresh_token()).send().await;
    assert_eq!(reused.error(), (401, "invalid_token".into()));
    assert_eq!(reused.header("www-authenticate"), Some("Bearer"));
    let over = by_refresh_token(&app, &next.refresh_token()).send().await;
    assert_eq!(over.error(), (401, "invalid_token".into()), "the session has ended");
    assert_eq!(next.get(ME).send().await.error(), (401, "invalid_token".into()));
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_and_nothing_else_stands_in_for_it() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let access = owner.token.clone().unwrap();
    for token in [access.as_str(), "bcr_forged", "x"] {
        let call = by_refresh_token(&app, token).header("cookie", &format!("refresh_token={}", owner.refresh_token()));
        assert_eq!(call.send().await.error(), (401, "invalid_token".into()), "{token}");
    }
    let too_long = by_refresh_token(&app, &"x".repeat(1001)).send().await;
    is_faulty(&too_long, &["refresh_token"], "must have at most 1000 characters");
    let in_json = app.visitor().post(TOKEN).json(&json!({"grant_type": "refresh_token"})).send().await;
    assert_eq!(in_json.error(), (415, "unsupported_media_type".into()));
    let typed =
        app.visitor().post(TOKEN).body(&format!("{FORM}; charset=UTF-8"), "grant_type=refresh_token").send().await;
    is_faulty(&typed, &["refresh_token"], "is required");
    refreshed(&app, &owner.refresh_token()).await;
}
