//! Users: the caller's own profile, and what colleagues and admins see of each other. `managed` tests what admins do.
mod former_rights;
mod managed;

use crate::support::{Answer, PASSWORD, Person, TestApp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

const USERS: &str = "/api/v1/users";
const ME: &str = "/api/v1/users/me";
const KEYS: &str = "/api/v1/api-keys";
const NEW_PASSWORD: &str = "staple and more";

fn path_of(person: &Person) -> String {
    format!("{USERS}/{}", person.id())
}

fn error(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

async fn login(app: &TestApp, name: &str, text: &str, password: &str) -> Answer {
    app.visitor().post("/api/v1/auth/login").json(&json!({name: text, "password": password})).send().await
}

async fn refresh(app: &TestApp, person: &Person) -> Answer {
    app.visitor().post("/api/v1/auth/refresh").json(&json!({"refresh_token": person.refresh_token()})).send().await
}

async fn is_over(app: &TestApp, person: &Person) {
    assert_eq!(person.get(ME).send().await.error(), error(401, "invalid_token"));
    assert_eq!(refresh(app, person).await.error(), error(401, "invalid_token"));
}

async fn list(person: &Person, query: &str) -> Value {
    person.get(&format!("{USERS}?{query}")).expect(200).await.json()
}

fn ids(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap().iter().map(|user| user["id"].clone()).collect()
}

/// Different spellings of the same address.
fn spellings(email: &str) -> [String; 4] {
    let wide = |c: char| if c.is_ascii_alphanumeric() { char::from_u32(u32::from(c) + 0xfee0).unwrap() } else { c };
    let (local, domain) = email.split_once('@').unwrap();
    let wide = local.chars().map(wide).collect::<String>();
    [email.to_owned(), email.to_uppercase(), format!("  {email}\u{a0}"), format!("{wide}@{domain}")]
}

// --- one's own profile

#[tokio::test]
async fn people_change_and_replace_their_profile() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, viewer, username) = (&tenant.app, tenant.viewer().await, tenant.app.unique());
    let before = viewer.get(ME).expect(200).await;
    assert_eq!(before.json(), viewer.get("/api/v1/auth/me").expect(200).await.json());
    let tag = before.header("etag").unwrap();
    let not_modified = viewer.get(ME).header("if-none-match", tag).expect(304).await;
    assert!(not_modified.body.is_empty());
    let patch = json!({"name": "Vera", "username": username});
    let changed = viewer.patch(ME).header("if-match", tag).json(&patch).expect(200).await;
    let mut expected = before.json();
    for (member, value) in [("name", json!("Vera")), ("username", json!(username)), ("version", json!(2))] {
        expected[member] = value;
    }
    expected["updated_at"] = changed.json()["updated_at"].clone();
    assert_eq!(changed.json(), expected);
    let now = viewer.get(ME).header("if-none-match", tag).expect(200).await;
    assert_eq!((now.json(), now.header("etag")), (expected, changed.header("etag")));
    assert_eq!(login(app, "username", &username, PASSWORD).await.expect(200).json()["user"], now.json());

    let whole = json!({"name": "Vera Viewer", "email": viewer.email()});
    for stale in [viewer.patch(ME).json(&patch), viewer.put(ME).json(&whole)] {
        let answer = stale.header("if-match", tag).send().await;
        assert_eq!(answer.error(), error(412, "precondition_failed"));
    }
    let replaced = viewer.put(ME).json(&whole).expect(200).await.json();
    let members = [&replaced["name"], &replaced["username"], &replaced["version"], &replaced["email_verified"]];
    assert_eq!(members, [&json!("Vera Viewer"), &json!(null), &json!(3), &json!(true)]);
    login(app, "username", &username, PASSWORD).await.expect(401);
    tenant.owner.patch(ME).json(&json!({"username": username})).expect(200).await; // the former one is free again
    for (input, member) in [(json!({"name": "Vera"}), "email"), (json!({"email": viewer.email()}), "name")] {
        let answer = viewer.put(ME).json(&input).expect(400).await;
        assert_eq!(answer.detail(), json!({member: ["is required"]}));
    }
}

