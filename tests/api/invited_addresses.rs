//! A user invites a colleague's address, but may not see that it belongs to the colleague. For this user it remains a
//! guest's address, and the colleague who has verified the address can answer.
use crate::meetings::path_of;
use crate::support::{Answer, PASSWORD, Person, Tenant, TestApp};
use bizcenter::auth::Role;
use chrono::Duration;
use serde_json::{Value, json};

const ME: &str = "/api/v1/users/me";

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

/// The path of the attendees of a new meeting, which is tomorrow.
async fn of_a_meeting(tenant: &Tenant, maker: &Person, title: &str) -> String {
    let starts = tenant.app.parts.env.now() + Duration::days(1);
    let (starts_at, ends_at) = (starts.to_rfc3339(), (starts + Duration::hours(1)).to_rfc3339());
    let meeting = maker.meeting(json!({"title": title, "starts_at": starts_at, "ends_at": ends_at})).await;
    format!("{}/attendees", path_of(&meeting))
}

async fn invite(by: &Person, list: &str, email: &str) -> Answer {
    by.post(list).json(&json!({"email": email})).send().await
}

/// What an answer contains, without the members that differ in each row.
fn told(answer: &Answer, email: &str) -> (u16, Value) {
    let mut body = answer.json();
    for member in ["id", "created_at", "updated_at"] {
        body.as_object_mut().unwrap().remove(member);
    }
    body["error"]["request_id"] = Value::Null;
    (answer.status.as_u16(), body.to_string().replace(email, "the address").into())
}

/// The feed of a person's meetings.
async fn fed(tenant: &Tenant, person: &Person) -> String {
    let url = person.post(&format!("{ME}/calendar")).expect(201).await.json()["url"].as_str().unwrap().to_owned();
    tenant.app.visitor().get(&url).expect(200).await.text()
}

/// The attendances in a person's export.
async fn exported(person: &Person) -> Vec<Value> {
    let text = person.get(&format!("{ME}/export")).expect(200).await.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "attendance").map(|line| line["data"].clone()).collect()
}

#[tokio::test]
async fn an_editor_can_not_find_out_whose_an_address_is() {
    let tenant = tenant().await;
    let (editor, viewer) = (tenant.editor().await, tenant.viewer().await);
    let list = of_a_meeting(&tenant, &editor, "Guess").await;
    let (known, stranger) = (viewer.email(), format!("{}@elsewhere.example", tenant.app.unique()));
    for _ in 0..2 {
        let [colleague, outsider] = [invite(&editor, &list, &known).await, invite(&editor, &list, &stranger).await];
        assert_eq!(told(&colleague, &known), told(&outsider, &stranger), "first made, then a conflict");
    }
    let items = editor.get(&list).expect(200).await.json()["items"].clone();
    let rows = items.as_array().unwrap().iter().map(|row| (row["user_id"].clone(), row["email"].clone()));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(_, email)| email.to_string());
    let mut expected = [(json!(null), json!(known)), (json!(null), json!(stranger))];
    expected.sort_by_key(|(_, email)| email.to_string());
    assert_eq!(rows, expected);

    // A conflict with the user must not reveal it either, nor a filter, nor the right to answer for the user.
    let again = of_a_meeting(&tenant, &editor, "Guess again").await;
    editor.post(&again).json(&json!({"user_id": viewer.id()})).expect(201).await;
    let made = invite(&editor, &again, &known).await.expect(201);
    assert_eq!((&made.json()["user_id"], &made.json()["email"]), (&json!(null), &json!(known)));
    let filter = format!("/api/v1/meetings?attendee={}", viewer.id());
    let found = editor.get(&filter).expect(200).await.json();
    let titles: Vec<_> = found["items"].as_array().unwrap().iter().map(|meeting| meeting["title"].clone()).collect();
    assert_eq!(titles, ["Guess again"], "only where they are invited by name");
    editor.patch(made.header("location").unwrap()).json(&json!({"rsvp": "maybe"})).expect(200).await;
}

