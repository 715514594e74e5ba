//! Tests of what is derived from the declarations of records: references to records. The declarations must also agree
//! with the contract.
use crate::support::fixtures::Made;
use crate::support::{Answer, Fixtures, Tenant, TestApp};
use bizcenter::api::record::{Kind, Reference};
use bizcenter::auth::Role;
use bizcenter::contract::{document, operations};
use bizcenter::db::{ReadTx, System};
use bizcenter::resources::RECORDS;
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

    /// Records with titles that show how titles are made.
    async fn titled_records(&self) -> Vec<Referable> {
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
        let item = post("/api/v1/items", json!({"title": "Consulting day"})).await;
        let contract = post("/api/v1/contracts", contract).await;
        let api_key = post("/api/v1/api-keys", json!({"name": "Robot", "role": "viewer"})).await;
        let invited = format!("{}@invited.example", self.app.unique());
        let invitation = post("/api/v1/invitations", json!({"email": invited, "role": "viewer"})).await;
        vec![
            Referable::with_title("task", &task, "Write the offer"),
            Referable::with_title("comment", &comment, "Who calls them?"),
            Referable::with_title("meeting", &meeting, "Kick-off"),
            Referable::with_title("action_item", &step, "Call them"),
            Referable::with_title("attendee", &guest, "guest@elsewhere.example"),
            Referable::with_title("attendee", &colleague, "Olga Owner"),
            Referable::with_title("item", &item, "Consulting day"),
            Referable::with_title("contract", &contract, "Managed SOC"),
            Referable::with_title("api_key", &api_key, "Robot"),
            Referable::with_title("invitation", &invitation, &invited),
        ]
    }

    /// The records of [`Self::titled_records`], and one more record of each kind that can be referred to and has an id
    /// in its address. A new kind is included automatically.
    async fn records(&self) -> Vec<Referable> {
        let mut records = self.titled_records().await;
        for kind in RECORDS.kinds().filter(|kind| kind.title.is_some() && kind.href.contains("{id}")) {
            let Made { path, thing } = Fixtures::of(self).make(&template(kind)).await;
            records.push(Referable { kind: kind.name, id: id(&thing), href: path, title: None });
        }
        records
    }
}

/// A record that was created, and what a reference to it must say.
struct Referable {
    kind: &'static str,
    id: Uuid,
    href: String,
    /// The title, if the test knows it.
    title: Option<String>,
}

impl Referable {
    /// `made` is the answer to the request that created the record.
    fn with_title(kind: &'static str, made: &Answer, title: &str) -> Self {
        let href = made.header("location").unwrap().to_owned();
        Self { kind, id: id(&made.json()), href, title: Some(title.to_owned()) }
    }
}

fn wanted(records: &[Referable]) -> Vec<(&'static str, Uuid)> {
    records.iter().map(|record| (record.kind, record.id)).collect()
}

/// The path that records of this kind have in the contract.
fn template(kind: &Kind) -> String {
    let parent = kind.parent.map(|parent| RECORDS.kind(parent.kind).unwrap().parameter()).unwrap_or_default();
    let path = kind.href.replace("{parent}", &format!("{{{parent}}}"));
    path.replace("{id}", &format!("{{{}}}", kind.parameter()))
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
    for (Referable { kind, href, title, .. }, reference) in records.iter().zip(&found) {
        assert_eq!(&reference.href, href, "{kind}");
        match title {
            Some(title) => assert_eq!(&reference.title, title, "{kind}"),
            None => assert!(!reference.title.is_empty(), "{kind} has no title"),
        }
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

/// Kinds of records, and the lowest role that gets references to them. The list is written by hand, so that it checks
/// the declarations. A new kind need not be added.
const LOWEST_READERS: [(&str, Role); 10] = [
    ("task", Role::Viewer),
    ("comment", Role::Viewer),
    ("meeting", Role::Viewer),
    ("action_item", Role::Viewer),
    ("attendee", Role::Viewer),
    ("item", Role::Viewer),
    ("user", Role::Viewer),
    ("contract", Role::Editor),
    ("invitation", Role::Admin),
    ("api_key", Role::Admin),
];

#[tokio::test]
async fn a_reader_learns_only_of_what_their_role_reads() {
    let tenant = TestApp::start().await.tenant().await;
    let mut all = wanted(&tenant.records().await);
    all.push(("user", tenant.owner.id()));
    let of_owner = tenant.references(Role::Owner, &all).await;
    assert_eq!(of_owner.len(), all.len(), "an owner learns of all records");
    for role in Role::ALL {
        let found = tenant.references(role, &all).await;
        for (kind, lowest) in LOWEST_READERS {
            let is_found = found.iter().any(|it| it.kind == kind);
            assert_eq!(is_found, role >= lowest, "{kind} as {}", role.name());
        }
        // The result is the same as with the address of the record. This includes kinds that are not in the list.
        let person = tenant.person(role).await;
        for reference in &of_owner {
            let status = if found.contains(reference) { 200 } else { 403 };
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
        let path = template(kind);
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
