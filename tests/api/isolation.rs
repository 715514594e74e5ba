//! A walk over all operations of the contract: with no token, with another tenant's ids, with each role. A new operation
//! is walked by itself; one with a new path parameter fails here until the walk knows what to put there.
use crate::support::{Answer, Call, Person, Tenant, TestApp};
use bizcenter::auth::Role;
use bizcenter::contract::{Operation, document, operations};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What `operations.txt` says of an operation: the least role for what one made, and for what others made (or nobody); or that it is
/// for operators alone.
struct Rights {
    own: Role,
    others: Option<Role>,
    is_for_operators: bool,
}

/// Operation id → rights; none for public operations.
fn rights() -> BTreeMap<String, Option<Rights>> {
    let role = |name: &str| Role::ALL.into_iter().find(|role| role.name() == name.to_lowercase()).unwrap();
    let text = include_str!("../../openapi/operations.txt");
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let rights = words.get(4).map(|roles| {
            let is_for_operators = *roles == "Operator";
            let roles = if is_for_operators { "Viewer" } else { roles };
            let (own, others) = roles.split_once('/').unwrap_or((roles, roles));
            Rights { own: role(own), others: (others != "Nobody").then(|| role(others)), is_for_operators }
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

/// One of everything that an operation can be about, made by this person, or by `maker` what they may not make.
async fn ids_of(person: &Person, maker: &Person) -> BTreeMap<&'static str, String> {
    let task = maker.task(json!({"title": "Walked over"})).await;
    let comments = format!("/api/v1/tasks/{}/comments", task["id"].as_str().unwrap());
    let comment = person.post(&comments).json(&json!({"body": "Walked over"})).expect(201).await.json();
    let sessions = person.get("/api/v1/auth/sessions").expect(200).await.json();
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let meeting = id(&maker.meeting(json!({})).await);
    let attendees = format!("/api/v1/meetings/{meeting}/attendees");
    let guest = match person.id() == maker.id() {
        true => json!({"email": "walked@elsewhere.example"}),
        false => json!({"user_id": person.id()}),
    };
    let attendee = maker.post(&attendees).json(&guest).expect(201).await.json();
    let items = format!("/api/v1/meetings/{meeting}/action-items");
    let item = maker.post(&items).json(&json!({"description": "Walked over"})).expect(201).await.json();
    let listed = maker.item(json!({"title": "Walked over"})).await;
    [
        ("task_id", id(&task)),
        ("item_id", id(&listed)),
        ("comment_id", id(&comment)),
        ("session_id", id(&sessions["items"][0])),
        ("meeting_id", meeting),
        ("attendee_id", id(&attendee)),
        ("action_item_id", id(&item)),
    ]
    .into()
}

/// The same, and what only somebody who owns the tenant can make.
async fn ids_in(tenant: &Tenant) -> BTreeMap<&'static str, String> {
    let (owner, name) = (&tenant.owner, tenant.app.unique());
    let invitation = json!({"email": format!("{name}@invited.example"), "role": "viewer"});
    let invitation = owner.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    let key = json!({"name": name, "role": "viewer"});
    let key = owner.post("/api/v1/api-keys").json(&key).expect(201).await.json();
    let contract = owner.contract(json!({})).await;
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let mut ids = ids_of(owner, owner).await;
    ids.insert("contract_id", id(&contract));
    ids.insert("invitation_id", id(&invitation));
    ids.insert("api_key_id", id(&key));
    ids.insert("user_id", tenant.viewer().await.id().to_string());
    ids.insert("tenant_id", tenant.id.to_string());
    ids
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
                members.remove("assignee_id");
                if operation.id == "tenant_change" {
                    members.remove("open_registration"); // what a key may not open is another test's matter
                }
                if operation.id != "auth_register" && members.contains_key("role") {
                    members["role"] = json!("viewer"); // what nobody may give is another test's matter
                }
            }
            call.json(&body)
        }
        Some(request) => call.body(&request.media_type, serde_urlencoded::to_string(&request.example).unwrap()),
        None if operation.id == "tenant_delete" => person.delete("/api/v1/tenant?confirm=another-tenant"), // 422, or 403
        None => call,
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_served_that_wants_them() {
    let tenant = TestApp::start().await.tenant().await;
    let ids = ids_in(&tenant).await;
    let mut walked = 0;
    for operation in operations(document()).iter().filter(|operation| operation.secured) {
        let answer = call(&tenant.app.visitor(), operation, &ids).send().await;
        assert_eq!(answer.error(), (401, "unauthenticated".into()), "{}", operation.id);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{}", operation.id);
        walked += 1;
    }
    let public = rights().values().filter(|rights| rights.is_none()).count();
    assert_eq!(walked, operations(document()).len() - public, "all but the public ones");
}

