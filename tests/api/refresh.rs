//! Refresh tokens: rotation, the ten seconds of grace, reuse, theft, and many refreshes at once.
use crate::support::{Answer, Kind, Person, TestApp, shares_redis};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bizcenter::auth::refresh_token::{RefreshToken, RefreshTokens};
use chrono::Duration;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::HashSet;
use uuid::Uuid;

const REFRESH: &str = "/api/v1/auth/refresh";
const ME: &str = "/api/v1/auth/me";

async fn refresh(app: &TestApp, token: &str) -> Answer {
    app.visitor().post(REFRESH).json(&json!({"refresh_token": token})).send().await
}

/// Refreshes with this token and returns the person with the new tokens.
async fn refreshed(app: &TestApp, token: &str) -> Person {
    app.visitor().with_tokens(refresh(app, token).await.expect(200).json())
}

async fn refused(app: &TestApp, token: &str) {
    let answer = refresh(app, token).await;
    assert_eq!(answer.error(), (401, "invalid_token".into()), "{token}");
    assert_eq!(answer.header("set-cookie"), None);
}

/// The id of the session in an access token.
fn session(signed_in: &Value) -> Uuid {
    let claims = signed_in["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&BASE64.decode(claims).unwrap()).unwrap();
    claims["sid"].as_str().unwrap().parse().unwrap()
}

/// Asserts that neither token of this session is accepted any more.
async fn is_over(app: &TestApp, person: &Person) {
    assert_eq!(person.get(ME).send().await.error(), (401, "invalid_token".into()));
    refused(app, &person.refresh_token()).await;
}

/// How often the session was ended because a token was used twice: according to the audit log, and to the session's
/// row.
async fn reuses(app: &TestApp, person: &Person) -> [usize; 2] {
    let id = app.id(session(&person.signed_in));
    let logged = format!(
        "SELECT action FROM audit_logs WHERE subject_id = {id} AND subject_kind = 'session' AND action = 'token_reuse'"
    );
    let row = format!("SELECT end_reason FROM sessions WHERE id = {id} AND end_reason = 'token_reused'");
    let logged = app.rows(&logged).await.len();
    // In Redis, nothing is left of the session.
    [logged, if shares_redis() { logged } else { app.rows(&row).await.len() }]
}

fn cookie(token: &str) -> String {
    format!("theme=dark; refresh_token={token}; other=\"x\"")
}

// --- where the token is

#[tokio::test]
async fn a_token_in_the_body_is_answered_in_the_body() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let answer = refresh(&app, &owner.refresh_token()).await.expect(200);
    assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), (None, Some("no-store")));
    let body = answer.json();
    assert!(body["refresh_token"].as_str().unwrap().starts_with("bcr_"));
    assert_eq!((&body["expires_in"], &body["refresh_expires_in"]), (&json!(900), &json!(1_209_600)));
    assert_eq!(body["user"], owner.signed_in["user"]);
}

#[tokio::test]
async fn a_token_in_authorization_is_answered_in_the_body() {
    let app = TestApp::start().await;
    let token = app.tenant().await.owner.refresh_token();
    let call = app.visitor().post(REFRESH).header("authorization", &format!("bearer {token}"));
    let answer = call.expect(200).await;
    assert_eq!(answer.header("set-cookie"), None);
    assert!(answer.json()["refresh_token"].is_string());
}

#[tokio::test]
async fn a_token_in_the_cookie_is_answered_in_the_cookie() {
    let app = TestApp::start().await;
    let token = app.tenant().await.owner.refresh_token();
    let answer = app.visitor().post(REFRESH).header("cookie", &cookie(&token)).expect(200).await;
    assert!(answer.json().get("refresh_token").is_none());
    assert!(!answer.text().contains("bcr_"));
    let set = answer.header("set-cookie").unwrap();
    let (next, attributes) = set.strip_prefix("refresh_token=").unwrap().split_once(';').unwrap();
    assert_eq!(attributes, " HttpOnly; SameSite=Strict; Path=/api/v1/auth; Max-Age=1209600");
    refreshed(&app, next).await;
}

