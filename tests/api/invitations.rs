//! Invitations: the roles that may invite, what a token is valid for, and when it becomes invalid.
use crate::support::{Answer, Kind, PASSWORD, Person, TestApp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bizcenter::auth::Role;
use chrono::Duration;
use futures_util::future::join_all;
use serde_json::{Value, json};

const INVITATIONS: &str = "/api/v1/invitations";
const KEYS: &str = "/api/v1/api-keys";
const REGISTER: &str = "/api/v1/auth/register";

fn error(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}

fn path_of(invitation: &Value) -> String {
    format!("{INVITATIONS}/{}", text(invitation, "id"))
}

fn user_path(person: &Person) -> String {
    format!("/api/v1/users/{}", person.id())
}

/// A new e-mail address, which no user has.
fn address(app: &TestApp) -> String {
    format!("{}@invited.example", app.unique())
}

async fn invite(by: &Person, email: &str, role: &str) -> Answer {
    by.post(INVITATIONS).json(&json!({"email": email, "role": role})).send().await
}

/// Invites a new person. Returns the address and the token.
async fn guest(app: &TestApp, by: &Person, role: &str) -> (String, String) {
    let email = address(app);
    let token = text(&invite(by, &email, role).await.expect(201).json(), "token");
    (email, token)
}

async fn listed(person: &Person) -> Vec<Value> {
    person.get(INVITATIONS).expect(200).await.json()["items"].as_array().unwrap().clone()
}

/// Registers with a token, with these members added to the body.
async fn join_with(app: &TestApp, email: &str, token: &str, members: Value) -> Answer {
    let mut input = json!({"email": email, "password": PASSWORD, "name": "Nora New", "invitation_token": token});
    input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    app.visitor().post(REGISTER).json(&input).send().await
}

async fn join(app: &TestApp, (email, token): &(String, String)) -> Answer {
    join_with(app, email, token, json!({})).await
}

/// Asserts that a token was refused. The answer is the same for all reasons.
#[track_caller]
fn is_refused(answer: &Answer) {
    assert_eq!(answer.error(), error(422, "unprocessable"));
    let told = "is not valid for this address, was used, or has expired";
    assert_eq!(answer.detail(), json!({"invitation_token": [told]}));
}

// --- inviting

#[tokio::test]
async fn the_token_is_mailed_and_shown_once_and_only_its_hash_is_kept() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (admin, email) = (tenant.admin().await, address(&app));
    let answer = invite(&admin, &format!("  {} ", email.to_uppercase()), "editor").await.expect(201);
    let mut invitation = answer.json();
    let (path, token) = (path_of(&invitation), text(&invitation, "token"));
    assert_eq!(answer.header("location"), Some(path.as_str()));
    let members = ["email", "role", "invited_by", "version"].map(|member| invitation[member].clone());
    assert_eq!(members, [json!(email), json!("editor"), json!(admin.id()), json!(1)]);
    let letters = app.letters_to(&email, 1).await;
    assert_eq!((letters.len(), letters[0].token("bci_")), (1, token.clone()));
    assert_eq!(letters[0].subject, "You are invited to join a company");
    assert!(letters[0].text.contains("\"Olga Owner\""), "the company is called after its owner: {}", letters[0].text);

    invitation.as_object_mut().unwrap().remove("token");
    let found = tenant.owner.get(&path).expect(200).await;
    assert_eq!(found.json(), invitation);
    admin.get(&path).header("if-none-match", found.header("etag").unwrap()).expect(304).await;
    assert_eq!(listed(&admin).await, [invitation.clone()]);

    let hash = match app.database.kind {
        Kind::Postgres => "encode(token_hash, 'hex')",
        Kind::Sqlite | Kind::Mariadb => "lower(hex(token_hash))",
    };
    let id = app.id(text(&invitation, "id").parse().unwrap());
    let stored = app.rows(&format!("SELECT {hash} FROM invitations WHERE id = {id}")).await.concat().concat();
    let secret = BASE64.decode(token.strip_prefix("bci_").unwrap()).unwrap()[32..].to_vec();
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(stored.len() == 64 && secret.len() == 64 && stored != secret, "{stored}");
    let audited = app.rows(&format!("SELECT changes FROM audit_logs WHERE subject_id = {id}")).await;
    assert_eq!(audited.len(), 1);
    assert!(audited[0][0].contains(&email) && !audited[0][0].contains(&token), "{audited:?}");
}

