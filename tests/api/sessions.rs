//! Sessions: signing out, the list of the user's devices, and what a new password does to them.
use crate::support::{Answer, PASSWORD, Person, TestApp};
use chrono::Duration;
use serde_json::{Value, json};
use std::collections::HashSet;
use uuid::Uuid;

const SESSIONS: &str = "/api/v1/auth/sessions";
const LOGIN: &str = "/api/v1/auth/login";
const ME: &str = "/api/v1/auth/me";

async fn refresh(app: &TestApp, person: &Person) -> Answer {
    app.visitor().post("/api/v1/auth/refresh").json(&json!({"refresh_token": person.refresh_token()})).send().await
}

async fn is_over(app: &TestApp, person: &Person) {
    assert_eq!(person.get(ME).send().await.error(), (401, "invalid_token".into()));
    assert_eq!(refresh(app, person).await.error(), (401, "invalid_token".into()));
}

async fn list(person: &Person, query: &str) -> Value {
    person.get(&format!("{SESSIONS}{query}")).expect(200).await.json()
}

fn ids(page: &Value) -> Vec<Uuid> {
    page["items"].as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// The session of this person.
async fn current(person: &Person) -> Value {
    let page = list(person, "?per_page=100").await;
    let mut current = page["items"].as_array().unwrap().iter().filter(|session| session["is_current"] == true);
    let found = current.next().unwrap().clone();
    assert_eq!(current.next(), None);
    found
}

fn path_of(session: &Value) -> String {
    format!("{SESSIONS}/{}", session["id"].as_str().unwrap())
}

// --- signing out

#[tokio::test]
async fn signing_out_ends_this_session_alone_and_takes_the_cookie_back() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let elsewhere = app.visitor().sign_in(&owner.email()).await;
    let answer = owner.post("/api/v1/auth/logout").expect(204).await;
    let cookie = "refresh_token=; HttpOnly; SameSite=Strict; Path=/api/v1/auth; Max-Age=0";
    assert_eq!(answer.header("set-cookie"), Some(cookie));
    is_over(app, owner).await;
    assert_eq!(owner.post("/api/v1/auth/logout").send().await.error(), (401, "invalid_token".into()));
    elsewhere.get(ME).expect(200).await;
    refresh(app, &elsewhere).await.expect(200);
    assert_eq!(ids(&list(&elsewhere, "").await).len(), 1);
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_of_ones_own_sessions() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, colleague) = (&tenant.app, tenant.editor().await);
    let elsewhere = app.visitor().sign_in(&tenant.owner.email()).await;
    let answer = elsewhere.post("/api/v1/auth/logout-all").expect(204).await;
    assert!(answer.header("set-cookie").unwrap().ends_with("Max-Age=0"));
    is_over(app, &tenant.owner).await;
    is_over(app, &elsewhere).await;
    colleague.get(ME).expect(200).await;
    let anew = app.visitor().sign_in(&tenant.owner.email()).await;
    assert_eq!(ids(&list(&anew, "").await).len(), 1);
}

// --- the list

#[tokio::test]
async fn sessions_are_listed_latest_first_and_one_of_them_is_current() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    app.clock.advance(Duration::minutes(1));
    let later = app.visitor().sign_in(&tenant.owner.email()).await;
    let page = list(&later, "").await;
    let [first, second] = page["items"].as_array().unwrap().clone().try_into().unwrap();
    assert_eq!((&first["is_current"], &second["is_current"]), (&json!(true), &json!(false)));
    assert_eq!((&first["ip"], &first["device_name"]), (&json!("127.0.0.1"), &json!(null)));
    assert_eq!(first["last_used_at"], first["created_at"]);
    assert_eq!(current(&tenant.owner).await["id"], second["id"]);
    assert_eq!(page["meta"], json!({"page": 1, "per_page": 20, "total": 2, "pages": 1}));

    app.clock.advance(Duration::minutes(1));
    refresh(&app, &later).await.expect(200);
    let used = current(&later).await;
    let time = |name: &str| used[name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(time("last_used_at") - time("created_at") >= Duration::minutes(1), "{used}");
    let lifetime = time("expires_at") - time("last_used_at");
    assert!((lifetime - Duration::days(14)).abs() < Duration::seconds(5), "{used}");
}