#[tokio::test]
async fn the_body_goes_before_authorization_and_that_before_the_cookie() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, email) = (&tenant.app, tenant.owner.email());
    let mut people = vec![];
    for _ in 0..3 {
        people.push(app.visitor().sign_in(&email).await);
    }
    let [in_body, in_authorization, in_cookie] = people.try_into().ok().unwrap();
    let call = |with_body: bool| {
        let call = app.visitor().post(REFRESH).header("cookie", &cookie(&in_cookie.refresh_token()));
        let call = call.header("authorization", &format!("Bearer {}", in_authorization.refresh_token()));
        if with_body { call.json(&json!({"refresh_token": in_body.refresh_token()})) } else { call }
    };
    let first = call(true).expect(200).await;
    assert_eq!(session(&first.json()), session(&in_body.signed_in));
    let second = call(false).expect(200).await;
    assert_eq!(session(&second.json()), session(&in_authorization.signed_in));
    assert_eq!((first.header("set-cookie"), second.header("set-cookie")), (None, None));
    refreshed(app, &in_cookie.refresh_token()).await; // nobody has used this token yet
}

#[tokio::test]
async fn without_a_token_nobody_is_known() {
    let app = TestApp::start().await;
    let nothing = app.visitor().post(REFRESH);
    let basic = app.visitor().post(REFRESH).header("authorization", "Basic b3duZXI6cGFzcw==");
    let other_cookie = app.visitor().post(REFRESH).header("cookie", "refresh=x; token=bcr_x");
    for call in [nothing, basic, other_cookie] {
        let answer = call.send().await;
        assert_eq!(answer.error(), (401, "unauthenticated".into()));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn a_faulty_body_is_refused_whatever_else_is_sent() {
    let app = TestApp::start().await;
    let token = app.tenant().await.owner.refresh_token();
    let call = || app.visitor().post(REFRESH).header("cookie", &cookie(&token));
    for body in [json!({}), json!({"refresh_token": 5}), json!({"refresh_token": token, "more": 1}), json!([])] {
        assert_eq!(call().json(&body).send().await.error(), (400, "validation_error".into()), "{body}");
    }
    let form = call().form(&[("refresh_token", token.as_str())]).send().await;
    assert_eq!(form.error(), (415, "unsupported_media_type".into()));
    refreshed(&app, &token).await;
}

// --- tokens that are none

#[tokio::test]
async fn an_access_token_refreshes_nothing() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let token = owner.token.clone().unwrap();
    refused(&app, &token).await;
    let in_cookie = app.visitor().post(REFRESH).header("cookie", &cookie(&token)).send().await;
    assert_eq!(in_cookie.error(), (401, "invalid_token".into()));
    assert_eq!(owner.post(REFRESH).send().await.error(), (401, "unauthenticated".into()));
    owner.get(ME).expect(200).await;
}

#[tokio::test]
async fn an_access_token_that_is_sent_along_does_not_hide_the_cookie() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let answer = owner.post(REFRESH).header("cookie", &cookie(&owner.refresh_token())).expect(200).await;
    assert!(answer.header("set-cookie").is_some() && answer.json().get("refresh_token").is_none());
}

#[tokio::test]
async fn a_changed_token_is_refused_and_harms_nobody() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let token = owner.refresh_token();
    let bytes = BASE64.decode(token.strip_prefix("bcr_").unwrap()).unwrap();
    assert_eq!(bytes.len(), 72);
    // These are the first and the last byte of the tenant, the session, the generation and the MAC.
    for index in [0, 15, 16, 31, 32, 39, 40, 71] {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        refused(&app, &format!("bcr_{}", BASE64.encode(changed))).await;
    }
    let body = &token[4..];
    let shapes = [
        String::new(),
        "bcr_".to_owned(),
        body.to_owned(),
        format!("BCR_{body}"),
        format!("bcr_bcr_{body}"),
        token[..token.len() - 1].to_owned(),
        token[..token.len() - 44].to_owned(),
        format!("{token}A"),
        format!("{token}AAAA"),
        format!("{token}=="),
        format!("{token}."),
        format!(" {token}"),
        format!("bcr_{}", BASE64.encode([0; 72])),
        format!("bcr_{}", BASE64.encode([&bytes[..40], &[0; 32]].concat())),
        format!("bcr_{}", "비".repeat(100)),
    ];
    for shape in &shapes {
        refused(&app, shape).await;
    }
    owner.get(ME).expect(200).await;
    refreshed(&app, &token).await;
}