#[tokio::test]
async fn what_is_taken_is_taken_in_all_its_spellings() {
    let app = TestApp::start().await;
    let (tenant, other, username) = (app.tenant().await, app.tenant().await, app.unique());
    let viewer = tenant.viewer().await;
    other.owner.patch(ME).json(&json!({"username": username})).expect(200).await;
    for spelling in spellings(&other.owner.email()) {
        let input = json!({"email": spelling, "current_password": PASSWORD});
        let answer = viewer.patch(ME).json(&input).send().await;
        assert_eq!(answer.error(), error(409, "conflict"), "{spelling}");
        assert_eq!(answer.detail(), json!({"email": ["is taken"]}), "{spelling}");
        let signed_in = login(&app, "email", &spelling, PASSWORD).await.expect(200).json();
        assert_eq!(signed_in["user"]["id"], json!(other.owner.id()), "{spelling}");
    }
    let answer = viewer.patch(ME).json(&json!({"name": "Lost", "username": username})).send().await;
    assert_eq!((answer.error(), answer.detail()), (error(409, "conflict"), json!({"username": ["is taken"]})));
    let unchanged = viewer.get(ME).expect(200).await.json();
    assert_eq!(unchanged, viewer.signed_in["user"]);
    for spelling in spellings(&viewer.email()) {
        // This needs no password.
        let same = viewer.patch(ME).json(&json!({"email": spelling})).expect(200).await.json();
        assert_eq!((&same["email"], &same["email_verified"]), (&unchanged["email"], &json!(true)), "{spelling}");
    }
}

#[tokio::test]
async fn a_new_address_needs_the_password_and_is_to_be_verified() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, viewer) = (&tenant.app, tenant.viewer().await);
    let (former, new) = (viewer.email(), format!("{}@new.example", app.unique()));
    let (none, wrong) = (json!(null), json!("correct horse batterY"));
    for (current, message) in [(none, "is required for this change"), (wrong, "is wrong")] {
        let answer = viewer.patch(ME).json(&json!({"email": new, "current_password": current})).send().await;
        assert_eq!(answer.error(), error(422, "unprocessable"));
        assert_eq!(answer.detail(), json!({"current_password": [message]}));
    }
    assert_eq!(viewer.get(ME).expect(200).await.json(), viewer.signed_in["user"]);

    let input = json!({"email": new.to_uppercase(), "current_password": PASSWORD});
    let changed = viewer.patch(ME).json(&input).expect(200).await.json();
    assert_eq!((&changed["email"], &changed["email_verified"]), (&json!(new), &json!(false)));
    let notices = app.letters_to(&former, 1).await;
    assert_eq!((notices.len(), notices[0].subject.as_str()), (1, "Your e-mail address was changed"));
    assert!(!notices[0].text.contains(&new) && !notices[0].text.contains("bcv_"), "{}", notices[0].text);
    let letter = app.letters_to(&new, 1).await.pop().unwrap();
    assert_eq!(letter.subject, "Verify your e-mail address");
    let token = json!({"token": letter.token("bcv_")});
    viewer.post("/api/v1/auth/email/verify").json(&token).expect(204).await;
    assert_eq!(viewer.get(ME).expect(200).await.json()["email_verified"], true);
    assert_eq!(login(app, "email", &former, PASSWORD).await.error(), error(401, "invalid_credentials"));
    login(app, "email", &new, PASSWORD).await.expect(200);
    let input = json!({"email": former, "current_password": PASSWORD});
    tenant.owner.patch(ME).json(&input).expect(200).await; // the former one is free again
}

#[tokio::test]
async fn tokens_that_were_mailed_before_a_change_are_good_for_nothing_after_it() {
    let tenant = TestApp::start().await.unverified_tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let token = app.letters_to(&owner.email(), 1).await[0].token("bcv_");
    let address = || json!({"email": format!("{}@new.example", app.unique()), "current_password": PASSWORD});
    owner.patch(ME).json(&address()).expect(200).await;
    let answer = owner.post("/api/v1/auth/email/verify").json(&json!({"token": token})).send().await;
    assert!([204, 422].contains(&answer.status.as_u16()), "{}", answer.text());
    assert_eq!(owner.get(ME).expect(200).await.json()["email_verified"], false);
    for change in [address(), json!({"password": NEW_PASSWORD, "current_password": PASSWORD})] {
        let viewer = tenant.viewer().await;
        app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": viewer.email()})).expect(202).await;
        let token = app.letters_to(&viewer.email(), 1).await[0].token("bcp_");
        viewer.patch(ME).json(&change).expect(200).await;
        let reset = json!({"token": token, "password": "whoever reads that mailbox"});
        let answer = app.visitor().post("/api/v1/auth/password/reset").json(&reset).send().await;
        assert_eq!(answer.status.as_u16(), 422, "after {change}");
    }
}