#[tokio::test]
async fn a_session_is_called_as_its_device_says() {
    let tenant = TestApp::start().await.tenant().await;
    let email = tenant.owner.email();
    let sign_in = async |device: Option<&str>, agent: Option<&str>| {
        let mut input = json!({"email": email, "password": PASSWORD, "return_refresh_in_body": true});
        if let Some(device) = device {
            input["device_name"] = json!(device);
        }
        let mut call = tenant.app.visitor().post(LOGIN).json(&input);
        if let Some(agent) = agent {
            call = call.header("user-agent", agent);
        }
        let person = tenant.app.visitor().with_tokens(call.expect(200).await.json());
        current(&person).await["device_name"].clone()
    };
    assert_eq!(sign_in(None, None).await, json!(null));
    assert_eq!(sign_in(None, Some("Browser/1.0 (안)")).await, json!("Browser/1.0 (안)"));
    assert_eq!(sign_in(None, Some("Browser\t1.0 \u{85}\u{2028}")).await, json!("Browser 1.0   "), "on one line");
    assert_eq!(sign_in(None, Some("Browser/1.0")).await, json!("Browser/1.0"));
    assert_eq!(sign_in(Some("Olga's phone"), Some("Browser/1.0")).await, json!("Olga's phone"));
    assert_eq!(sign_in(None, Some(&"x".repeat(500))).await, json!("x".repeat(120)));
    for bad in ["", " ", "a\nb", "a\u{1b}[2Jb"] {
        let input = json!({"email": email, "password": PASSWORD, "device_name": bad});
        let refused = tenant.app.visitor().post(LOGIN).json(&input).expect(422).await.json();
        assert!(refused["error"]["detail"]["device_name"].is_array(), "{refused}");
    }
    let emojis = "📱".repeat(120);
    assert_eq!(sign_in(Some(&emojis), None).await, json!(emojis));
    let form = [("grant_type", "password"), ("username", &email), ("password", PASSWORD)];
    let answer = tenant.app.visitor().post("/api/v1/auth/token").form(&form).header("user-agent", "curl/8");
    let person = tenant.app.visitor().with_tokens(answer.expect(200).await.json());
    assert_eq!(current(&person).await["device_name"], json!("curl/8"));
}

#[tokio::test]
async fn pages_and_cursors_walk_over_every_session_once() {
    let tenant = TestApp::start().await.tenant().await;
    for _ in 0..6 {
        tenant.app.visitor().sign_in(&tenant.owner.email()).await;
    }
    let all = ids(&list(&tenant.owner, "").await);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 7);
    let mut by_page = vec![];
    for number in 1..=4 {
        let page = list(&tenant.owner, &format!("?page={number}&per_page=3")).await;
        let meta = (&page["meta"]["page"], &page["meta"]["total"], &page["meta"]["pages"]);
        assert_eq!(meta, (&json!(number), &json!(7), &json!(3)));
        by_page.push(ids(&page));
    }
    assert_eq!(by_page.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1, 0]);
    assert_eq!(by_page.concat(), all);

    let (mut by_cursor, mut page) = (vec![], list(&tenant.owner, "?per_page=3").await);
    loop {
        by_cursor.extend(ids(&page));
        let Some(cursor) = page["meta"]["next_cursor"].as_str() else { break };
        page = list(&tenant.owner, &format!("?per_page=3&cursor={cursor}")).await;
        assert_eq!((page["meta"].get("total"), page["meta"].get("page")), (None, None));
    }
    assert_eq!(by_cursor, all);

    for (query, member) in
        [("?sort=created_at", "sort"), ("?q=x", "q"), ("?per_page=0", "per_page"), ("?cursor=x", "cursor")]
    {
        let answer = tenant.owner.get(&format!("{SESSIONS}{query}")).send().await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{query}");
        assert!(answer.detail().get(member).is_some(), "{}", answer.detail());
    }
}

#[tokio::test]
async fn only_ones_own_open_sessions_are_listed() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let email = tenant.owner.email();
    let (kept, ended) = (app.visitor().sign_in(&email).await, app.visitor().sign_in(&email).await);
    tenant.admin().await;
    app.tenant().await;
    ended.post("/api/v1/auth/logout").expect(204).await;
    assert_eq!(list(&kept, "").await["meta"]["total"], json!(2));
    app.clock.advance(Duration::days(13));
    let kept = app.visitor().with_tokens(refresh(&app, &kept).await.expect(200).json());
    app.clock.advance(Duration::days(2)); // the owner's first session has expired
    let kept = app.visitor().with_tokens(refresh(&app, &kept).await.expect(200).json());
    let page = list(&kept, "").await;
    assert_eq!((ids(&page).len(), &page["meta"]["total"]), (1, &json!(1)));
}

// --- ending one

#[tokio::test]
async fn an_ended_session_is_out_at_once() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let stolen = app.visitor().sign_in(&owner.email()).await;
    let path = path_of(&current(&stolen).await);
    owner.delete(&path).expect(204).await;
    is_over(app, &stolen).await;
    assert_eq!(owner.delete(&path).send().await.error(), (404, "not_found".into()));
    owner.delete(&path_of(&current(owner).await)).expect(204).await; // the caller's own session, too
    is_over(app, owner).await;
}