#[tokio::test]
async fn a_token_of_ours_for_what_is_not_there_is_refused() {
    let app = TestApp::start().await;
    let [mine, theirs] = [app.tenant().await, app.tenant().await];
    let session = |person: &Person| session(&person.signed_in).into();
    let print = |token: RefreshToken| app.parts.tokens.refresh.print(&token);
    let mixed = RefreshToken { tenant: mine.id.into(), session: session(&theirs.owner), generation: 0 };
    refused(&app, &print(mixed)).await;
    refused(&app, &print(RefreshToken { session: Uuid::nil().into(), ..mixed })).await;
    for tenant in [&mine, &theirs] {
        let next = refreshed(&app, &tenant.owner.refresh_token()).await;
        next.get(ME).expect(200).await;
    }
    // A token that the server never issued: somebody else can sign tokens, so nothing in this session can be trusted.
    for generation in [1, 7, i64::MAX, i64::MIN] {
        let person = app.visitor().sign_in(&mine.owner.email()).await;
        refused(&app, &print(RefreshToken { session: session(&person), generation, ..mixed })).await;
        is_over(&app, &person).await;
    }
}

// --- rotation

#[tokio::test]
async fn each_refresh_gives_new_tokens_of_the_same_session() {
    let app = TestApp::start().await;
    let first = app.tenant().await.owner;
    let second = refreshed(&app, &first.refresh_token()).await;
    let third = refreshed(&app, &second.refresh_token()).await;
    let people = [first, second, third];
    let refresh_tokens: HashSet<_> = people.iter().map(Person::refresh_token).collect();
    let access_tokens: HashSet<_> = people.iter().map(|person| person.token.clone()).collect();
    let sessions: HashSet<_> = people.iter().map(|person| session(&person.signed_in)).collect();
    assert_eq!((refresh_tokens.len(), access_tokens.len(), sessions.len()), (3, 3, 1));
    for person in people {
        person.get(ME).expect(200).await;
    }
}

#[tokio::test]
async fn tokens_of_the_former_secret_are_good_while_it_is_named() {
    const FORMER: &str = "the former secret, and long enough";
    let app = TestApp::with(|config| config.auth.jwt_secret_previous = Some(FORMER.into())).await;
    let tenant = app.tenant().await;
    let id = session(&tenant.owner.signed_in);
    let token = RefreshToken { tenant: tenant.id.into(), session: id.into(), generation: 0 };
    let former = RefreshTokens::new(FORMER.as_bytes(), None);
    let hash: String = former.hash(&token).iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = if app.database.kind == Kind::Postgres { format!("'\\x{hash}'") } else { format!("x'{hash}'") };
    app.run(&format!("UPDATE sessions SET token_hash = {hash} WHERE id = {}", app.id(id))).await;
    let next = refreshed(&app, &former.print(&token)).await;
    let again = refreshed(&app, &former.print(&token)).await;
    assert_eq!(again.refresh_token(), next.refresh_token());
    refreshed(&app, &next.refresh_token()).await.get(ME).expect(200).await;
    let unknown = RefreshTokens::new(b"a secret that was never in use here", None);
    refused(&app, &unknown.print(&token)).await;
}

#[tokio::test]
async fn the_answer_tells_the_user_of_now() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, editor) = (&tenant.app, tenant.editor().await);
    app.run(&format!("UPDATE users SET role = 1, name = 'Anew' WHERE id = {}", app.id(editor.id()))).await;
    let next = refreshed(app, &editor.refresh_token()).await;
    let user = &next.signed_in["user"];
    assert_eq!((&user["role"], &user["name"]), (&json!("viewer"), &json!("Anew")));
    next.post("/api/v1/tasks").json(&json!({"title": "Not any more"})).expect(403).await;
}

#[tokio::test]
async fn within_10_seconds_a_repeat_gets_the_same_successor() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let next = refreshed(&app, &owner.refresh_token()).await;
    for _ in 0..3 {
        app.clock.advance(Duration::seconds(2));
        let again = refreshed(&app, &owner.refresh_token()).await;
        assert_eq!(again.refresh_token(), next.refresh_token());
        again.get(ME).expect(200).await;
    }
    refreshed(&app, &next.refresh_token()).await;
    assert_eq!(reuses(&app, &owner).await, [0, 0]);
}

#[tokio::test]
async fn after_11_seconds_a_repeat_ends_the_session() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let elsewhere = app.visitor().sign_in(&tenant.owner.email()).await;
    let next = refreshed(&app, &tenant.owner.refresh_token()).await;
    app.clock.advance(Duration::seconds(11));
    next.get(ME).expect(200).await;
    refused(&app, &tenant.owner.refresh_token()).await;
    is_over(&app, &next).await;
    is_over(&app, &tenant.owner).await;
    assert_eq!(reuses(&app, &next).await, [1, 1]);
    elsewhere.get(ME).expect(200).await; // another device of the same user
    refreshed(&app, &elsewhere.refresh_token()).await;
}