#[tokio::test]
async fn admins_invite_and_nobody_above_themselves() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    for role in [Role::Viewer, Role::Analyst, Role::Editor] {
        let person = tenant.person(role).await;
        assert_eq!(invite(&person, &address(&app), "viewer").await.error(), error(403, "forbidden"));
        assert_eq!(person.get(INVITATIONS).send().await.error(), error(403, "forbidden"));
    }
    for inviter in [Role::Admin, Role::Owner] {
        let person = tenant.person(inviter).await;
        for role in Role::ALL {
            let status: u16 = if role > inviter { 403 } else { 201 };
            let answer = invite(&person, &address(&app), role.name()).await;
            assert_eq!(answer.status.as_u16(), status, "{} invites {}", inviter.name(), role.name());
        }
    }
    assert_eq!(listed(&tenant.owner).await.len(), 2 * Role::ALL.len() - 1);
    for faulty in [json!({"email": "nobody"}), json!({"role": "king"}), json!({"tenant_id": tenant.id})] {
        let mut input = json!({"email": address(&app), "role": "viewer"});
        input.as_object_mut().unwrap().extend(faulty.as_object().unwrap().clone());
        let answer = tenant.owner.post(INVITATIONS).json(&input).send().await;
        assert_eq!(answer.error(), error(400, "validation_error"), "{faulty}");
    }
}

#[tokio::test]
async fn members_and_those_who_are_invited_already_are_a_conflict() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (owner, disabled, removed) = (&tenant.owner, tenant.viewer().await, tenant.viewer().await);
    owner.patch(&user_path(&disabled)).json(&json!({"is_active": false})).expect(200).await;
    owner.delete(&user_path(&removed)).expect(204).await;
    let wide = |email: &str| email.replacen('r', "\u{ff52}", 1); // a full-width `R`
    for email in [owner.email(), owner.email().to_uppercase(), wide(&owner.email()), disabled.email()] {
        let answer = invite(owner, &email, "viewer").await;
        assert_eq!(answer.error(), error(409, "conflict"), "{email}");
        assert_eq!(answer.detail(), json!({"email": ["already belongs to a user of the tenant"]}), "{email}");
    }
    invite(owner, &removed.email(), "viewer").await.expect(201);
    // Nothing reveals that a user of another tenant has this address.
    invite(owner, &other.owner.email(), "viewer").await.expect(201);

    let email = format!("r-{}", address(&app));
    let first = invite(owner, &email, "viewer").await.expect(201).json();
    for spelling in [email.clone(), email.to_uppercase(), wide(&email)] {
        let answer = invite(owner, &spelling, "editor").await;
        assert_eq!(answer.error(), error(409, "conflict"), "{spelling}");
        assert_eq!(answer.detail(), json!({"email": ["is taken"]}), "{spelling}");
    }
    invite(&other.owner, &email, "viewer").await.expect(201);
    owner.delete(&path_of(&first)).expect(204).await;
    invite(owner, &email, "editor").await.expect(201);
}

#[tokio::test]
async fn an_invitation_sent_again_with_its_key_is_the_first_one() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let email = address(&app);
    let send = |role: &str| {
        let input = json!({"email": email, "role": role});
        owner.post(INVITATIONS).header("idempotency-key", "k").json(&input).send()
    };
    let answers = join_all((0..10).map(|_| send("viewer"))).await;
    let bodies: Vec<_> = answers.into_iter().map(|answer| answer.expect(201)).collect();
    let first = bodies.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
    assert_eq!(first, 1);
    let again = send("viewer").await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(bodies.iter().all(|answer| answer.body == again.body));
    assert_eq!(listed(&owner).await.len(), 1);
    let letters = app.letters_to(&email, 1).await;
    assert_eq!((letters.len(), letters[0].token("bci_")), (1, text(&again.json(), "token")));
    assert_eq!(send("editor").await.error(), error(422, "idempotency_mismatch"));
    assert_eq!(invite(&owner, &email, "viewer").await.error(), error(409, "conflict"));
}

// --- joining

#[tokio::test]
async fn who_is_invited_joins_that_tenant_in_that_role() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    for role in Role::ALL {
        let guest = guest(&app, &tenant.owner, role.name()).await;
        let user = join(&app, &guest).await.expect(201).json();
        let members = ["email", "role", "tenant_id", "kind", "is_superuser"].map(|member| user[member].clone());
        let expected = [json!(guest.0), json!(role.name()), json!(tenant.id), json!("person"), json!(false)];
        assert_eq!(members, expected);
        let person = app.visitor().sign_in(&guest.0).await;
        let found = person.get("/api/v1/tenant").expect(200).await.json();
        assert_eq!(found["slug"], json!(tenant.slug));
    }
    assert_eq!(listed(&tenant.owner).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_token_is_good_for_its_address_alone_and_once() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (email, token) = guest(&app, &tenant.owner, "editor").await;
    is_refused(&join_with(&app, &address(&app), &token, json!({})).await);
    for members in [json!({"tenant_id": app.unique()}), json!({"tenant_id": tenant.slug}), json!({"tenant_name": "X"})]
    {
        let answer = join_with(&app, &email, &token, members).await;
        assert_eq!(answer.error(), error(422, "unprocessable"));
        assert_eq!(
            answer.detail(),
            json!({"invitation_token": ["already sets the tenant. Leave `tenant_id` and `tenant_name` out."]})
        );
    }
    join_with(&app, &email, &token, json!({"role": "owner"})).await.expect(400);
    let taken = app.unique();
    other.owner.patch("/api/v1/users/me").json(&json!({"username": taken})).expect(200).await;
    let answer = join_with(&app, &email, &token, json!({"username": taken})).await;
    assert_eq!((answer.error(), answer.detail()), (error(409, "conflict"), json!({"username": ["is taken"]})));
    assert_eq!(listed(&tenant.owner).await.len(), 1, "what fails uses nothing up");

    let wide = email.replacen('u', "\u{ff35}", 1); // a full-width `U`
    let user = join_with(&app, &format!(" {wide} "), &token, json!({})).await.expect(201).json();
    assert_eq!([&user["email"], &user["role"]], [&json!(email), &json!("editor")]);
    is_refused(&join(&app, &(email, token.clone())).await);
    is_refused(&join_with(&app, &address(&app), &token, json!({})).await);
}

