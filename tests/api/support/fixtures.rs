//! Prepares requests for the tests that walk over all operations: a real record for each path parameter, and a body
//! with which each operation succeeds.
//!
//! Nearly all of it is derived from the contract: the record that `{task_id}` names in `/tasks/{task_id}` is created by
//! a POST to `/tasks` with the contract's example. Exceptions for parameters are in [`Fixtures::thing`], and those for
//! bodies in [`Fixtures::members`].
use super::contract::dereference;
use super::{Call, PASSWORD, Person, Tenant, TestApp};
use bizcenter::contract::{Operation, Request, document, operations};
use bizcenter::db::System;
use bizcenter::db::one_time_tokens::Purpose;
use bizcenter::db::stored_objects::Room;
use chrono::Duration;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Creates records in a tenant.
pub struct Fixtures<'a> {
    tenant: &'a Tenant,
    person: &'a Person,
}

/// A record that was created, and its path.
pub struct Made {
    pub path: String,
    /// The record as the server returned it when it was created.
    pub thing: Value,
}

const SAY_HOW: &str = "say in `Fixtures::thing`, tests/api/support/fixtures.rs, how such a thing is made";

/// A path of the contract with its parameters replaced by these values.
pub fn filled(path: &str, value_of: impl Fn(&str) -> String) -> String {
    let segment = |segment: &str| parameter(segment).map_or_else(|| segment.to_owned(), &value_of);
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// The name of the parameter, if this segment of a path is one.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
}

/// What stands between the parts of a body of several parts.
const BOUNDARY: &str = "between-the-parts";

const MULTIPART: &str = "multipart/form-data";

/// The `Content-Type` of what [`encoded`] returns.
pub fn content_type(request: &Request) -> String {
    match request.media_type.as_str() {
        MULTIPART => format!("{MULTIPART}; boundary={BOUNDARY}"),
        media_type => media_type.to_owned(),
    }
}

/// A body of several parts: the members, and the file if one of them is called so.
fn multipart(members: &Value) -> String {
    let part = |(name, value): (&String, &Value)| {
        let file = if name == "file" { "; filename=\"walk.txt\"\r\nContent-Type: text/plain" } else { "" };
        let text = value.as_str().unwrap();
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
    };
    let parts: String = members.as_object().unwrap().iter().map(part).collect();
    format!("{parts}--{BOUNDARY}--\r\n")
}

/// The body in the media type of the request.
pub fn encoded(request: &Request, body: &Value) -> String {
    match request.media_type.as_str() {
        MULTIPART => multipart(body),
        "application/json" => body.to_string(),
        "application/x-www-form-urlencoded" => serde_urlencoded::to_string(body).unwrap(),
        other => panic!("no walk writes {other}: say how in `encoded`, tests/api/support/fixtures.rs"),
    }
}

