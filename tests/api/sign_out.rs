//! Signing out: by the access token, by a refresh token in the body, by the cookie alone, and with invalid credentials.
//! The limits for it are tested in `limits`.
use crate::support::{Answer, Call, Person, Tenant, TestApp};
use bizcenter::auth::refresh_token::RefreshToken;
use chrono::Duration;
use serde_json::{Value, json};
use uuid::Uuid;

const LOGOUT: &str = "/api/v1/auth/logout";
const REFRESH: &str = "/api/v1/auth/refresh";
const ME: &str = "/api/v1/auth/me";
const TAKEN_BACK: &str = "refresh_token=; HttpOnly; SameSite=Strict; Path=/api/v1/auth; Max-Age=0";

fn logout(app: &TestApp) -> Call {
    app.visitor().post(LOGOUT)
}

fn cookie(token: &str) -> String {
    format!("theme=dark; refresh_token={token}")
}

fn body(token: &str) -> Value {
    json!({"refresh_token": token})
}

/// Asserts a 204 that deletes the cookie.
#[track_caller]
fn is_out(answer: Answer) {
    assert_eq!(answer.expect(204).header("set-cookie"), Some(TAKEN_BACK));
}

/// Asserts a 401 of this type that deletes the cookie.
#[track_caller]
fn is_refused(answer: &Answer, kind: &str) {
    assert_eq!(answer.error(), (401, kind.into()));
    assert_eq!(answer.header("set-cookie"), Some(TAKEN_BACK));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
}

async fn refresh(app: &TestApp, token: &str) -> Answer {
    app.visitor().post(REFRESH).json(&body(token)).send().await
}

async fn goes_on(person: &Person) {
    person.get(ME).expect(200).await;
}

async fn is_over(app: &TestApp, person: &Person) {
    assert_eq!(person.get(ME).send().await.error(), (401, "invalid_token".into()));
    assert_eq!(refresh(app, &person.refresh_token()).await.error(), (401, "invalid_token".into()));
}

/// Signs the owner in on this many devices.
async fn devices<const N: usize>(tenant: &Tenant) -> [Person; N] {
    let mut people = vec![];
    for _ in 0..N {
        people.push(tenant.app.visitor().sign_in(&tenant.owner.email()).await);
    }
    people.try_into().ok().unwrap()
}

/// The id of the session of this person.
async fn session(person: &Person) -> Uuid {
    let page = person.get("/api/v1/auth/sessions?per_page=100").expect(200).await.json();
    let current = page["items"].as_array().unwrap().iter().find(|session| session["is_current"] == true).unwrap();
    current["id"].as_str().unwrap().parse().unwrap()
}

/// How many sign-outs of a session are in the audit log.
async fn sign_outs(app: &TestApp, session: Uuid) -> usize {
    let about = format!("subject_id = {} AND action = 'sign_out'", app.id(session));
    app.rows(&format!("SELECT action FROM audit_logs WHERE {about}")).await.len()
}

// --- which credential

#[tokio::test]
async fn the_access_token_goes_before_the_body_and_that_before_the_cookie() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, [by_token, in_body, in_cookie]) = (&tenant.app, devices(&tenant).await);
    let all = |call: Call| call.header("cookie", &cookie(&in_cookie.refresh_token()));
    is_out(all(by_token.post(LOGOUT)).json(&body(&in_body.refresh_token())).send().await);
    is_over(app, &by_token).await;
    goes_on(&in_body).await;
    is_out(all(logout(app)).json(&body(&in_body.refresh_token())).send().await);
    is_over(app, &in_body).await;
    goes_on(&in_cookie).await;
    is_out(all(logout(app)).send().await);
    is_over(app, &in_cookie).await;
    goes_on(&tenant.owner).await;
}

#[tokio::test]
async fn a_refresh_token_in_authorization_is_one_too() {
    let tenant = TestApp::start().await.tenant().await;
    let token = format!("Bearer {}", tenant.owner.refresh_token());
    is_out(logout(&tenant.app).header("authorization", &token).send().await);
    is_over(&tenant.app, &tenant.owner).await;
}

#[tokio::test]
async fn an_access_token_that_is_not_good_is_passed_over() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let [ended, other, expired] = devices(&tenant).await;
    is_out(ended.post(LOGOUT).send().await);
    is_refused(&ended.post(LOGOUT).send().await, "invalid_token");
    is_out(ended.post(LOGOUT).json(&body(&ended.refresh_token())).send().await);
    is_out(ended.post(LOGOUT).json(&body(&other.refresh_token())).send().await);
    is_over(&app, &other).await;
    app.clock.advance(Duration::minutes(16));
    is_refused(&expired.post(LOGOUT).send().await, "invalid_token");
    is_out(expired.post(LOGOUT).header("cookie", &cookie(&expired.refresh_token())).send().await);
    is_over(&app, &expired).await;
    let forged = logout(&app).header("authorization", "Bearer a.b.c");
    is_out(forged.header("cookie", &cookie(&tenant.owner.refresh_token())).send().await);
    is_over(&app, &tenant.owner).await;
}

#[tokio::test]
async fn a_token_in_the_body_that_is_not_good_does_not_hide_the_cookie() {
    let tenant = TestApp::start().await.tenant().await;
    let call = logout(&tenant.app).header("cookie", &cookie(&tenant.owner.refresh_token()));
    is_out(call.json(&body("bcr_forged")).send().await);
    is_over(&tenant.app, &tenant.owner).await;
}