#[tokio::test]
async fn who_sees_addresses_invites_the_user_and_no_guest_twice() {
    let tenant = tenant().await;
    let (admin, viewer) = (tenant.admin().await, tenant.viewer().await);
    for (by, role) in [(&admin, "admin"), (&tenant.owner, "owner")] {
        let list = of_a_meeting(&tenant, by, "Linked").await;
        let made = invite(by, &list, &viewer.email()).await.expect(201).json();
        assert_eq!((&made["user_id"], &made["email"]), (&json!(viewer.id()), &json!(null)), "{role}");
        assert_eq!(invite(by, &list, &viewer.email()).await.error(), (409, "conflict".into()), "{role}");
        let key = json!({"name": "Robot", "role": role});
        let key = by.post("/api/v1/api-keys").json(&key).expect(201).await.json();
        let by_key = tenant.app.visitor().post(&of_a_meeting(&tenant, by, "By a robot").await);
        let made = by_key.header("x-api-key", key["key"].as_str().unwrap()).json(&json!({"email": viewer.email()}));
        assert_eq!(made.expect(201).await.json()["user_id"], json!(viewer.id()), "{role}");
    }
    let list = of_a_meeting(&tenant, &tenant.editor().await, "A guest already").await;
    invite(&tenant.editor().await, &list, &viewer.email()).await.expect(201);
    let answer = invite(&admin, &list, &viewer.email()).await;
    assert_eq!((answer.error(), answer.detail()), ((409, "conflict".into()), json!({"email": ["is taken"]})));
}

#[tokio::test]
async fn who_has_proved_the_address_answers_and_finds_the_meeting() {
    let tenant = tenant().await;
    let (editor, invited) = (tenant.editor().await, tenant.viewer().await);
    let list = of_a_meeting(&tenant, &editor, "By address").await;
    let made = invite(&editor, &list, &invited.email().to_uppercase()).await.expect(201);
    let path = made.header("location").unwrap().to_owned();
    for role in [Role::Viewer, Role::Analyst] {
        let other = tenant.person(role).await;
        let answer = other.patch(&path).json(&json!({"rsvp": "yes"})).send().await;
        assert_eq!(answer.error(), (403, "forbidden".into()), "{}", role.name());
        assert!(!fed(&tenant, &other).await.contains("By address") && exported(&other).await.is_empty());
    }
    let answered = invited.patch(&path).json(&json!({"rsvp": "yes"})).expect(200).await.json();
    let expected = (&json!("yes"), &json!(null), &json!(invited.email()));
    assert_eq!((&answered["rsvp"], &answered["user_id"], &answered["email"]), expected);
    assert_eq!(exported(&invited).await, [answered]);
    assert!(fed(&tenant, &invited).await.contains("SUMMARY:By address\r\n"));
    let own = format!("/api/v1/meetings?attendee={}", invited.id());
    assert_eq!(invited.get(&own).expect(200).await.json()["meta"]["total"], 1, "who looks for their own");
    let csv = invited.get(&own.replace("meetings?", "meetings/export?fields=title&")).expect(200).await.text();
    assert!(csv.contains("By address"), "{csv}");
    assert_eq!(editor.get(&own).expect(200).await.json()["meta"]["total"], 0);
    invited.patch(&path).json(&json!({"rsvp": "no"})).expect(200).await;
    assert!(!fed(&tenant, &invited).await.contains("By address"), "declined");
    invited.delete(&path).expect(403).await;
}

#[tokio::test]
async fn an_address_that_is_not_proved_or_no_longer_ones_own_opens_nothing() {
    let tenant = tenant().await;
    let (editor, viewer) = (tenant.editor().await, tenant.viewer().await);
    let list = of_a_meeting(&tenant, &editor, "Somebody else's").await;
    let (former, claimed) = (viewer.email(), format!("{}@claimed.example", tenant.app.unique()));
    let mut paths = vec![];
    for email in [&former, &claimed] {
        paths.push(invite(&editor, &list, email).await.expect(201).header("location").unwrap().to_owned());
    }
    let change = json!({"email": claimed, "current_password": PASSWORD});
    viewer.patch(ME).json(&change).expect(200).await;
    for path in &paths {
        assert_eq!(viewer.patch(path).json(&json!({"rsvp": "yes"})).send().await.error(), (403, "forbidden".into()));
    }
    assert!(exported(&viewer).await.is_empty() && !fed(&tenant, &viewer).await.contains("Somebody else"));
    let own = format!("/api/v1/meetings?attendee={}", viewer.id());
    assert_eq!(viewer.get(&own).expect(200).await.json()["meta"]["total"], 0);
}