#[tokio::test]
async fn a_new_password_in_the_profile_keeps_this_session_alone() {
    let tenant = TestApp::start().await.unverified_tenant().await;
    let (app, owner, email) = (&tenant.app, &tenant.owner, tenant.owner.email());
    let elsewhere = app.visitor().sign_in(&email).await;
    let input = |password: &str, current: &str| -> Value {
        json!({"name": "Olga", "email": email, "password": password, "current_password": current})
    };
    let answer = owner.put(ME).json(&input(NEW_PASSWORD, "correct horse batterY")).expect(422).await;
    assert_eq!(answer.detail(), json!({"current_password": ["is wrong"]}));
    for (password, status) in [("x".repeat(7), 400), ("x".repeat(73), 400), ("\u{e9}".repeat(37), 422)] {
        let answer = owner.put(ME).json(&input(&password, PASSWORD)).expect(status).await;
        assert_eq!(answer.detail().as_object().unwrap().keys().collect::<Vec<_>>(), ["password"]);
    }
    elsewhere.get(ME).expect(200).await;
    let changed = owner.put(ME).json(&input(NEW_PASSWORD, PASSWORD)).expect(200).await;
    assert!(!changed.text().contains(NEW_PASSWORD) && !changed.text().contains("***"), "{}", changed.text());
    is_over(app, &elsewhere).await;
    owner.get(ME).expect(200).await;
    refresh(app, owner).await.expect(200);
    login(app, "email", &email, PASSWORD).await.expect(401);
    login(app, "email", &email, NEW_PASSWORD).await.expect(200);
    let letters = app.letters_to(&email, 2).await; // one of them is from the registration
    assert!(letters.iter().any(|letter| letter.subject == "Your password was changed"), "{letters:?}");
}

#[tokio::test]
async fn members_that_are_not_ones_to_write_are_refused_everywhere() {
    let tenant = TestApp::start().await.tenant().await;
    let (visitor, owner, viewer) = (tenant.app.visitor(), &tenant.owner, tenant.viewer().await);
    let newcomer = json!({"email": "nora@new.example", "password": PASSWORD, "name": "Nora"});
    let profile = json!({"name": "Mallory", "email": viewer.email()});
    let (role, of_viewer) = (json!({"name": "Mallory", "role": "viewer"}), path_of(&viewer));
    let invitation = json!({"email": "nora@new.example", "role": "viewer"});
    let cases = [
        (&visitor, Method::POST, "/api/v1/auth/register", &newcomer, "role is_active kind email_verified"),
        (&viewer, Method::PUT, ME, &profile, "role tenant_id is_active kind email_verified requests_per_hour"),
        (&viewer, Method::PATCH, ME, &profile, "role tenant_id is_active kind email_verified requests_per_hour"),
        (owner, Method::PATCH, &of_viewer, &role, "tenant_id email username password kind email_verified"),
        (owner, Method::POST, "/api/v1/invitations", &invitation, "tenant_id invited_by token expires_at"),
        (owner, Method::POST, KEYS, &role, "tenant_id user_id created_by key is_active"),
    ];
    for (person, method, path, body, names) in cases {
        for name in names.split(' ').chain(["id", "is_superuser", "version", "session_epoch", "password_hash"]) {
            for value in [json!("owner"), json!(true), json!(null)] {
                let mut body = body.clone();
                body[name] = value;
                let answer = person.call(method.clone(), path).json(&body).send().await;
                assert_eq!(answer.error(), error(400, "validation_error"), "{method} {path} {name}");
                assert_eq!(answer.detail(), json!({name: ["is not known"]}), "{method} {path}");
            }
        }
    }
    assert_eq!(viewer.get(ME).expect(200).await.json(), viewer.signed_in["user"]);
}

// --- what others see

#[tokio::test]
async fn colleagues_see_names_and_admins_see_all() {
    let tenant = TestApp::start().await.tenant().await;
    let (viewer, editor, admin) = (tenant.viewer().await, tenant.editor().await, tenant.admin().await);
    let path = path_of(&editor);
    editor.patch(ME).json(&json!({"username": tenant.app.unique()})).expect(200).await;
    let (seen, all) = (viewer.get(&path).expect(200).await, admin.get(&path).expect(200).await);
    let whole = all.json();
    for (member, value) in seen.json().as_object().unwrap() {
        let is_open = ["id", "name", "username", "version"].contains(&member.as_str());
        let expected = if is_open { whole[member].clone() } else { Value::Null };
        assert_eq!(*value, expected, "{member}");
    }
    let members = ["email", "role", "kind", "is_active", "email_verified"].map(|member| whole[member].clone());
    assert_eq!(members, [json!(editor.email()), json!("editor"), json!("person"), json!(true), json!(true)]);
    let (of_viewer, of_admin) = (seen.header("etag").unwrap(), all.header("etag").unwrap());
    assert_ne!(of_viewer, of_admin);
    viewer.get(&path).header("if-none-match", of_viewer).expect(304).await;
    admin.get(&path).header("if-none-match", of_admin).expect(304).await;
    admin.get(&path).header("if-none-match", of_viewer).expect(200).await;

    let item = |page: Value| page["items"].as_array().unwrap().iter().find(|user| user["id"] == whole["id"]).cloned();
    assert_eq!(item(list(&viewer, "").await), Some(seen.json()));
    assert_eq!(item(list(&admin, "").await), Some(whole.clone()));
    let mail = editor.email();
    let (address, username) = (&mail[..30], whole["username"].as_str().unwrap().to_uppercase());
    for (query, by_admin, by_viewer) in [(address, 1, 0), (&username, 1, 1), ("a EDITOR", 1, 1), ("%", 0, 0)] {
        let query = format!("q={}", query.replace(' ', "+").replace('%', "%25"));
        assert_eq!(ids(&list(&admin, &query).await).len(), by_admin, "{query}");
        assert_eq!(ids(&list(&viewer, &query).await).len(), by_viewer, "{query}");
    }
    tenant.owner.post(KEYS).json(&json!({"name": "Robot", "role": "editor"})).expect(201).await;
    admin.patch(&path).json(&json!({"is_active": false})).expect(200).await;
    let filters = [("is_active=false", 1), ("is_active=true", 4), ("role=editor", 2), ("role=editor&kind=person", 1)];
    for (filter, found) in filters {
        assert_eq!(ids(&list(&admin, filter).await).len(), found, "{filter}");
        let refused = viewer.get(&format!("{USERS}?{filter}")).send().await;
        assert_eq!(refused.error(), error(403, "forbidden"), "{filter}");
    }
}