#[tokio::test]
async fn without_a_credential_that_is_good_it_is_401_and_the_cookie_is_taken_back() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let other_cookie = logout(&app).header("cookie", "theme=dark; token=bcr_x");
    for call in [logout(&app), logout(&app).json(&json!({})), other_cookie] {
        is_refused(&call.send().await, "unauthenticated");
    }
    let (token, access) = (owner.refresh_token(), owner.token.clone().unwrap());
    for text in [&token[..token.len() - 1], &access, "bcr_", "x", ""] {
        is_refused(&logout(&app).json(&body(text)).send().await, "invalid_token");
        is_refused(&logout(&app).header("cookie", &cookie(text)).send().await, "invalid_token");
    }
    is_refused(&logout(&app).header("authorization", "Bearer bcr_x").send().await, "invalid_token");
    goes_on(&owner).await;
}

#[tokio::test]
async fn an_api_key_has_no_session_to_end() {
    let tenant = TestApp::start().await.tenant().await;
    let input = json!({"name": "Robot", "role": "viewer"});
    let made = tenant.owner.post("/api/v1/api-keys").json(&input).expect(201).await.json();
    let key = made["key"].as_str().unwrap();
    assert_eq!(logout(&tenant.app).header("x-api-key", key).send().await.error(), (403, "forbidden".into()));
    is_refused(&logout(&tenant.app).header("x-api-key", "bc_forged").send().await, "invalid_token");
}

#[tokio::test]
async fn a_faulty_body_signs_nobody_out() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let call = || owner.post(LOGOUT).header("cookie", &cookie(&owner.refresh_token()));
    for faulty in [json!([]), json!({"refresh_token": 5}), json!({"refresh_token": null}), json!({"token": "x"})] {
        assert_eq!(call().json(&faulty).send().await.error(), (400, "validation_error".into()), "{faulty}");
    }
    let form = call().form(&[("refresh_token", "x")]).send().await;
    assert_eq!(form.error(), (415, "unsupported_media_type".into()));
    goes_on(&owner).await;
    is_out(call().json(&json!({})).send().await);
    is_over(&app, &owner).await;
}

// --- any refresh token of ours

#[tokio::test]
async fn a_repeat_is_answered_alike_and_logged_once() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let (id, token) = (session(owner).await, owner.refresh_token());
    for _ in 0..3 {
        is_out(logout(app).json(&body(&token)).send().await);
        is_out(logout(app).header("cookie", &cookie(&token)).send().await);
    }
    is_over(app, owner).await;
    assert_eq!(sign_outs(app, id).await, 1);
}

#[tokio::test]
async fn a_token_that_was_used_before_signs_its_session_out() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, first) = (&tenant.app, &tenant.owner);
    let second = app.visitor().with_tokens(refresh(app, &first.refresh_token()).await.expect(200).json());
    let third = app.visitor().with_tokens(refresh(app, &second.refresh_token()).await.expect(200).json());
    let id = session(&third).await;
    is_out(logout(app).json(&body(&first.refresh_token())).send().await);
    is_over(app, &third).await;
    assert_eq!(sign_outs(app, id).await, 1);
    let reuse = format!("SELECT action FROM audit_logs WHERE subject_id = {} AND action = 'token_reuse'", app.id(id));
    assert!(app.rows(&reuse).await.is_empty(), "signing out is no theft");
}

#[tokio::test]
async fn a_token_of_a_session_that_is_over_changes_nothing() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let [expired, of_former_epoch, mover] = devices(&tenant).await;
    let ids = [session(&expired).await, session(&of_former_epoch).await];
    mover.post("/api/v1/auth/logout-all").expect(204).await;
    is_out(logout(&app).json(&body(&of_former_epoch.refresh_token())).send().await);
    app.clock.advance(Duration::days(15));
    is_out(logout(&app).json(&body(&expired.refresh_token())).send().await);
    let never = RefreshToken { tenant: tenant.id.into(), session: Uuid::nil().into(), generation: 0 };
    is_out(logout(&app).json(&body(&app.parts.tokens.refresh.print(&never))).send().await);
    for id in ids {
        assert_eq!(sign_outs(&app, id).await, 0, "it was over before");
    }
}

#[tokio::test]
async fn a_session_that_has_expired_is_over_and_not_logged() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let (id, token) = (session(&tenant.owner).await, tenant.owner.refresh_token());
    app.clock.advance(Duration::days(15));
    is_out(logout(&app).header("cookie", &cookie(&token)).send().await);
    assert_eq!(sign_outs(&app, id).await, 0);
}

#[tokio::test]
async fn nobody_signs_out_in_another_tenant() {
    let app = TestApp::start().await;
    let [mine, theirs] = [app.tenant().await, app.tenant().await];
    let id = session(&theirs.owner).await;
    let mixed = RefreshToken { tenant: mine.id.into(), session: id.into(), generation: 0 };
    is_out(logout(&app).json(&body(&app.parts.tokens.refresh.print(&mixed))).send().await);
    goes_on(&theirs.owner).await;
}

#[tokio::test]
async fn a_device_of_a_suspended_tenant_signs_out_for_good() {
    let app = TestApp::start().await;
    let (home, tenant) = (app.tenant().await, app.tenant().await);
    let operator = home.operator().await;
    let suspend = async |is_suspended: bool| {
        let path = format!("/api/v1/admin/tenants/{}", tenant.id);
        operator.patch(&path).json(&json!({"is_suspended": is_suspended})).expect(200).await;
    };
    let [out, stays] = devices(&tenant).await;
    suspend(true).await;
    is_out(out.post(LOGOUT).header("cookie", &cookie(&out.refresh_token())).send().await);
    suspend(false).await;
    is_over(&app, &out).await;
    goes_on(&stays).await;
}