#[tokio::test]
async fn somebody_elses_session_is_as_if_it_were_not_there() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let colleague = tenant.viewer().await;
    let body = async |path: &str| {
        let answer = tenant.owner.delete(path).send().await;
        assert_eq!(answer.error(), (404, "not_found".into()));
        let mut body = answer.json();
        assert!(body["error"]["request_id"].take().is_string());
        body
    };
    let nobodys = body(&format!("{SESSIONS}/{}", Uuid::nil())).await;
    for person in [&colleague, &other.owner] {
        assert_eq!(body(&path_of(&current(person).await)).await, nobodys);
        person.get(ME).expect(200).await;
        refresh(&app, person).await.expect(200);
    }
    let no_id = tenant.owner.delete(&format!("{SESSIONS}/1")).send().await;
    assert!([400, 404].contains(&no_id.status.as_u16()), "{}", no_id.text());
}

// --- a new password

async fn change(person: &Person, current: &str, new: &str) -> Answer {
    let input = json!({"current_password": current, "new_password": new});
    person.post("/api/v1/auth/password").json(&input).send().await
}

async fn login(app: &TestApp, person: &Person, password: &str) -> u16 {
    let input = json!({"email": person.email(), "password": password});
    app.visitor().post(LOGIN).json(&input).send().await.status.as_u16()
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions_and_keeps_this_one() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner, colleague) = (&tenant.app, &tenant.owner, tenant.editor().await);
    let elsewhere = app.visitor().sign_in(&owner.email()).await;
    change(owner, PASSWORD, "staple and more").await.expect(204);
    is_over(app, &elsewhere).await;
    let me = owner.get(ME).expect(200).await.json();
    assert_eq!((&me["version"], &me["id"]), (&json!(2), &json!(owner.id())));
    refresh(app, owner).await.expect(200);
    colleague.get(ME).expect(200).await;
    assert_eq!(login(app, owner, PASSWORD).await, 401);
    assert_eq!(login(app, owner, "staple and more").await, 200);
    assert_eq!(login(app, &colleague, PASSWORD).await, 200);
}

#[tokio::test]
async fn a_password_is_not_changed_without_the_current_one() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let elsewhere = app.visitor().sign_in(&owner.email()).await;
    let wrong = change(owner, "correct horse batterY", "staple and more").await;
    assert_eq!(wrong.error(), (422, "unprocessable".into()));
    assert_eq!(wrong.detail(), json!({"current_password": ["is wrong"]}));
    let faults = [("x".repeat(7), 400), ("x".repeat(73), 400), ("비".repeat(25), 422)];
    for (new, status) in faults {
        let answer = change(owner, PASSWORD, &new).await.expect(status);
        assert_eq!(answer.detail().as_object().unwrap().keys().collect::<Vec<_>>(), ["new_password"], "{new}");
        assert!(!answer.text().contains(&new) && !answer.text().contains(PASSWORD));
    }
    let nobody = app.visitor().post("/api/v1/auth/password").json(&json!({"current_password": PASSWORD})).send().await;
    assert_eq!(nobody.error(), (401, "unauthenticated".into()));
    elsewhere.get(ME).expect(200).await;
    assert_eq!(login(app, owner, PASSWORD).await, 200);
}

#[tokio::test]
async fn of_two_changes_at_once_one_wins() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let mut before = PASSWORD.to_owned();
    for round in 1..=3 {
        let candidates = [format!("candidate A of {round}"), format!("candidate B of {round}")];
        let (a, b) = tokio::join!(change(owner, &before, &candidates[0]), change(owner, &before, &candidates[1]));
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 422], "{} {}", a.text(), b.text());
        let (won, lost) = if a.status == 204 { (0, 1) } else { (1, 0) };
        assert_eq!(login(app, owner, &candidates[won]).await, 200);
        assert_eq!(login(app, owner, &candidates[lost]).await, 401);
        before.clone_from(&candidates[won]);
    }
}

#[tokio::test]
async fn a_sign_in_beside_a_new_password_does_not_outlive_the_old_one() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let mut before = PASSWORD.to_owned();
    for round in 0..8 {
        let after = format!("password of round {round}");
        let input = json!({"email": owner.email(), "password": before, "return_refresh_in_body": true});
        let sign_in = || app.visitor().post(LOGIN).json(&input).send();
        let (a, b, changed, c) = tokio::join!(sign_in(), sign_in(), change(owner, &before, &after), sign_in());
        changed.expect(204);
        for answer in [a, b, c] {
            match answer.status.as_u16() {
                200 => is_over(app, &app.visitor().with_tokens(answer.json())).await,
                _ => assert_eq!(answer.error(), (401, "invalid_credentials".into())),
            }
        }
        owner.get(ME).expect(200).await;
        before = after;
    }
}