#[tokio::test]
async fn every_order_is_walked_by_cursor_with_nobody_missing_or_twice() {
    let tenant = TestApp::start().await.tenant().await;
    let (admin, viewer) = (tenant.admin().await, tenant.viewer().await);
    for name in ["b", "a", "b", "c"] {
        tenant.editor().await.patch(ME).json(&json!({"name": name})).expect(200).await;
    }
    let mut all = list(&admin, "per_page=100").await["items"].as_array().unwrap().clone();
    assert_eq!(all.len(), 7);
    for column in ["name", "created_at", "updated_at"] {
        all.sort_by_key(|user| [column, "id"].map(|member| user[member].as_str().unwrap().to_owned()));
        let ascending: Vec<_> = all.iter().map(|user| user["id"].clone()).collect();
        let descending: Vec<_> = ascending.iter().rev().cloned().collect();
        for (sort, expected) in [(column.to_owned(), ascending), (format!("-{column}"), descending)] {
            let sees_it = |person: &&Person| column == "name" || person.id() == admin.id();
            for person in [&admin, &viewer].into_iter().filter(sees_it) {
                let (mut walked, mut query) = (vec![], format!("sort={sort}&per_page=2"));
                for _ in 0..4 {
                    let page = list(person, &query).await;
                    walked.extend(ids(&page));
                    let next = page["meta"]["next_cursor"].as_str();
                    assert_eq!(next.is_none(), walked.len() == 7, "{sort}");
                    query = format!("sort={sort}&per_page=2&cursor={}", next.unwrap_or_default());
                }
                assert_eq!(walked, expected, "{sort}");
            }
        }
    }
}

#[tokio::test]
async fn an_order_tells_nobody_what_the_answer_hides() {
    let tenant = TestApp::start().await.tenant().await;
    let (admin, viewer) = (tenant.admin().await, tenant.viewer().await);
    for name in ["Zoe", "Bob", "bob"] {
        tenant.editor().await.patch(ME).json(&json!({"name": name})).expect(200).await;
    }
    for sort in ["created_at", "-created_at", "updated_at", "-updated_at"] {
        let refused = viewer.get(&format!("{USERS}?sort={sort}")).send().await;
        assert_eq!(refused.error(), error(403, "forbidden"), "{sort}");
        let of_admin = list(&admin, &format!("sort={sort}&per_page=1")).await;
        let cursor = of_admin["meta"]["next_cursor"].as_str().unwrap();
        viewer.get(&format!("{USERS}?sort={sort}&cursor={cursor}")).expect(403).await;
        viewer.get(&format!("{USERS}?cursor={cursor}")).expect(400).await; // the cursor is for another order
    }
    let by_name = ids(&list(&viewer, "sort=name").await);
    let (mut walked, mut query) = (vec![], "per_page=1".to_owned());
    loop {
        let page = list(&viewer, &query).await;
        walked.extend(ids(&page));
        let Some(cursor) = page["meta"]["next_cursor"].as_str() else { break };
        let place: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(cursor).unwrap()).unwrap();
        assert_eq!(place, json!(["name", page["items"][0]["name"], page["items"][0]["id"]]));
        query = format!("per_page=1&cursor={cursor}");
    }
    assert_eq!((walked.len(), &walked), (6, &by_name), "names are the order that everybody sees");
    assert_eq!(ids(&list(&admin, "").await), ids(&list(&admin, "sort=-created_at").await));
}