/// The query with all required parameters of an operation. Their values match nothing.
fn required_query(operation: &Operation) -> String {
    let item = &document()["paths"][&operation.path];
    let all = [&item["parameters"], &item[operation.method.to_lowercase()]["parameters"]];
    let all = all.into_iter().filter_map(Value::as_array).flatten().map(|parameter| dereference(document(), parameter));
    let required = all.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
    let pairs: Vec<_> =
        required.map(|parameter| format!("{}=fits-nothing", parameter["name"].as_str().unwrap())).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

impl<'a> Fixtures<'a> {
    /// Creates records as the owner of the tenant.
    pub fn of(tenant: &'a Tenant) -> Self {
        Self::of_person(tenant, &tenant.owner)
    }

    /// Creates records as this person. Where the person may not create them, the owner does.
    pub fn of_person(tenant: &'a Tenant, person: &'a Person) -> Self {
        Self { tenant, person }
    }

    /// The path of an operation. Creates the records that its parameters name.
    pub async fn path(&self, operation: &Operation) -> String {
        self.make(&operation.path).await.path
    }

    /// Creates the record that a path names, with its parents: a new task and a comment on it for
    /// `/tasks/{task_id}/comments/{comment_id}`.
    pub async fn make(&self, template: &str) -> Made {
        let (mut list, mut path, mut thing) = (vec![], vec![], Value::Null);
        for segment in template.split('/') {
            match parameter(segment) {
                None => path.push(segment.to_owned()),
                Some(name) => {
                    thing = self.thing(template, &list.join("/"), &path.join("/"), name).await;
                    let id = thing["id"].as_str();
                    path.push(id.unwrap_or_else(|| panic!("no id for {name}, but {thing}: {SAY_HOW}")).to_owned());
                }
            }
            list.push(segment);
        }
        Made { path: path.join("/"), thing }
    }

    /// A record that the path parameter can name. `list` is the path of its list, and `template` is the same path in
    /// the contract.
    async fn thing(&self, operation: &str, template: &str, list: &str, parameter: &str) -> Value {
        let Self { tenant, person } = self;
        match parameter {
            // Each person has one feed. Its secret name is returned only to the person who creates it.
            "file" => {
                let feed = person.post("/api/v1/users/me/calendar").expect(201).await.json();
                json!({"id": feed["url"].as_str().unwrap().rsplit('/').next()})
            }
            // What is completed was sent to the storage, if it takes such uploads.
            "file_id" if operation.ends_with("/complete") => self.sent().await,
            // A session is created by signing in.
            "session_id" => person.get("/api/v1/auth/sessions").expect(200).await.json()["items"][0].clone(),
            // The tenant itself, because only an operator could create another one.
            "tenant_id" => json!({"id": tenant.id}),
            // No POST to the list of users creates one: users are invited or register.
            "user_id" => tenant.viewer().await.signed_in["user"].clone(),
            _ => self.created(template, list, parameter).await,
        }
    }

    /// A file that the person has sent to the storage, and that is not completed yet.
    async fn sent(&self) -> Value {
        let input = json!({"name": "walk.txt", "size": 4, "content_type": "text/plain"});
        let announce = |person: &Person| person.post("/api/v1/files/uploads").json(&input).send();
        let mut answer = announce(self.person).await;
        if answer.status == 403 {
            answer = announce(&self.tenant.owner).await;
        }
        let upload = answer.expect(200).json();
        let put = self.tenant.app.http.put(upload["url"].as_str().unwrap()).body("walk");
        put.header("content-type", "text/plain").send().await.unwrap().error_for_status().unwrap();
        upload["file"].clone()
    }

    /// Creates a record by a POST to the list, with the contract's example.
    async fn created(&self, template: &str, list: &str, parameter: &str) -> Value {
        let create = operations(document()).into_iter().find(|it| it.method == "POST" && it.path == template);
        let create = create.unwrap_or_else(|| {
            panic!(
                "nothing is known to put in the place of the path parameter {parameter}, as nothing is POSTed to {template}: \
                 {SAY_HOW}"
            )
        });
        let mut body = self.body(&create).await.unwrap_or_default();
        // These differ from the example, so that a later change to the example's values changes something.
        for text in ["title", "name", "description", "body"] {
            if body[text].is_string() {
                body[text] = json!("Walked over");
            }
        }
        let post = |person: &Person, body: &Value| match &create.request {
            Some(request) => person.post(list).body(&content_type(request), encoded(request, body)).send(),
            None => person.post(list).send(),
        };
        let mut answer = post(self.person, &body).await;
        if answer.status == 403 {
            if create.id == "attendee_create" {
                body = json!({"user_id": self.person.id()}); // an invitation belongs to its guest, too
            }
            answer = post(&self.tenant.owner, &body).await;
        }
        answer.expect(201).json()
    }

    /// A call of the operation by this caller, on records that are created for it, with a body with which it succeeds.
    pub async fn call(&self, caller: &Person, operation: &Operation) -> Call {
        let path = self.path(operation).await;
        self.call_at(caller, operation, &path).await
    }

    /// Like [`Self::call`], but at a path with records that exist already.
    pub async fn call_at(&self, caller: &Person, operation: &Operation, path: &str) -> Call {
        let url = format!("{path}{}", required_query(operation));
        let call = caller.call(operation.method.parse().unwrap(), &url);
        match (&operation.request, self.body(operation).await) {
            (Some(request), Some(body)) => call.body(&content_type(request), encoded(request, &body)),
            _ => call,
        }
    }

    /// The contract's example of the body, adapted so that the person may send it and the operation succeeds.
    pub async fn body(&self, operation: &Operation) -> Option<Value> {
        let example = operation.request.as_ref()?.example.clone();
        let mut body = example.unwrap_or_else(|| panic!("the contract has no example of {}'s body", operation.id));
        let members = body.as_object_mut().unwrap();
        members.iter_mut().for_each(|(name, value)| self.adapt(name, value));
        for (name, value) in self.members(operation).await {
            match value {
                Value::Null => members.remove(&name),
                value => members.insert(name, value),
            };
        }
        Some(body)
    }

    /// Adapts a member of an example. An id becomes that of the person, an address or a name becomes a new one, and a
    /// role becomes the lowest one.
    fn adapt(&self, name: &str, value: &mut Value) {
        let Some(text) = value.as_str() else { return };
        let unique = || self.tenant.app.unique();
        *value = match name {
            "username" | "slug" => json!(unique()),
            "role" => json!("viewer"),
            _ if Uuid::parse_str(text).is_ok() => json!(self.person.id()),
            _ if text.contains('@') && !text.contains(' ') => json!(format!("{}@elsewhere.example", unique())),
            _ => return,
        };
    }

    /// Members that replace those of the example, with the reasons. Null removes a member.
    async fn members(&self, operation: &Operation) -> Map<String, Value> {
        let Self { tenant: Tenant { app, owner, .. }, .. } = self;
        let members = match operation.id.as_str() {
            "api_key_create" => json!({"expires_at": null}), // one day, the date in the example will be in the past
            // API keys may not open the registration: see `key_rights.rs`.
            "tenant_change" => json!({"open_registration": null}),
            // The files of a task are seen by all who may read tasks.
            "file_upload" => {
                let task = owner.task(json!({"title": "Has a file"})).await;
                json!({"task_id": task["id"]})
            }
            "auth_login" => json!({"email": owner.email(), "password": PASSWORD}),
            "auth_token" => json!({"username": owner.email(), "password": PASSWORD}),
            "auth_refresh" | "auth_logout" => json!({"refresh_token": owner.refresh_token()}),
            "auth_password_forgot" => json!({"email": owner.email()}),
            "auth_password_reset" => {
                app.visitor()
                    .post("/api/v1/auth/password/forgot")
                    .json(&json!({"email": owner.email()}))
                    .expect(202)
                    .await;
                json!({"token": app.mailed(&owner.email(), "bcp_").await})
            }
            "auth_email_verify" => json!({"token": app.mailed(&owner.email(), "bcv_").await}), // of an owner without a proof
            "auth_register" => {
                let invited = json!({"email": format!("{}@invited.example", app.unique()), "role": "viewer"});
                let token = owner.post("/api/v1/invitations").json(&invited).expect(201).await.json()["token"].clone();
                json!({"email": invited["email"], "invitation_token": token, "tenant_id": null, "tenant_name": null})
            }
            _ => json!({}),
        };
        members.as_object().unwrap().clone()
    }
}

/// A tenant with a row in every table.
pub struct Everything {
    pub tenant: Tenant,
    /// One of each kind of record that has a path, by the last parameter of that path.
    pub made: BTreeMap<String, Made>,
}

/// Creates a tenant with a row in every table that has rows of tenants.
pub async fn everything(app: &TestApp) -> Everything {
    let tenant = app.tenant().await;
    let (owner, fixtures) = (&tenant.owner, Fixtures::of(&tenant));
    let mut made = BTreeMap::new();
    for Operation { path, .. } in operations(document()) {
        let Some(name) = path.rsplit('/').next().and_then(parameter) else { continue };
        if !made.contains_key(name) {
            made.insert(name.to_owned(), fixtures.make(&path).await);
        }
    }
    // The other tables have rows without a path of their own.
    let path = |name: &str| made[name].path.as_str();
    let list_of = |name: &str| path(name).rsplit_once('/').unwrap().0;
    owner.patch(path("contract_id")).json(&json!({"amount": "6"})).expect(200).await;
    let task = json!({"title": "The secret plan", "assigned_to": owner.id()});
    owner.post("/api/v1/tasks").header("idempotency-key", "once").json(&task).expect(201).await;
    let username = app.unique();
    owner.patch("/api/v1/users/me").json(&json!({"username": username})).expect(200).await;
    owner.post(list_of("comment_id")).json(&json!({"body": format!("@{username}")})).expect(201).await;
    owner.post(list_of("attendee_id")).json(&json!({"user_id": owner.id()})).expect(201).await;
    owner.post(&format!("{}/task", path("action_item_id"))).expect(201).await;
    for member in ["meeting_id", "contract_id"] {
        let id = path(member).rsplit('/').next().unwrap();
        owner.upload("of another record", "x", &[(member, id)]).expect(201).await;
    }
    let (db, id, user) = (app.parts.db.clone(), tenant.id.into(), owner.id().into());
    let behind = async move {
        db.issue_token(id, user, Purpose::PasswordReset, true).await.unwrap().unwrap();
        db.seal_audit().await.unwrap();
        let room = Room { wanted: 1, needed: 1, quota: 1_000_000, lifetime: Duration::hours(1) };
        db.reserve(&System::of(id), room, None).await.unwrap(); // an upload under way
    };
    app.by_hand(behind).await;
    app.run(&format!(
        "UPDATE loose_objects SET user_id = {} WHERE tenant_id = {}",
        app.id(owner.id()),
        app.id(tenant.id)
    ))
    .await;
    app.note_an_end(tenant.id).await;
    Everything { tenant, made }
}