#[tokio::test]
async fn what_the_contract_lets_anybody_call_wants_no_credentials() {
    let visitor = TestApp::start().await.visitor();
    let ids = [("file", "bcf_nobodys.ics".to_owned())].into();
    let (mut walked, mut with_credential_in_body) = (0, vec![]);
    for operation in operations(document()).iter().filter(|operation| !operation.secured) {
        let stated = &document()["paths"][&operation.path][operation.method.to_lowercase()]["security"];
        let answer = if *stated == json!([]) {
            // Without a body, as a newcomer is not to be made of the example of one.
            visitor.call(operation.method.parse().unwrap(), &filled(&operation.path, &ids)).send().await
        } else {
            with_credential_in_body.push(operation.id.clone());
            call(&visitor, operation, &ids).send().await // it is looked at, and is good for nobody
        };
        let is_success = answer.status.is_success();
        assert!(is_success || answer.error().1 != "unauthenticated", "{} says {stated}: {answer:?}", operation.id);
        walked += 1;
    }
    for id in ["auth_refresh", "auth_logout"] {
        assert!(
            with_credential_in_body.iter().any(|found| found == id),
            "{id} wants a credential beside the one in its body"
        );
    }
    assert_eq!(walked, rights().values().filter(|rights| rights.is_none()).count());
}

#[tokio::test]
async fn another_tenants_ids_are_as_ones_that_never_were() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.tenant().await, app.tenant().await);
    let (foreign, rights) = (ids_in(&theirs).await, rights());
    let never: BTreeMap<_, _> = foreign.keys().map(|name| (*name, app.parts.env.uuid().to_string())).collect();
    let mut walked = 0;
    let is_walked = |operation: &&Operation| {
        operation.path.contains('{') && rights[&operation.id].as_ref().is_some_and(|rights| !rights.is_for_operators)
    };
    for operation in operations(document()).iter().filter(is_walked) {
        let told = |answer: Answer| {
            let mut body = answer.json();
            body["error"]["request_id"] = Value::Null;
            (answer.status, body)
        };
        let of_theirs = told(call(&ours.owner, operation, &foreign).send().await);
        assert_eq!(of_theirs.0, 404, "{}", operation.id);
        assert_eq!(of_theirs, told(call(&ours.owner, operation, &never).send().await), "{}", operation.id);
        walked += 1;
    }
    assert!(walked >= 12, "only {walked} operations take an id");
    theirs.owner.get(&format!("/api/v1/tasks/{}", foreign["task_id"])).expect(200).await; // it is still there
    theirs.owner.get("/api/v1/auth/me").expect(200).await;
}

/// The answer to a caller who may do it, where it is no success, and why.
const NO_SUCCESS: [(&str, u16, &str); 6] = [
    ("auth_session_end", 404, "nobody ends another's session"),
    ("calendar_feed_get", 404, "they have none"),
    ("calendar_feed_delete", 404, "they have none"),
    ("invitation_create", 409, "the user before has invited the same address"),
    ("tenant_delete", 422, "another tenant is named"),
    ("user_me_replace", 409, "the user before has that address now"),
];

