//! Attendees over HTTP: the people who are invited, and the users who may answer for them.
use crate::meetings::path_of;
use crate::support::{Person, Tenant, TestApp};
use bizcenter::auth::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

/// The path of the attendees of a new meeting.
async fn of_a_meeting(maker: &Person) -> String {
    format!("{}/attendees", path_of(&maker.meeting(json!({})).await))
}

async fn invite(inviter: &Person, list: &str, new: Value) -> (String, Value) {
    let created = inviter.post(list).json(&new).expect(201).await;
    (created.header("location").unwrap().to_owned(), created.json())
}

#[tokio::test]
async fn an_invitation_is_made_answered_and_taken_back() {
    let tenant = tenant().await;
    let (editor, viewer) = (tenant.editor().await, tenant.viewer().await);
    let list = of_a_meeting(&editor).await;
    let (path, made) = invite(&editor, &list, json!({"user_id": viewer.id()})).await;
    assert_eq!(path, format!("{list}/{}", made["id"].as_str().unwrap()));
    assert_eq!((&made["user_id"], &made["email"], &made["rsvp"]), (&json!(viewer.id()), &json!(null), &json!("none")));
    assert_eq!(viewer.get(&path).expect(200).await.json(), made);
    for rsvp in ["yes", "maybe", "no", "none"] {
        let answered = viewer.patch(&path).json(&json!({"rsvp": rsvp})).expect(200).await.json();
        assert_eq!(answered["rsvp"], rsvp);
    }
    viewer.patch(&path).header("if-match", "\"1\"").json(&json!({"rsvp": "yes"})).expect(412).await;
    viewer.patch(&path).json(&json!({"rsvp": "perhaps"})).expect(400).await;
    viewer.patch(&path).json(&json!({"rsvp": "yes", "user_id": editor.id()})).expect(400).await;
    let page = viewer.get(&list).expect(200).await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["version"]), (1, &json!(5)));
    viewer.delete(&path).expect(403).await;
    editor.delete(&path).header("if-match", "\"5\"").expect(204).await;
    viewer.get(&path).expect(404).await;
    viewer.patch(&path).json(&json!({"rsvp": "yes"})).expect(404).await;
}

#[tokio::test]
async fn nobody_answers_for_another_user() {
    let tenant = tenant().await;
    let (invited, editor) = (tenant.viewer().await, tenant.editor().await);
    let list = of_a_meeting(&editor).await;
    let (path, made) = invite(&editor, &list, json!({"user_id": invited.id()})).await;
    for role in Role::ALL {
        let other = tenant.person(role).await;
        let answer = other.patch(&path).json(&json!({"rsvp": "yes"})).send().await;
        assert_eq!(answer.error(), (403, "forbidden".into()), "{}", role.name());
    }
    assert_eq!(invited.get(&path).expect(200).await.json(), made);
    let (outside, _) = invite(&editor, &list, json!({"email": "guest@elsewhere.example"})).await;
    invited.patch(&outside).json(&json!({"rsvp": "yes"})).expect(403).await;
    editor.patch(&outside).json(&json!({"rsvp": "maybe"})).expect(200).await;
}

#[tokio::test]
async fn exactly_one_of_user_and_address_is_given_and_it_must_be_somebody() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let owner = &tenant.owner;
    let list = of_a_meeting(owner).await;
    let both = json!({"user_id": owner.id(), "email": "a@b.example"});
    let removed = tenant.viewer().await;
    owner.delete(&format!("/api/v1/users/{}", removed.id())).expect(204).await;
    for (input, detail) in [
        (json!({}), json!({"user_id": ["is required, unless `email` is given"]})),
        (json!({"user_id": null, "email": null}), json!({"user_id": ["is required, unless `email` is given"]})),
        (both, json!({"email": ["must be absent with `user_id`"]})),
        (json!({"user_id": other.owner.id()}), json!({"user_id": ["does not exist"]})),
        (json!({"user_id": removed.id()}), json!({"user_id": ["does not exist"]})),
        (json!({"user_id": app.parts.env.uuid()}), json!({"user_id": ["does not exist"]})),
    ] {
        let answer = owner.post(&list).json(&input).send().await;
        assert_eq!((answer.error().0, answer.detail()), (422, detail), "{input}");
    }
    for email in ["", "nobody", "Ada <ada@example.com>", "a@b.example\r\nATTENDEE:x", "a b@example.com"] {
        owner.post(&list).json(&json!({"email": email})).expect(400).await;
    }
    owner.post(&list).json(&json!({"email": "a@b.example", "rsvp": "yes"})).expect(400).await;
    assert_eq!(owner.get(&list).expect(200).await.json()["items"], json!([]));
}