#[tokio::test]
async fn of_those_who_use_one_token_at_once_one_gets_in() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let guest = guest(&app, &tenant.owner, "viewer").await;
    let answers = join_all((0..10).map(|_| join(&app, &guest))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (1, 9));
    refused.into_iter().for_each(is_refused);
    assert_eq!(app.rows(&format!("SELECT email FROM users WHERE email = '{}'", guest.0)).await.len(), 1);
    assert_eq!(tenant.owner.get("/api/v1/users").expect(200).await.json()["meta"]["total"], 2);
}

// --- tokens that are no good

#[tokio::test]
async fn after_a_week_an_invitation_is_as_if_it_never_was() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let (in_time, late) = (guest(&app, &owner, "viewer").await, guest(&app, &owner, "viewer").await);
    let invitations = listed(&owner).await;
    let late_one = invitations.iter().find(|invitation| invitation["email"] == json!(late.0)).unwrap();
    app.clock.advance(Duration::days(7) - Duration::minutes(1));
    join(&app, &in_time).await.expect(201);
    app.clock.advance(Duration::minutes(2));
    is_refused(&join(&app, &late).await);
    let owner = app.visitor().sign_in(&owner.email()).await;
    assert_eq!(listed(&owner).await, Vec::<Value>::new());
    for call in [owner.get(&path_of(late_one)), owner.delete(&path_of(late_one))] {
        assert_eq!(call.send().await.error(), error(404, "not_found"));
    }
    let anew = text(&invite(&owner, &late.0, "editor").await.expect(201).json(), "token");
    is_refused(&join(&app, &late).await);
    let user = join(&app, &(late.0, anew)).await.expect(201).json();
    assert_eq!(user["role"], "editor");
}

#[tokio::test]
async fn withdrawn_and_forged_tokens_are_refused() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (email, withdrawn) = guest(&app, &tenant.owner, "viewer").await;
    let path = path_of(&listed(&tenant.owner).await[0]);
    for stranger in [other.owner.get(&path), other.owner.delete(&path)] {
        assert_eq!(stranger.send().await.error(), error(404, "not_found"));
    }
    tenant.owner.delete(&path).expect(204).await;
    tenant.owner.delete(&path).expect(404).await;
    is_refused(&join(&app, &(email.clone(), withdrawn)).await);

    let ours = text(&invite(&tenant.owner, &email, "viewer").await.expect(201).json(), "token");
    let theirs = text(&invite(&other.owner, &email, "owner").await.expect(201).json(), "token");
    let bytes = |token: &str| BASE64.decode(token.strip_prefix("bci_").unwrap()).unwrap();
    let print = |parts: [&[u8]; 3]| format!("bci_{}", BASE64.encode(parts.concat()));
    let (a, b) = (bytes(&ours), bytes(&theirs)); // the bytes of tenant, row and secret
    let forged = [
        print([&b[..16], &a[16..32], &a[32..]]),
        print([&a[..16], &b[16..32], &a[32..]]),
        print([&a[..16], &a[16..32], &b[32..]]),
        print([&b[..16], &b[16..32], &a[32..]]),
        print([&a[..16], &a[16..32], &[0; 32]]),
        ours.replacen("bci_", "bcv_", 1),
        ours[..ours.len() - 2].to_owned(),
        String::new(),
    ];
    for token in forged {
        is_refused(&join(&app, &(email.clone(), token)).await);
    }
    let user = join(&app, &(email, ours)).await.expect(201).json();
    assert_eq!([&user["tenant_id"], &user["role"]], [&json!(tenant.id), &json!("viewer")]);
}

/// Whether a user with the first role may invite a user with the second role.
fn could_invite(inviter: Role, role: Role) -> bool {
    inviter >= Role::Admin && inviter >= role
}

