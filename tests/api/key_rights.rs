//! An API key can't create lasting rights, because these would remain after the key was deleted or found to be stolen.
use crate::support::rights::{Line, lines};
use crate::support::rows::run;
use crate::support::{Call, Person, Tenant, TestApp};
use bizcenter::contract::{document, operations};
use reqwest::Method;
use serde_json::{Value, json};

const KEYS: &str = "/api/v1/api-keys";
const INVITATIONS: &str = "/api/v1/invitations";
const TENANT: &str = "/api/v1/tenant";

fn user_path(id: impl std::fmt::Display) -> String {
    format!("/api/v1/users/{id}")
}

fn path_in(list: &str, made: &Value) -> String {
    format!("{list}/{}", made["id"].as_str().unwrap())
}

/// Creates a key of the owner with all rights that a key can have.
async fn mighty_key(tenant: &Tenant) -> Value {
    tenant.owner.post(KEYS).json(&json!({"name": "Robot", "role": "owner"})).expect(201).await.json()
}

fn by_key(tenant: &Tenant, key: &Value, method: Method, path: &str) -> Call {
    tenant.app.visitor().call(method, path).header("x-api-key", key["key"].as_str().unwrap())
}

async fn member(owner: &Person, path: &str, name: &str) -> Value {
    owner.get(path).expect(200).await.json()[name].clone()
}

/// In earlier versions keys could create keys. These outlived the key that created them and the maker of that key.
#[tokio::test]
async fn a_key_that_a_key_made_is_good_no_more() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let (maker, made) = (mighty_key(&tenant).await, mighty_key(&tenant).await);
    let [account, id] = [&maker["user_id"], &made["id"]].map(|id| app.id(id.as_str().unwrap().parse().unwrap()));
    let mut conn = app.database.connect().await;
    run(&mut conn, &format!("UPDATE api_keys SET created_by = {account} WHERE id = {id}")).await.unwrap();
    let answer = by_key(&tenant, &made, Method::GET, TENANT).send().await;
    assert_eq!(answer.error(), (401, "invalid_token".into()));
    by_key(&tenant, &maker, Method::GET, TENANT).expect(200).await;
}

#[tokio::test]
async fn a_key_gives_nobody_rights_that_outlive_it() {
    let tenant = TestApp::start().await.tenant().await;
    let (owner, key) = (&tenant.owner, mighty_key(&tenant).await);
    let (editor, disabled) = (tenant.editor().await, tenant.viewer().await);
    owner.patch(&user_path(disabled.id())).json(&json!({"is_active": false})).expect(200).await;
    let other = owner.post(KEYS).json(&json!({"name": "Humble", "role": "viewer"})).expect(201).await.json();
    let account = user_path(other["user_id"].as_str().unwrap());
    let (editor, disabled) = (user_path(editor.id()), user_path(disabled.id()));
    let guest = format!("{}@invited.example", tenant.app.unique());
    let change = |change: Value| (Method::PATCH, change);
    for (path, (method, body)) in [
        (INVITATIONS, (Method::POST, json!({"email": guest, "role": "viewer"}))),
        (KEYS, (Method::POST, json!({"name": "Offspring", "role": "viewer"}))),
        (&editor, change(json!({"role": "owner"}))),
        (&editor, change(json!({"role": "viewer"}))),
        (&editor, change(json!({"name": "With a role", "role": "admin"}))),
        (&disabled, change(json!({"is_active": true}))),
        (&account, change(json!({"role": "owner"}))),
        (TENANT, change(json!({"name": "Open to all", "open_registration": true}))),
    ] {
        let answer = by_key(&tenant, &key, method, path).json(&body).send().await;
        assert_eq!(answer.error(), (403, "forbidden".into()), "{path} {body}");
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("API key") && message.contains("outlive"), "it says why: {message}");
    }
    let roles = [member(owner, &editor, "role").await, member(owner, &account, "role").await];
    assert_eq!(roles, [json!("editor"), json!("viewer")]);
    assert_eq!(member(owner, &editor, "name").await, "A editor", "a change is made as a whole or not at all");
    assert_eq!(member(owner, &disabled, "is_active").await, false);
    assert_eq!(member(owner, TENANT, "open_registration").await, false);
    for (list, count) in [(INVITATIONS, 0), (KEYS, 2)] {
        assert_eq!(owner.get(list).expect(200).await.json()["meta"]["total"], count, "{list}");
    }
}

/// Scripts may delete things and lock users out, because that is useful at night.
#[tokio::test]
async fn a_key_changes_what_is_no_right_and_takes_rights_away() {
    let tenant = TestApp::start().await.tenant().await;
    let (owner, key) = (&tenant.owner, mighty_key(&tenant).await);
    let editor = user_path(tenant.editor().await.id());
    for change in [
        json!({"name": "Renamed"}),
        json!({"name": "Renamed again", "role": "editor", "is_active": true}), // with the present values
        json!({"requests_per_hour": 10}),
        json!({"is_active": false}),
    ] {
        by_key(&tenant, &key, Method::PATCH, &editor).json(&change).expect(200).await;
    }
    assert_eq!(member(owner, &editor, "name").await, "Renamed again");
    assert_eq!(member(owner, &editor, "is_active").await, false);
    by_key(&tenant, &key, Method::DELETE, &editor).expect(204).await;

    let guest = json!({"email": format!("{}@invited.example", tenant.app.unique()), "role": "viewer"});
    let invitation = owner.post(INVITATIONS).json(&guest).expect(201).await.json();
    by_key(&tenant, &key, Method::DELETE, &path_in(INVITATIONS, &invitation)).expect(204).await;
    let other = mighty_key(&tenant).await;
    by_key(&tenant, &key, Method::DELETE, &path_in(KEYS, &other)).expect(204).await;

    owner.patch(TENANT).json(&json!({"open_registration": true})).expect(200).await;
    for change in [json!({"name": "Renamed", "open_registration": true}), json!({"open_registration": false})] {
        by_key(&tenant, &key, Method::PATCH, TENANT).json(&change).expect(200).await;
    }
    assert_eq!(member(owner, TENANT, "open_registration").await, false);
}

/// The contract offers an API key for an operation, unless the table of operations says `people`.
#[test]
fn the_contract_offers_a_key_where_one_is_taken() {
    let declared = |id: &str| {
        let operation = operations(document()).into_iter().find(|operation| operation.id == id).unwrap();
        let raw = &document()["paths"][&operation.path][operation.method.to_lowercase()];
        raw["security"].as_array().unwrap().iter().any(|scheme| scheme.get("apiKeyAuth").is_some())
    };
    let mut looked_at = 0;
    for Line { id, rights, .. } in lines() {
        let Some(rights) = rights else { continue };
        assert_eq!(declared(id), !rights.is_for_people, "{id}");
        looked_at += 1;
    }
    assert_eq!(looked_at, operations(document()).iter().filter(|operation| operation.secured).count());
}