/// A caller who may do it has it done.
#[track_caller]
fn is_done(operation: &Operation, answer: &Answer) {
    let status = answer.status.as_u16();
    let is_listed = NO_SUCCESS.iter().any(|(id, other, _)| *id == operation.id && *other == status);
    assert!(answer.status.is_success() || is_listed, "{}: {} {}", operation.id, status, answer.text());
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
            let of_others = ids_in(&tenant).await;
            let answer = call(&person, &operation, &of_others).send().await;
            let is_about_one = operation.path.contains('{');
            let least = if is_about_one { needed.others } else { Some(needed.own) };
            let is_refused = least.is_none_or(|least| role < least) || needed.is_for_operators;
            match is_refused {
                true => assert_eq!(answer.error(), (403, "forbidden".into()), "{} as {}", operation.id, role.name()),
                false => is_done(&operation, &answer),
            }
            walked += 1;
            let has_owner = Some(needed.own) != needed.others;
            if is_about_one
                && has_owner
                && role >= Role::Analyst
                && person.get("/api/v1/auth/me").send().await.status == 200
            {
                let maker = if role >= Role::Editor { &person } else { &tenant.owner }; // analysts make comments alone
                let own = ids_of(&person, maker).await;
                let answer = call(&person, &operation, &own).send().await;
                match role < needed.own {
                    true => assert_eq!(answer.status, 403, "{} of one's own as {}", operation.id, role.name()),
                    false => is_done(&operation, &answer),
                }
            }
        }
    }
    assert_eq!(walked, rights.values().flatten().count() * Role::ALL.len());
}

/// What only people have, and what gives rights that would outlive a key.
const OF_PEOPLE: [&str; 11] = [
    "auth_logout",
    "auth_logout_all",
    "auth_session_list",
    "auth_session_end",
    "auth_password",
    "user_me_replace",
    "user_me_change",
    "calendar_feed_create",
    "calendar_feed_delete",
    "api_key_create",
    "invitation_create",
];

#[tokio::test]
async fn a_key_of_every_role_may_do_what_the_table_says_and_nothing_of_a_persons() {
    let tenant = TestApp::start().await.tenant().await;
    let (visitor, rights) = (tenant.app.visitor(), rights());
    for role in Role::ALL {
        let input = json!({"name": role.name(), "role": role.name()});
        let made = tenant.owner.post("/api/v1/api-keys").json(&input).expect(201).await.json();
        for operation in operations(document()) {
            let Some(needed) = &rights[&operation.id] else { continue };
            let is_about_one = operation.path.contains('{');
            let ids = if is_about_one { ids_in(&tenant).await } else { BTreeMap::new() };
            let answer = call(&visitor, &operation, &ids).header("x-api-key", made["key"].as_str().unwrap());
            let answer = answer.send().await;
            let least = if is_about_one { needed.others } else { Some(needed.own) };
            let may = least.is_some_and(|least| role >= least) && !needed.is_for_operators;
            match may && !OF_PEOPLE.contains(&operation.id.as_str()) {
                true => is_done(&operation, &answer),
                false => assert_eq!(answer.error(), (403, "forbidden".into()), "{} as {}", operation.id, role.name()),
            }
        }
    }
}

#[tokio::test]
async fn operators_reach_their_own_operations_and_no_tenants_rows() {
    let app = TestApp::start().await;
    let (home, other) = (app.tenant().await, app.tenant().await);
    let operator = home.operator().await; // a viewer at home
    let ids = ids_in(&other).await;
    let rights = rights();
    let (mut allowed, mut refused) = (0, 0);
    for operation in operations(document()) {
        let Some(needed) = &rights[&operation.id] else { continue };
        if needed.is_for_operators {
            let answer = call(&operator, &operation, &ids).send().await;
            assert!(answer.status.is_success() || answer.status == 409, "{}: {}", operation.id, answer.text());
            allowed += 1;
        } else if operation.path.contains('{') {
            let answer = call(&operator, &operation, &ids).send().await;
            assert!(matches!(answer.status.as_u16(), 403 | 404), "{}: {}", operation.id, answer.text());
            refused += 1;
        }
    }
    assert!(allowed >= 4 && refused >= 12, "{allowed} allowed, {refused} refused");
}