#[tokio::test]
async fn an_invitation_is_good_while_its_inviter_could_make_it() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    for now in Role::ALL {
        let inviter = tenant.person(Role::Owner).await;
        let mut guests = vec![];
        for role in Role::ALL {
            guests.push((role, guest(&app, &inviter, role.name()).await));
        }
        tenant.owner.patch(&user_path(&inviter)).json(&json!({"role": now.name()})).expect(200).await;
        for (role, guest) in &guests {
            let answer = join(&app, guest).await;
            let is_good = could_invite(now, *role);
            assert_eq!(answer.status == 201, is_good, "as {} by who is {}: {}", role.name(), now.name(), answer.text());
        }
        tenant.owner.patch(&user_path(&inviter)).json(&json!({"role": "owner"})).expect(200).await;
        for (_, guest) in guests.iter().filter(|(role, _)| !could_invite(now, *role)) {
            join(&app, guest).await.expect(201); // the refused tries did not use up the tokens
        }
    }
}

#[tokio::test]
async fn an_invitation_is_worth_nothing_while_its_inviter_is_not_served() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let admin = tenant.admin().await;
    let guests = [guest(&app, &admin, "admin").await, guest(&app, &admin, "viewer").await];
    tenant.owner.patch(&user_path(&admin)).json(&json!({"is_active": false})).expect(200).await;
    for guest in &guests {
        is_refused(&join(&app, guest).await);
    }
    tenant.owner.patch(&user_path(&admin)).json(&json!({"is_active": true})).expect(200).await;
    join(&app, &guests[0]).await.expect(201);
    tenant.owner.delete(&user_path(&admin)).expect(204).await;
    is_refused(&join(&app, &guests[1]).await);
}

#[tokio::test]
async fn nobody_withdraws_what_they_could_not_make() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let admin = tenant.admin().await;
    let (of_owner, guest) = (invite(&tenant.owner, &address(&app), "owner").await.expect(201).json(), address(&app));
    let of_admin = invite(&tenant.owner, &guest, "admin").await.expect(201).json();
    assert_eq!(admin.delete(&path_of(&of_owner)).send().await.error(), error(403, "forbidden"));
    let token = (text(&of_owner, "email"), text(&of_owner, "token"));
    assert_eq!(join(&app, &token).await.expect(201).json()["role"], "owner");
    let answers = join_all((0..8).map(|_| admin.delete(&path_of(&of_admin)).send())).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404, 404, 404, 404, 404, 404, 404]);
    let deleted = format!("/api/v1/audit-logs?action=delete&subject_id={}", text(&of_admin, "id"));
    assert_eq!(admin.get(&deleted).expect(200).await.json()["meta"]["total"], 1);
}

/// API keys may not create invitations, but they could in earlier versions. An admin who was demoted must not get
/// access again by an invitation that their key created at that time.
#[tokio::test]
async fn what_an_api_key_invited_is_worth_what_the_key_is() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let admin = tenant.admin().await;
    let key = admin.post(KEYS).json(&json!({"name": "Robot", "role": "admin"})).expect(201).await.json();
    let invite_by_key = async || {
        let (call, email) = (app.visitor().post(INVITATIONS).header("x-api-key", &text(&key, "key")), address(&app));
        let input = json!({"email": email, "role": "admin"});
        assert_eq!(call.json(&input).send().await.error(), error(403, "forbidden"));
        let made = admin.post(INVITATIONS).json(&input).expect(201).await.json();
        let [by, id] = [text(&key, "user_id"), text(&made, "id")].map(|id| app.id(id.parse().unwrap()));
        let by_the_key = format!("UPDATE invitations SET invited_by = {by} WHERE id = {id}");
        app.run(&by_the_key).await;
        (email, text(&made, "token"))
    };
    let guests = [invite_by_key().await, invite_by_key().await, invite_by_key().await];
    join(&app, &guests[0]).await.expect(201);
    tenant.owner.patch(&user_path(&admin)).json(&json!({"role": "viewer"})).expect(200).await;
    is_refused(&join(&app, &guests[1]).await);
    tenant.owner.patch(&user_path(&admin)).json(&json!({"role": "admin"})).expect(200).await;
    join(&app, &guests[1]).await.expect(201);
    let account = format!("/api/v1/users/{}", text(&key, "user_id"));
    for change in [json!({"role": "editor"}), json!({"is_active": false})] {
        tenant.owner.patch(&account).json(&change).expect(200).await;
        is_refused(&join(&app, &guests[2]).await);
    }
    tenant.owner.patch(&account).json(&json!({"role": "admin", "is_active": true})).expect(200).await;
    tenant.owner.delete(&format!("{KEYS}/{}", text(&key, "id"))).expect(204).await;
    is_refused(&join(&app, &guests[2]).await);
}
