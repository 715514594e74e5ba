//! A walk over all operations of the contract: with no token, with another tenant's ids, with each role. A new operation
//! is walked by itself; one with a new path parameter fails here until the walk knows what to put there.
use crate::support::{Call, Person, Tenant, TestApp};
use bizcenter::auth::Role;
use bizcenter::contract::{Operation, document, operations};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What `operations.txt` says of an operation: the least role for what one made, and for what others made.
struct Rights {
    own: Role,
    others: Role,
}

/// Operation id → rights; none for public operations.
fn rights() -> BTreeMap<String, Option<Rights>> {
    let role = |name: &str| Role::ALL.into_iter().find(|role| role.name() == name.to_lowercase()).unwrap();
    let text = include_str!("../../openapi/operations.txt");
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let rights = words.get(4).map(|roles| {
            let (own, others) = roles.split_once('/').unwrap_or((roles, roles));
            Rights { own: role(own), others: role(others) }
        });
        (words[0].to_owned(), rights)
    };
    text.lines().map(line).collect()
}

/// The path with these in the places of its parameters.
fn filled(path: &str, ids: &BTreeMap<&str, String>) -> String {
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => ids.get(name).unwrap_or_else(|| panic!("the walk has no {name}: add one to `ids_of`")).clone(),
        None => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// One of everything that an operation can be about, made by this person.
async fn ids_of(maker: &Person) -> BTreeMap<&'static str, String> {
    let task = maker.task(json!({"title": "Walked over"})).await;
    let sessions = maker.get("/api/v1/auth/sessions").expect(200).await.json();
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    [("task_id", id(&task)), ("session_id", id(&sessions["items"][0]))].into()
}

/// The operation as this person would call it, with the contract's own example as its body.
fn call(person: &Person, operation: &Operation, ids: &BTreeMap<&str, String>) -> Call {
    let method: Method = operation.method.parse().unwrap();
    let call = person.call(method, &filled(&operation.path, ids));
    match &operation.request {
        Some(request) if request.media_type == "application/json" => {
            let mut body = request.example.clone().unwrap();
            if let Some(members) = body.as_object_mut() {
                members.remove("assigned_to"); // a user who is not there would be 422
            }
            call.json(&body)
        }
        Some(request) => call.body(&request.media_type, serde_urlencoded::to_string(&request.example).unwrap()),
        None => call,
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_served_that_wants_them() {
    let tenant = TestApp::start().await.tenant().await;
    let ids = ids_of(&tenant.owner).await;
    let mut walked = 0;
    for operation in operations(document()).iter().filter(|operation| operation.secured) {
        let mut visitor = call(&tenant.app.visitor(), operation, &ids);
        if operation.id == "auth_refresh" {
            visitor = tenant.app.visitor().post(&operation.path); // its example is a credential, of nobody
        }
        let answer = visitor.send().await;
        assert_eq!(answer.error(), (401, "unauthenticated".into()), "{}", operation.id);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{}", operation.id);
        walked += 1;
    }
    let public = rights().values().filter(|rights| rights.is_none()).count();
    assert_eq!(walked, operations(document()).len() - public + 1, "all but the public ones, and refresh");
}

#[tokio::test]
async fn another_tenants_ids_are_as_ones_that_never_were() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.tenant().await, app.tenant().await);
    let foreign = ids_of(&theirs.owner).await;
    let never: BTreeMap<_, _> = foreign.keys().map(|name| (*name, app.parts.world.uuid().to_string())).collect();
    let mut walked = 0;
    for operation in operations(document()).iter().filter(|operation| operation.path.contains('{')) {
        let told = |answer: crate::support::Answer| {
            let mut body = answer.json();
            body["error"]["request_id"] = Value::Null;
            (answer.status, body)
        };
        let of_theirs = told(call(&ours.owner, operation, &foreign).send().await);
        assert_eq!(of_theirs.0, 404, "{}", operation.id);
        assert_eq!(of_theirs, told(call(&ours.owner, operation, &never).send().await), "{}", operation.id);
        walked += 1;
    }
    assert!(walked >= 5, "only {walked} operations take an id");
    theirs.owner.get(&format!("/api/v1/tasks/{}", foreign["task_id"])).expect(200).await; // it is still there
    theirs.owner.get("/api/v1/auth/me").expect(200).await;
}

#[tokio::test]
async fn every_role_may_do_what_the_table_says_and_no_more() {
    let tenant: Tenant = TestApp::start().await.tenant().await;
    let rights = rights();
    let mut walked = 0;
    for operation in operations(document()) {
        let Some(needed) = &rights[&operation.id] else { continue };
        for role in Role::ALL {
            let person = tenant.person(role).await; // anew, as signing out is among the operations
            let of_others = ids_of(&tenant.owner).await;
            let answer = call(&person, &operation, &of_others).send().await;
            let is_about_one = operation.path.contains('{');
            let least = if is_about_one { needed.others } else { needed.own };
            assert_eq!(answer.status == 403, role < least, "{} as {}: {}", operation.id, role.name(), answer.text());
            walked += 1;
            if is_about_one && role >= Role::Editor && person.get("/api/v1/auth/me").send().await.status == 200 {
                let own = ids_of(&person).await;
                let answer = call(&person, &operation, &own).send().await;
                assert_eq!(answer.status == 403, role < needed.own, "{} of one's own as {}", operation.id, role.name());
            }
        }
    }
    assert_eq!(walked, rights.values().flatten().count() * Role::ALL.len());
}