#[tokio::test]
async fn addresses_are_compared_as_those_of_users_are() {
    let tenant = tenant().await;
    let (owner, viewer) = (&tenant.owner, tenant.viewer().await);
    let list = of_a_meeting(owner).await;
    let (_, outside) = invite(owner, &list, json!({"email": " Grace@Elsewhere.EXAMPLE "})).await;
    assert_eq!((&outside["email"], &outside["user_id"]), (&json!("grace@elsewhere.example"), &json!(null)));
    // The address of a user invites that user, and is not shown.
    let (_, colleague) = invite(owner, &list, json!({"email": viewer.email().to_uppercase()})).await;
    assert_eq!((&colleague["email"], &colleague["user_id"]), (&json!(null), &json!(viewer.id())));
    for (twice, member) in [
        (json!({"email": "\u{ff27}race@elsewhere.example"}), "email"),
        (json!({"email": viewer.email()}), "email"),
        (json!({"user_id": viewer.id()}), "user_id"),
    ] {
        let answer = owner.post(&list).json(&twice).send().await;
        assert_eq!((answer.error(), answer.detail()), ((409, "conflict".into()), json!({member: ["is taken"]})));
    }
    // A user of another tenant is invited as an external guest.
    let stranger = TestApp::start().await.tenant().await.owner;
    let (_, foreign) = invite(owner, &list, json!({"email": stranger.email()})).await;
    assert_eq!((&foreign["email"], &foreign["user_id"]), (&json!(stranger.email()), &json!(null)));
    let again = of_a_meeting(owner).await;
    invite(owner, &again, json!({"user_id": viewer.id()})).await;
}

#[tokio::test]
async fn of_many_invitations_at_once_one_is_made() {
    let tenant = tenant().await;
    let list = of_a_meeting(&tenant.owner).await;
    let new = json!({"user_id": tenant.viewer().await.id()});
    let statuses =
        join_all((0..10).map(|_| async { tenant.owner.post(&list).json(&new).send().await.status.as_u16() }));
    let mut statuses = statuses.await;
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201], vec![409; 9]].concat());
}

#[tokio::test]
async fn a_meeting_has_so_many_attendees_and_no_more() {
    let owner = tenant().await.owner;
    let list = of_a_meeting(&owner).await;
    for number in 0..200 {
        owner.post(&list).json(&json!({"email": format!("{number}@elsewhere.example")})).expect(201).await;
    }
    let answer = owner.post(&list).json(&json!({"email": "one@elsewhere.example"})).send().await;
    let full = json!({"email": ["the meeting already has 200 attendees"]});
    assert_eq!((answer.error().0, answer.detail()), (422, full));
    let page = owner.get(&format!("{list}?per_page=100&page=2")).expect(200).await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["meta"]["total"]), (100, &json!(200)));
}

#[tokio::test]
async fn an_attendee_is_of_one_meeting_of_one_tenant() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.tenant().await, app.tenant().await);
    let (here, there) = (of_a_meeting(&ours.owner).await, of_a_meeting(&theirs.owner).await);
    let (path, made) = invite(&ours.owner, &here, json!({"user_id": ours.owner.id()})).await;
    let id = made["id"].as_str().unwrap();
    let another = of_a_meeting(&ours.owner).await;
    for (person, path) in [
        (&ours.owner, format!("{another}/{id}")),
        (&ours.owner, format!("{there}/{id}")),
        (&theirs.owner, format!("{there}/{id}")),
        (&theirs.owner, path.clone()),
    ] {
        for call in [person.get(&path), person.patch(&path).json(&json!({"rsvp": "yes"})), person.delete(&path)] {
            assert_eq!(call.send().await.error(), (404, "not_found".into()), "{path}");
        }
    }
    for call in [theirs.owner.get(&here), theirs.owner.post(&here).json(&json!({"user_id": theirs.owner.id()}))] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
    assert_eq!(ours.owner.get(&path).expect(200).await.json(), made);
}
