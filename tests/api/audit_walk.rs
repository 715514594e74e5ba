//! A walk over all operations of the contract that change something: each leaves a row in the tenant's audit log. A new
//! operation is walked by itself; where the contract's example alone does not succeed, `members_of` says what does.
use crate::support::{Call, Person, Tenant, TestApp};
use bizcenter::contract::{Operation, document, operations};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

const PASSWORD: &str = "correct horse battery";

/// Operations that leave no row, and why.
const NOT_AUDITED: [(&str, &str); 2] = [
    ("auth_refresh", "happens every 15 minutes, and changes nothing that people see"),
    ("auth_password_forgot", "anybody can ask, for anybody; the reset itself is what changes something"),
];

/// The token of this kind that was mailed to somebody.
async fn mailed(app: &TestApp, email: &str, prefix: &str) -> String {
    for count in 1.. {
        let letters = app.letters_to(email, count).await;
        if let Some(letter) = letters.iter().find(|letter| letter.text.contains(prefix)) {
            return letter.token(prefix);
        }
    }
    unreachable!()
}

async fn invite(tenant: &Tenant, email: &str) -> Value {
    let input = json!({"email": email, "role": "viewer"});
    tenant.owner.post("/api/v1/invitations").json(&input).expect(201).await.json()
}

/// Something new for an operation to be about; `list` is the path so far.
async fn id_of(tenant: &Tenant, person: &Person, list: &str, parameter: &str) -> String {
    let below = |input: Value| async move { person.post(list).json(&input).expect(201).await.json() };
    let made = match parameter {
        "contract_id" => person.contract(json!({})).await,
        "task_id" => person.task(json!({"title": "Walked over"})).await,
        "comment_id" => below(json!({"body": "Walked over"})).await,
        "meeting_id" => person.meeting(json!({})).await,
        "attendee_id" => below(json!({"email": "walked@elsewhere.example"})).await,
        "action_item_id" => below(json!({"description": "Walked over"})).await,
        "item_id" => person.item(json!({"title": "Walked over"})).await,
        "invitation_id" => invite(tenant, "walked@invited.example").await,
        "api_key_id" => {
            let input = json!({"name": "Robot", "role": "viewer"});
            person.post("/api/v1/api-keys").json(&input).expect(201).await.json()
        }
        "session_id" => person.get("/api/v1/auth/sessions").expect(200).await.json()["items"][0].clone(),
        "user_id" => tenant.viewer().await.signed_in["user"].clone(),
        "tenant_id" => json!({"id": tenant.id}),
        other => panic!("the walk has no {other}: add one here"),
    };
    made["id"].as_str().unwrap().to_owned()
}

async fn path_of(tenant: &Tenant, person: &Person, operation: &Operation) -> String {
    let mut segments: Vec<String> = vec![];
    for segment in operation.path.split('/') {
        segments.push(match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(parameter) => id_of(tenant, person, &segments.join("/"), parameter).await,
            None => segment.to_owned(),
        });
    }
    let path = segments.join("/");
    if operation.id == "calendar_feed_delete" {
        person.post(&path).expect(201).await;
    }
    match operation.id.as_str() {
        "tenant_delete" => format!("{path}?confirm={}", tenant.slug),
        _ => path,
    }
}

/// What has to stand in the body instead of what the contract's example has; null: nothing.
async fn members_of(tenant: &Tenant, person: &Person, operation: &Operation) -> Value {
    let (app, email) = (&tenant.app, tenant.owner.email());
    match operation.id.as_str() {
        "auth_register" => {
            let email = format!("{}@invited.example", app.unique());
            let token = invite(tenant, &email).await["token"].clone();
            json!({
                "email": email, "username": app.unique(), "invitation_token": token,
                "tenant_id": null, "tenant_name": null,
            })
        }
        "auth_login" => json!({"email": email, "password": PASSWORD}),
        "auth_token" => json!({"username": email, "password": PASSWORD}),
        "auth_refresh" | "auth_logout" => json!({"refresh_token": tenant.owner.refresh_token()}),
        "auth_password" => json!({"current_password": PASSWORD}),
        "auth_password_forgot" => json!({"email": email}),
        "auth_password_reset" => {
            let forgot = app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": email}));
            forgot.expect(202).await;
            json!({"token": mailed(app, &email, "bcp_").await})
        }
        "auth_email_verify" => json!({"token": mailed(app, &email, "bcv_").await}),
        "user_me_replace" => {
            json!({"email": person.email(), "username": app.unique(), "current_password": PASSWORD})
        }
        "api_key_create" => json!({"expires_at": null}), // the example's will be over one day
        "action_item_create" => json!({"assignee_id": person.id()}),
        "task_create" | "task_replace" => json!({"assigned_to": person.id()}),
        _ => json!({}),
    }
}

/// The operation as it succeeds: by somebody who may do everything, or by a visitor where it is for visitors.
async fn call(tenant: &Tenant, operation: &Operation) -> Call {
    let person = match operation.id.as_str() {
        "tenant_delete" => tenant.owner.clone(), // a tenant of operators stays
        _ => tenant.almighty().await,
    };
    let path = path_of(tenant, &person, operation).await;
    let caller = if !operation.secured { tenant.app.visitor() } else { person.clone() };
    let call = caller.call(operation.method.parse::<Method>().unwrap(), &path);
    let Some(request) = &operation.request else { return call };
    let mut body: Map<String, Value> = request.example.clone().unwrap().as_object().unwrap().clone();
    for (name, value) in members_of(tenant, &person, operation).await.as_object().unwrap() {
        match value {
            Value::Null => body.remove(name),
            value => body.insert(name.clone(), value.clone()),
        };
    }
    match request.media_type.as_str() {
        "application/json" => call.json(&Value::Object(body)),
        form => call.body(form, serde_urlencoded::to_string(&body).unwrap()),
    }
}

async fn rows_of(app: &TestApp, tenant: Uuid) -> usize {
    app.rows(&format!("SELECT action FROM audit_logs WHERE tenant_id = {}", app.id(tenant))).await.len()
}

#[tokio::test]
async fn every_operation_that_changes_something_leaves_a_row() {
    let app = TestApp::alone().await; // so that nobody else removes the rows of the tenant that is deleted
    let (mut walked, mut excepted) = (0, vec![]);
    for operation in operations(document()).iter().filter(|operation| operation.method != "GET") {
        let tenant = match operation.id.as_str() {
            "auth_email_verify" => app.unverified_tenant().await, // or there would be nothing to verify
            _ => app.tenant().await,
        };
        let call = call(&tenant, operation).await;
        let before = rows_of(&app, tenant.id).await;
        let answer = call.send().await;
        assert!(answer.status.is_success(), "{}: {}: {}", operation.id, answer.status, answer.text());
        let new = match operation.id.as_str() {
            "admin_tenant_create" => rows_of(&app, answer.json()["id"].as_str().unwrap().parse().unwrap()).await,
            _ => rows_of(&app, tenant.id).await - before,
        };
        let exception = NOT_AUDITED.into_iter().find(|(id, _)| *id == operation.id);
        assert_eq!(new == 0, exception.is_some(), "{}: {new} new rows", operation.id);
        excepted.extend(exception);
        walked += 1;
    }
    let lines = include_str!("../../openapi/operations.txt").lines();
    let mutating = lines.filter(|line| line.split(' ').nth(1) != Some("GET")).count();
    assert_eq!(walked, mutating, "not all were walked");
    assert_eq!(excepted.len(), NOT_AUDITED.len(), "an exception is of no operation that there is");
}
