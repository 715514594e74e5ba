//! Tests of what is derived from the declarations of records: references to records. The declarations must also agree
//! with the contract.
use crate::support::{Answer, Tenant, TestApp};
use bizcenter::api::record::Reference;
use bizcenter::auth::Role;
use bizcenter::contract::{document, operations};
use bizcenter::db::{ReadTx, System};
use bizcenter::resources::records::RECORDS;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

fn id(thing: &Value) -> Uuid {
    thing["id"].as_str().unwrap().parse().unwrap()
}

impl Tenant {
    /// The references that a reader with this role in this tenant gets for these records.
    async fn references(&self, role: Role, wanted: &[(&'static str, Uuid)]) -> Vec<Reference> {
        let (db, system, wanted) = (self.app.parts.db.clone(), System::of(self.id.into()), wanted.to_vec());
        let read = async move |tx: &mut ReadTx| RECORDS.references(tx, role, &wanted).await;
        self.app.by_hand(async move { db.read(&system, read).await.unwrap() }).await
    }

    /// One record of each kind that can be referred to: the kind, the answer to the request that created the record,
    /// and the record's title.
    async fn records(&self) -> Vec<(&'static str, Answer, &'static str)> {
        let owner = &self.owner;
        let post = async |path: &str, input: Value| owner.post(path).json(&input).expect(201).await;
        let contract = json!({
            "title": "Managed SOC", "counterparty": "Acme", "start_date": "2026-01-01", "end_date": "2026-12-31",
        });
        let meeting =
            json!({"title": "Kick-off", "starts_at": "2026-05-18T09:00:00Z", "ends_at": "2026-05-18T10:00:00Z"});
        let task = post("/api/v1/tasks", json!({"title": "Write the offer"})).await;
        let meeting = post("/api/v1/meetings", meeting).await;
        let (of_task, of_meeting) =
            (format!("/api/v1/tasks/{}", id(&task.json())), format!("/api/v1/meetings/{}", id(&meeting.json())));
        let comment = json!({"body": "\n  Who calls them?\nI don't."});
        let comment = post(&format!("{of_task}/comments"), comment).await;
        let step = json!({"description": "Call them\r\nby Monday"});
        let step = post(&format!("{of_meeting}/action-items"), step).await;
        let attendees = format!("{of_meeting}/attendees");
        let guest = post(&attendees, json!({"email": "guest@elsewhere.example"})).await;
        let colleague = post(&attendees, json!({"user_id": owner.id()})).await;
        let invitation = json!({"email": format!("{}@invited.example", self.app.unique()), "role": "viewer"});
        vec![
            ("task", task, "Write the offer"),
            ("comment", comment, "Who calls them?"),
            ("meeting", meeting, "Kick-off"),
            ("action_item", step, "Call them"),
            ("attendee", guest, "guest@elsewhere.example"),
            ("attendee", colleague, "Olga Owner"),
            ("item", post("/api/v1/items", json!({"title": "Consulting day"})).await, "Consulting day"),
            ("contract", post("/api/v1/contracts", contract).await, "Managed SOC"),
            ("api_key", post("/api/v1/api-keys", json!({"name": "Robot", "role": "viewer"})).await, "Robot"),
            ("invitation", post("/api/v1/invitations", invitation).await, ""),
        ]
    }
}

fn wanted(records: &[(&'static str, Answer, &'static str)]) -> Vec<(&'static str, Uuid)> {
    records.iter().map(|(kind, made, _)| (*kind, id(&made.json()))).collect()
}

#[tokio::test]
async fn a_reference_has_the_title_and_the_address_of_a_record_of_any_kind() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let records = tenant.records().await;
    let user = tenant.viewer().await;
    let mut all = wanted(&records);
    all.extend([("user", user.id()), ("tenant", tenant.id)]);
    let found = tenant.references(Role::Owner, &all).await;
    assert_eq!(found.iter().map(|it| (it.kind, it.id)).collect::<Vec<_>>(), all, "in the order of the question");
    for ((kind, made, title), reference) in records.iter().zip(&found) {
        assert_eq!(Some(reference.href.as_str()), made.header("location"), "{kind}");
        let made = made.json();
        let title = if *kind == "invitation" { made["email"].as_str().unwrap() } else { title };
        assert_eq!(reference.title, title, "{kind}");
        assert_eq!(id(&tenant.owner.get(&reference.href).expect(200).await.json()), reference.id, "{kind}");
    }
    let [.., of_user, of_tenant] = &found[..] else { panic!("{found:?}") };
    assert_eq!((of_user.title.as_str(), &of_user.href), ("A viewer", &format!("/api/v1/users/{}", user.id())));
    tenant.owner.get(&of_user.href).expect(200).await;
    assert_eq!((&json!(of_tenant.title), of_tenant.href.as_str()), (&tenant.name().await, "/api/v1/tenant"));
}

impl Tenant {
    async fn name(&self) -> Value {
        self.owner.get("/api/v1/tenant").expect(200).await.json()["name"].clone()
    }
}

#[tokio::test]
async fn a_reader_learns_only_of_what_their_role_reads() {
    let tenant = TestApp::start().await.tenant().await;
    let records = tenant.records().await;
    let mut all = wanted(&records);
    all.push(("user", tenant.owner.id()));
    let kinds = |found: Vec<Reference>| found.into_iter().map(|it| it.kind).collect::<BTreeSet<_>>();
    let everybody = ["task", "comment", "meeting", "action_item", "attendee", "item", "user"];
    for (role, more) in [
        (Role::Viewer, &[][..]),
        (Role::Analyst, &[]),
        (Role::Editor, &["contract"]),
        (Role::Admin, &["contract", "invitation", "api_key"]),
        (Role::Owner, &["contract", "invitation", "api_key"]),
    ] {
        let expected: BTreeSet<_> = everybody.iter().chain(more).copied().collect();
        assert_eq!(kinds(tenant.references(role, &all).await), expected, "{}", role.name());
        // The result is the same as with the address of the record.
        let person = tenant.person(role).await;
        for reference in tenant.references(Role::Owner, &all).await {
            let status = if expected.contains(reference.kind) { 200 } else { 403 };
            person.get(&reference.href).expect(status).await;
        }
    }
}

#[tokio::test]
async fn what_is_another_tenants_or_gone_or_was_never_there_is_left_out() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let mut theirs = wanted(&other.records().await);
    theirs.extend([("user", other.owner.id()), ("tenant", other.id)]);
    assert_eq!(tenant.references(Role::Owner, &theirs).await, []);
    assert_eq!(other.references(Role::Owner, &theirs).await.len(), theirs.len());

