//! The export of a person who had more rights in the past: it contains only what they may read now.
use super::{KEYS, ME, path_of};
use crate::support::{Person, TestApp};
use serde_json::{Value, json};

const INVITATIONS: &str = "/api/v1/invitations";

/// The records of a person's export, by kind.
async fn export(person: &Person) -> impl Fn(&str) -> Vec<Value> {
    let text = person.get(&format!("{ME}/export")).expect(200).await.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    move |kind| lines.iter().filter(|line| line["kind"] == kind).map(|line| line["data"].clone()).collect()
}

/// The audit entry about this record, in an export.
#[track_caller]
fn entry_about(entries: &[Value], id: &Value) -> Value {
    let mut about = entries.iter().filter(|entry| entry["subject_id"] == *id && entry["action"] == "create");
    about.next().unwrap_or_else(|| panic!("no entry about {id} in {entries:?}")).clone()
}

#[tokio::test]
async fn audit_entries_say_what_their_reader_may_see_today() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (owner, admin, colleague) = (&tenant.owner, tenant.admin().await, tenant.viewer().await);
    let contract = admin.contract(json!({"counterparty": "Secret Partner", "amount": "12.50"})).await;
    let guest = format!("{}@invited.example", app.unique());
    let invitation = json!({"email": guest, "role": "viewer"});
    let invitation = admin.post(INVITATIONS).json(&invitation).expect(201).await.json();
    let key = admin.post(KEYS).json(&json!({"name": "Robot", "role": "viewer"})).expect(201).await.json();
    admin.patch(&path_of(&colleague)).json(&json!({"requests_per_hour": 77})).expect(200).await;
    let task = admin.task(json!({"title": "Known to all"})).await;
    let changes = |of: Value| of["changes"].clone();

    let of = export(&admin).await;
    let whole = of("audit_entry");
    assert_eq!(changes(entry_about(&whole, &contract["id"]))["counterparty"], json!([null, "Secret Partner"]));
    assert_eq!(changes(entry_about(&whole, &contract["id"]))["amount"], json!([null, "***"]));
    assert_eq!(changes(entry_about(&whole, &invitation["id"]))["email"], json!([null, guest]));

    owner.patch(&path_of(&admin)).json(&json!({"role": "editor"})).expect(200).await;
    let of = export(&admin).await;
    let kept = of("audit_entry");
    assert_eq!(changes(entry_about(&kept, &contract["id"]))["counterparty"], json!([null, "Secret Partner"]));
    for hidden in [&invitation["id"], &key["id"], &key["user_id"]] {
        assert_eq!(changes(entry_about(&kept, hidden)), json!({}), "an editor reads no such thing");
    }

    owner.patch(&path_of(&admin)).json(&json!({"role": "viewer"})).expect(200).await;
    let of = export(&admin).await;
    let entries = of("audit_entry");
    let (was, is) = (entry_about(&whole, &contract["id"]), entry_about(&entries, &contract["id"]));
    assert_eq!(is["changes"], json!({}), "a viewer reads no contracts");
    for told in ["id", "created_at", "actor_id", "action", "subject_kind", "subject_id"] {
        assert_eq!(is[told], was[told], "what they did, to what, and when, is still theirs: {told}");
    }
    let of_colleague = entries.iter().find(|entry| entry["subject_id"] == json!(colleague.id())).unwrap();
    assert_eq!(of_colleague["changes"], json!({}), "another's limit is not for a viewer");
    assert_eq!(changes(entry_about(&entries, &task["id"]))["title"], json!([null, "Known to all"]));
    let demotions = entries.iter().filter(|entry| entry["changes"]["role"] == json!(["admin", "editor"]));
    assert_eq!(demotions.count(), 1, "what was done to their own account is theirs: {entries:?}");
    for kind in ["contract", "invitation", "api_key"] {
        assert_eq!(of(kind), [json!(null); 0], "{kind}: what only others may read");
    }
    let text = admin.get(&format!("{ME}/export")).expect(200).await.text();
    for secret in ["Secret Partner", &guest, "12.50", "Robot"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }

    owner.patch(&path_of(&admin)).json(&json!({"role": "admin"})).expect(200).await;
    let of = export(&admin).await;
    assert_eq!([of("contract").len(), of("invitation").len(), of("api_key").len()], [1; 3]);
    assert_eq!(entry_about(&of("audit_entry"), &contract["id"]), was);
}