#[tokio::test]
async fn the_predecessor_of_a_used_token_ends_the_session_at_once() {
    let app = TestApp::start().await;
    let first = app.tenant().await.owner;
    let second = refreshed(&app, &first.refresh_token()).await;
    let third = refreshed(&app, &second.refresh_token()).await;
    refused(&app, &first.refresh_token()).await;
    is_over(&app, &third).await;
    refused(&app, &second.refresh_token()).await;
    assert_eq!(reuses(&app, &third).await, [1, 1]);
}

#[tokio::test]
async fn a_session_ends_14_days_after_its_last_use() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let unused = app.visitor().sign_in(&tenant.owner.email()).await;
    app.clock.advance(Duration::days(14) - Duration::minutes(1));
    let used = refreshed(&app, &tenant.owner.refresh_token()).await;
    app.clock.advance(Duration::minutes(1));
    refused(&app, &unused.refresh_token()).await;
    assert_eq!(reuses(&app, &unused).await, [0, 0]);
    used.get(ME).expect(200).await;
}

#[tokio::test]
async fn a_session_that_is_used_daily_goes_on() {
    let app = TestApp::alone().await;
    let mut owner = app.tenant().await.owner;
    for _ in 0..20 {
        app.clock.advance(Duration::days(1));
        owner = refreshed(&app, &owner.refresh_token()).await;
    }
    owner.get(ME).expect(200).await;
}

// --- many at once

/// Sends 20 refreshes at once, to these servers in turn, and continues with the tokens that they return.
async fn leaves_one_chain(servers: &[&TestApp]) {
    let app = servers[0];
    let owner = app.tenant().await.owner;
    let token = owner.refresh_token();
    let calls = servers.iter().cycle().take(20).map(|app| refresh(app, &token));
    let answers: Vec<_> = join_all(calls).await.into_iter().map(|answer| answer.expect(200).json()).collect();
    let successors: HashSet<_> = answers.iter().map(|answer| answer["refresh_token"].to_string()).collect();
    assert_eq!(successors.len(), 1, "{successors:?}");
    for answer in &answers {
        app.visitor().with_tokens(answer.clone()).get(ME).expect(200).await;
    }
    let id = app.id(session(&owner.signed_in));
    let once = format!("SELECT 'one' FROM sessions WHERE id = {id} AND generation = 1 AND ended_at IS NULL");
    assert!(shares_redis() || app.rows(&once).await.len() == 1);
    let next = refreshed(app, answers[0]["refresh_token"].as_str().unwrap()).await;
    refreshed(servers[servers.len() - 1], &next.refresh_token()).await.get(ME).expect(200).await;
}

#[tokio::test]
async fn twenty_refreshes_at_once_leave_one_chain() {
    leaves_one_chain(&[&TestApp::start().await]).await;
}

#[tokio::test]
async fn twenty_refreshes_at_two_servers_at_once_leave_one_chain() {
    let app = TestApp::alone().await;
    leaves_one_chain(&[&app, &app.replica().await]).await;
}

#[tokio::test]
async fn a_stolen_token_that_is_used_20_times_at_once_is_logged_once() {
    let app = TestApp::start().await;
    let first = app.tenant().await.owner;
    let second = refreshed(&app, &first.refresh_token()).await;
    let third = refreshed(&app, &second.refresh_token()).await;
    let token = first.refresh_token();
    for answer in join_all((0..20).map(|_| refresh(&app, &token))).await {
        assert_eq!(answer.error(), (401, "invalid_token".into()));
    }
    is_over(&app, &third).await;
    assert_eq!(reuses(&app, &third).await, [1, 1]);
}

#[tokio::test]
async fn a_refresh_beside_a_sign_out_does_not_bring_the_session_back() {
    let tenant = TestApp::start().await.tenant().await;
    for _ in 0..5 {
        let person = tenant.app.visitor().sign_in(&tenant.owner.email()).await;
        let token = person.refresh_token();
        let out = async { person.post("/api/v1/auth/logout").send().await };
        let (answer, out) = tokio::join!(refresh(&tenant.app, &token), out);
        out.expect(204);
        let person = if answer.status == 200 { tenant.app.visitor().with_tokens(answer.json()) } else { person };
        is_over(&tenant.app, &person).await;
    }
}