    let ours = wanted(&tenant.records().await);
    let of = |kind: &str| *ours.iter().find(|(name, _)| *name == kind).unwrap();
    let (task, item, invitation) = (of("task"), of("item"), of("invitation"));
    let person = tenant.viewer().await;
    let user = ("user", person.id());
    let unknown = [("task", app.parts.env.uuid()), ("nothing", task.1), ("session", task.1), ("meeting", task.1)];
    let all = [&[task, item, invitation, user][..], &unknown].concat();
    let kinds = async || tenant.references(Role::Owner, &all).await.iter().map(|it| it.kind).collect::<Vec<_>>();
    assert_eq!(kinds().await, ["task", "item", "invitation", "user"]);
    tenant.owner.delete(&format!("/api/v1/tasks/{}", task.1)).expect(204).await;
    tenant.owner.delete(&format!("/api/v1/users/{}", person.id())).expect(204).await;
    let over = format!("UPDATE invitations SET expires_at = '2000-01-01 00:00:00' WHERE id = {}", app.id(invitation.1));
    app.run(&over).await;
    assert_eq!(kinds().await, ["item"]);
    assert_eq!(tenant.references(Role::Owner, &[]).await, []);
}

#[tokio::test]
async fn many_can_be_asked_for_at_once_and_each_is_told_of_once() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (task, item) =
        (tenant.owner.task(json!({"title": "One"})).await, tenant.owner.item(json!({"title": "Two"})).await);
    let nobodys = (0..12_000).map(|_| ("task", app.parts.env.uuid()));
    let all: Vec<_> = [("item", id(&item)), ("task", id(&task))]
        .into_iter()
        .chain(nobodys)
        .chain([("task", id(&task)), ("item", id(&item))])
        .collect();
    let found = tenant.references(Role::Viewer, &all).await;
    assert_eq!(found.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["Two", "One"]);
}

#[test]
fn each_record_that_is_referred_to_has_an_operation_at_its_address() {
    let operations = operations(document());
    for kind in RECORDS.kinds().filter(|kind| kind.title.is_some()) {
        let parent = kind.parent.map(|parent| RECORDS.kind(parent.kind).unwrap().parameter()).unwrap_or_default();
        let path = kind.href.replace("{parent}", &format!("{{{parent}}}"));
        let path = path.replace("{id}", &format!("{{{}}}", kind.parameter()));
        let is_there = operations.iter().any(|operation| operation.method == "GET" && operation.path == path);
        assert!(is_there, "nothing is read at {path}, the address of a {}", kind.name);
    }
}

/// Path parameters that are not ids of records, and the reasons.
const NO_RECORDS: [(&str, &str); 1] = [("file", "the secret name of a calendar feed")];

#[test]
fn each_path_parameter_of_the_contract_is_the_id_of_a_record() {
    let kinds: BTreeSet<_> = RECORDS.kinds().map(|kind| kind.parameter()).collect();
    let operations = operations(document());
    let segments = operations.iter().flat_map(|operation| operation.path.split('/'));
    let parameters = segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let parameters: BTreeSet<_> = parameters.collect();
    let others: Vec<_> = parameters.iter().filter(|name| !kinds.contains(**name)).copied().collect();
    assert_eq!(others, NO_RECORDS.map(|(name, _)| name), "a record of this kind is not registered");
    assert!(parameters.len() > NO_RECORDS.len(), "{parameters:?}");
}
