//! Users: what admins may change, whom they may not change, what remains of a removed user, and the export.
use super::{KEYS, ME, NEW_PASSWORD, PASSWORD, USERS, error, ids, is_over, list, login, path_of};
use crate::support::{Person, TestApp};
use bizcenter::auth::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TASKS: &str = "/api/v1/tasks";

// --- who may

#[tokio::test]
async fn nobody_reaches_above_themselves() {
    let tenant = TestApp::start().await.tenant().await;
    let (admin, editor) = (tenant.admin().await, tenant.editor().await);
    let forbidden = error(403, "forbidden");
    let of_owner = path_of(&tenant.owner);
    for body in [json!({}), json!({"name": "Mine"}), json!({"role": "viewer"}), json!({"is_active": false})] {
        assert_eq!(admin.patch(&of_owner).json(&body).send().await.error(), forbidden, "{body}");
    }
    assert_eq!(admin.delete(&of_owner).send().await.error(), forbidden);
    assert_eq!(tenant.owner.get(ME).expect(200).await.json(), tenant.owner.signed_in["user"]);
    for person in [&admin, &editor] {
        let answer = admin.patch(&path_of(person)).json(&json!({"role": "owner"})).send().await;
        assert_eq!(answer.error(), forbidden);
    }
    for role in [Role::Viewer, Role::Analyst, Role::Editor] {
        let person = tenant.person(role).await;
        for whom in [&person, &editor] {
            let body = json!({"name": "Mine", "role": "viewer"});
            assert_eq!(person.patch(&path_of(whom)).json(&body).send().await.error(), forbidden, "{}", role.name());
            assert_eq!(person.delete(&path_of(whom)).send().await.error(), forbidden, "{}", role.name());
        }
    }
    // The admin's own role is the highest they can give.
    admin.patch(&path_of(&editor)).json(&json!({"role": "admin"})).expect(200).await;
    admin.patch(&path_of(&editor)).json(&json!({"role": "analyst"})).expect(200).await;
    admin.patch(&path_of(&admin)).json(&json!({"role": "viewer"})).expect(200).await;
    assert_eq!(admin.patch(&path_of(&admin)).json(&json!({"role": "admin"})).send().await.error(), forbidden);
}

/// Asserts that everything is refused that would leave the tenant with one owner less.
async fn must_stay(owner: &Person) {
    let path = path_of(owner);
    let (demotion, disabling) = (json!({"role": "admin"}), json!({"is_active": false}));
    for call in [owner.patch(&path).json(&demotion), owner.patch(&path).json(&disabling), owner.delete(&path)] {
        let answer = call.send().await;
        assert_eq!(answer.error(), error(409, "conflict"), "{}", answer.text());
        assert_eq!(answer.detail(), json!({"role": ["the tenant must keep at least one owner"]}));
    }
    let now = list(owner, "role=owner&is_active=true&kind=person").await;
    assert_eq!(ids(&now), [json!(owner.id())]);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let tenant = TestApp::start().await.tenant().await;
    let (first, second) = (&tenant.owner, tenant.person(Role::Owner).await);
    first.patch(&path_of(&second)).json(&json!({"is_active": false})).expect(200).await;
    must_stay(first).await; // a disabled owner does not count
    first.patch(&path_of(first)).json(&json!({"name": "Olga"})).expect(200).await;
    first.patch(&path_of(&second)).json(&json!({"is_active": true})).expect(200).await;
    let second = tenant.app.visitor().sign_in(&second.email()).await;
    first.patch(&path_of(first)).json(&json!({"role": "admin"})).expect(200).await;
    must_stay(&second).await;
    second.delete(&path_of(first)).expect(204).await;
    must_stay(&second).await;
}

#[tokio::test]
async fn a_service_account_is_no_owner_to_be_left_behind() {
    let tenant = TestApp::start().await.tenant().await;
    tenant.owner.post(KEYS).json(&json!({"name": "Robot", "role": "owner"})).expect(201).await;
    must_stay(&tenant.owner).await;
}

#[tokio::test]
async fn of_two_owners_who_demote_each_other_at_once_one_stays() {
    let app = TestApp::start().await;
    for _ in 0..4 {
        let tenant = app.tenant().await;
        let (first, second) = (tenant.owner.clone(), tenant.person(Role::Owner).await);
        let demote = |by: &Person, whom: &Person| by.patch(&path_of(whom)).json(&json!({"role": "viewer"})).send();
        let [a, b] = join_all([demote(&first, &second), demote(&second, &first)]).await.try_into().unwrap();
        let (winner, answer) = if a.status == 200 { (&first, &b) } else { (&second, &a) };
        let refusals = [error(403, "forbidden"), error(409, "conflict")];
        assert!(refusals.contains(&answer.error()), "{} {}", a.text(), b.text());
        must_stay(winner).await;
    }
}

/// The rights of an actor are checked when the change gets its lock. An actor who was disabled or removed in the
/// meantime can't change anything.
#[tokio::test]
async fn of_two_admins_who_shut_each_other_out_at_once_one_is_shut_out() {
    let app = TestApp::start().await;
    for body in [Some(json!({"is_active": false})), Some(json!({"role": "viewer"})), None] {
        for _ in 0..4 {
            let tenant = app.tenant().await;
            let (first, second) = (tenant.admin().await, tenant.admin().await);
            let act = |by: &Person, whom: &Person| match &body {
                Some(body) => by.patch(&path_of(whom)).json(body).send(),
                None => by.delete(&path_of(whom)).send(),
            };
            let answers = join_all([act(&first, &second), act(&second, &first)]).await;
            let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status.is_success());
            assert_eq!((done.len(), refused.len()), (1, 1), "{body:?}");
            let refusals = [error(401, "invalid_token"), error(403, "forbidden")];
            assert!(refusals.contains(&refused[0].error()), "{body:?}: {}", refused[0].text());
        }
    }
}

#[tokio::test]
async fn who_operates_the_server_is_out_of_reach_of_who_does_not() {
    let tenant = TestApp::start().await.tenant().await;
    let (admin, operator, almighty) = (tenant.admin().await, tenant.operator().await, tenant.almighty().await);
    let bodies = [
        json!({}),
        json!({"name": "Mine"}),
        json!({"role": "viewer"}),
        json!({"is_active": false}),
        json!({"requests_per_hour": 1}),
    ];
    for body in bodies {
        for (by, whom) in [(&admin, &operator), (&tenant.owner, &operator), (&tenant.owner, &almighty)] {
            let answer = by.patch(&path_of(whom)).json(&body).send().await;
            assert_eq!(answer.error(), error(403, "forbidden"), "{body}");
        }
    }
    for whom in [&operator, &almighty] {
        assert_eq!(tenant.owner.delete(&path_of(whom)).send().await.error(), error(403, "forbidden"));
        assert_eq!(whom.get(ME).expect(200).await.json(), whom.signed_in["user"]);
    }
    almighty.patch(&path_of(&operator)).json(&json!({"role": "editor", "is_active": false})).expect(200).await;
    almighty.delete(&path_of(&operator)).expect(204).await;
    almighty.patch(&path_of(&almighty)).json(&json!({"role": "admin"})).expect(200).await;
    almighty.delete(&path_of(&almighty)).expect(204).await; // people may delete themselves
}

#[tokio::test]
async fn a_service_account_never_has_more_rights_than_its_key() {
    let tenant = TestApp::start().await.tenant().await;
    let admin = tenant.admin().await;
    let key = admin.post(KEYS).json(&json!({"name": "Robot", "role": "viewer"})).expect(201).await.json();
    let account = format!("{USERS}/{}", key["user_id"].as_str().unwrap());
    let call = |path: &str| tenant.app.visitor().get(path).header("x-api-key", key["key"].as_str().unwrap());
    assert_eq!(call(ME).expect(200).await.json()["kind"], "service");
    let profile = tenant.app.visitor().patch(ME).header("x-api-key", key["key"].as_str().unwrap());
    assert_eq!(profile.json(&json!({"name": "Human"})).send().await.error(), error(403, "forbidden"));
    admin.patch(&account).json(&json!({"role": "admin"})).send().await; // the answer does not matter here
    tenant.owner.patch(&path_of(&admin)).json(&json!({"role": "viewer"})).expect(200).await;
    let answer = call("/api/v1/audit-logs").send().await;
    assert!([401, 403].contains(&answer.status.as_u16()), "a viewer's key for viewers reads the audit log");
}

// --- what admins decide

#[tokio::test]
async fn an_admin_sets_name_role_and_limit() {
    let tenant = TestApp::start().await.tenant().await;
    let (admin, viewer) = (tenant.admin().await, tenant.viewer().await);
    let path = path_of(&viewer);
    let before = admin.get(&path).expect(200).await;
    let tag = before.header("etag").unwrap();
    assert_eq!(before.json()["requests_per_hour"], json!(null));
    let patch = json!({"name": "Vera", "role": "editor", "requests_per_hour": 500});
    let changed = admin.patch(&path).header("if-match", tag).json(&patch).expect(200).await;
    let mut expected = before.json();
    expected.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    (expected["version"], expected["updated_at"]) = (json!(2), changed.json()["updated_at"].clone());
    assert_eq!(changed.json(), expected);
    let now = admin.get(&path).expect(200).await;
    assert_eq!((now.json(), now.header("etag")), (expected, changed.header("etag")));
    for stale in [admin.patch(&path).json(&patch), admin.delete(&path)] {
        assert_eq!(stale.header("if-match", tag).send().await.error(), error(412, "precondition_failed"));
    }
    for limit in [json!(1), json!(1_000_000), json!(null)] {
        let changed = admin.patch(&path).json(&json!({"requests_per_hour": limit})).expect(200).await.json();
        assert_eq!(changed["requests_per_hour"], limit);
    }
    let faults = [
        (json!({"requests_per_hour": 0}), 400, "requests_per_hour"),
        (json!({"requests_per_hour": 1_000_001}), 400, "requests_per_hour"),
        (json!({"requests_per_hour": "5"}), 400, "requests_per_hour"),
        (json!({"role": "king"}), 400, "role"),
        (json!({"role": null}), 400, "role"),
        (json!({"is_active": null}), 400, "is_active"),
        (json!({"name": ""}), 400, "name"),
        (json!({"name": "  "}), 422, "name"),
    ];
    for (patch, status, member) in faults {
        let answer = admin.patch(&path).json(&patch).expect(status).await;
        assert_eq!(answer.detail().as_object().unwrap().keys().collect::<Vec<_>>(), [member], "{patch}");
    }
}

#[tokio::test]
async fn a_new_role_holds_at_the_next_request() {
    let tenant = TestApp::start().await.tenant().await;
    let (person, path, task) = (tenant.editor().await, "/api/v1/audit-logs", json!({"title": "x"}));
    for (role, to_create, to_audit) in [("viewer", 403, 403), ("admin", 201, 200), ("editor", 201, 403)] {
        tenant.owner.patch(&path_of(&person)).json(&json!({"role": role})).expect(200).await;
        person.post(TASKS).json(&task).expect(to_create).await;
        person.get(path).expect(to_audit).await;
        assert_eq!(person.get(ME).expect(200).await.json()["role"], role);
    }
}

#[tokio::test]
async fn who_is_disabled_is_out_and_comes_back_only_by_signing_in() {
    let tenant = TestApp::start().await.tenant().await;
    let (app, admin, editor) = (&tenant.app, tenant.admin().await, tenant.editor().await);
    let (email, path) = (editor.email(), path_of(&editor));
    let elsewhere = app.visitor().sign_in(&email).await;
    admin.patch(&path).json(&json!({"is_active": false})).expect(200).await;
    is_over(app, &editor).await;
    is_over(app, &elsewhere).await;
    assert_eq!(login(app, "email", &email, PASSWORD).await.error(), error(403, "inactive_user"));
    assert_eq!(login(app, "email", &email, NEW_PASSWORD).await.error(), error(401, "invalid_credentials"));
    admin.patch(&path).json(&json!({"is_active": true})).expect(200).await;
    is_over(app, &editor).await;
    is_over(app, &elsewhere).await;
    app.visitor().sign_in(&email).await.get(ME).expect(200).await;
}

#[tokio::test]
async fn who_is_removed_is_nobody_any_more_and_their_work_stays() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (admin, editor, username) = (tenant.admin().await, tenant.editor().await, app.unique());
    let (path, email) = (path_of(&editor), editor.email());
    editor.patch(ME).json(&json!({"name": "Edna Former", "username": username})).expect(200).await;
    let made = editor.task(json!({"title": "Stays", "assigned_to": editor.id()})).await;
    admin.delete(&path).expect(204).await;
    is_over(&app, &editor).await;
    for call in [admin.get(&path), admin.delete(&path), admin.patch(&path).json(&json!({"is_active": true}))] {
        assert_eq!(call.send().await.error(), error(404, "not_found"));
    }
    for query in ["per_page=100", "is_active=false", "q=edna"] {
        assert!(!ids(&list(&admin, query).await).contains(&json!(editor.id())), "{query}");
    }
    for (name, text) in [("email", &email), ("username", &username)] {
        assert_eq!(login(&app, name, text, PASSWORD).await.error(), error(401, "invalid_credentials"), "{name}");
    }
    let row = format!("SELECT name, email, username, password_hash FROM users WHERE id = {}", app.id(editor.id()));
    let nobody = format!("{}@removed.invalid", editor.id());
    assert_eq!(app.rows(&row).await, [["Removed user", &nobody, "NULL", "NULL"]]);

    let task = format!("{TASKS}/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.get(&task).expect(200).await.json(), made);
    // The removed user's task can still be changed.
    admin.patch(&task).json(&json!({"status": "done"})).expect(200).await;
    let assign = json!({"title": "Too late", "assigned_to": editor.id()});
    let other = format!("{TASKS}/{}", admin.task(json!({"title": "Other"})).await["id"].as_str().unwrap());
    for call in [admin.post(TASKS).json(&assign), admin.patch(&other).json(&assign)] {
        let answer = call.send().await;
        assert_eq!(answer.error(), error(422, "unprocessable"));
        assert_eq!(answer.detail(), json!({"assigned_to": ["does not exist"]}));
    }

    let again = json!({"email": email, "username": username, "password": PASSWORD, "name": "Edna Again"});
    let anew = app.visitor().post("/api/v1/auth/register").json(&again).expect(201).await.json();
    assert!(anew["id"] != json!(editor.id()) && anew["tenant_id"] != json!(tenant.id), "{anew}");
    assert_eq!(app.visitor().sign_in(&email).await.get(ME).expect(200).await.json()["id"], anew["id"]);
    is_over(&app, &editor).await;
    admin.delete(&path_of(&admin)).expect(204).await; // people may delete themselves
    is_over(&app, &admin).await;
}

/// A person who was invited to a meeting by address, before a user had that address, is still the guest of that
/// meeting.
#[tokio::test]
async fn a_guest_who_became_a_user_finds_it_in_the_export_and_goes_with_the_user() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let email = format!("{}@guest.example", app.unique());
    let mut lists = vec![];
    for maker in [&tenant.owner, &tenant.owner, &other.owner] {
        let meeting = maker.meeting(json!({})).await;
        let list = format!("/api/v1/meetings/{}/attendees", meeting["id"].as_str().unwrap());
        for guest in [&email, "else@guest.example"] {
            maker.post(&list).json(&json!({"email": guest})).expect(201).await;
        }
        lists.push(list);
    }
    let invitation = json!({"email": email, "role": "editor"});
    let invitation = tenant.owner.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    let join = json!({
        "email": email, "password": PASSWORD, "name": "Gustav Guest", "invitation_token": invitation["token"],
    });
    app.visitor().post("/api/v1/auth/register").json(&join).expect(201).await;
    let guest = app.visitor().sign_in(&email).await;
    let attendances = async || -> Vec<Value> {
        let text = guest.get(&format!("{ME}/export")).expect(200).await.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["kind"] == "attendance").map(|line| line["data"].clone()).collect()
    };
    assert_eq!(attendances().await, [json!(null); 0], "an address that nobody has proved may be a stranger's");
    let letters = app.letters_to(&email, 2).await;
    let token = letters.iter().find(|letter| letter.text.contains("bcv_")).unwrap().token("bcv_");
    guest.post("/api/v1/auth/email/verify").json(&json!({"token": token})).expect(204).await;
    // The same person, invited again as a user.
    tenant.owner.post(&lists[0]).json(&json!({"user_id": guest.id()})).expect(201).await;

    let found = attendances().await;
    let by_email = found.iter().filter(|attendance| attendance["email"] == json!(email)).count();
    assert_eq!((found.len(), by_email), (3, 2), "{found:?}");

    tenant.owner.delete(&path_of(&guest)).expect(204).await;
    let guests = async |maker: &Person, list: &str| -> Vec<Value> {
        let page = maker.get(list).expect(200).await.json();
        let emails = page["items"].as_array().unwrap().iter().map(|attendee| attendee["email"].clone());
        emails.filter(|email| *email != json!("else@guest.example")).collect()
    };
    let mut first = guests(&tenant.owner, &lists[0]).await;
    first.sort_by_key(Value::is_null);
    let nobody = first[0].as_str().unwrap().to_owned();
    assert!(
        nobody.ends_with("@removed.invalid") && !nobody.contains(&guest.id().to_string()),
        "whose it was: {nobody}"
    );
    assert_eq!(first, [json!(nobody), json!(null)]);
    assert_eq!(guests(&tenant.owner, &lists[1]).await, [json!(nobody)]);
    assert_eq!(guests(&other.owner, &lists[2]).await, [json!(email)], "another tenant's are its own");
}

// --- the export

/// The export does not say from which IP address others did it.
#[tokio::test]
async fn the_export_tells_what_others_did_to_ones_account() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let viewer = tenant.viewer().await;
    let change = json!({"role": "editor", "requests_per_hour": 500});
    tenant.owner.patch(&path_of(&viewer)).json(&change).expect(200).await;
    let text = viewer.get(&format!("{ME}/export")).expect(200).await.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries: Vec<_> = lines.filter(|line| line["kind"] == "audit_entry").map(|line| line["data"].clone()).collect();
    let by_owner: Vec<_> = entries.iter().filter(|entry| entry["actor_id"] == json!(tenant.owner.id())).collect();
    assert_eq!(by_owner.len(), 1, "{text}");
    assert_eq!(by_owner[0]["changes"], json!({"role": ["viewer", "editor"], "requests_per_hour": [null, 500]}));
    assert_eq!(by_owner[0]["ip"], json!(null));
    assert!(entries.iter().any(|entry| entry["action"] == "sign_in" && entry["ip"] == "127.0.0.1"), "{text}");
}

#[tokio::test]
async fn the_export_holds_all_about_oneself_and_nothing_of_others() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (admin, colleague) = (tenant.admin().await, tenant.editor().await);
    app.visitor().sign_in(&admin.email()).await;
    let task = admin.task(json!({"title": "Made"})).await;
    let username = app.unique();
    admin.patch(ME).json(&json!({"username": username})).expect(200).await;
    let comments = format!("{TASKS}/{}/comments", task["id"].as_str().unwrap());
    for (person, body) in [(&admin, "Said"), (&colleague, &format!("Asked: @{username}")), (&colleague, "Theirs alone")]
    {
        person.post(&comments).json(&json!({"body": body})).expect(201).await;
    }
    colleague.task(json!({"title": "Given", "assigned_to": admin.id()})).await;
    colleague.task(json!({"title": "Theirs alone"})).await;
    other.owner.task(json!({"title": "Foreign"})).await;
    let meeting = admin.meeting(json!({"title": "Held"})).await["id"].as_str().unwrap().to_owned();
    let of_meeting = |list: &str| format!("/api/v1/meetings/{meeting}/{list}");
    let input = json!({"description": "To do", "assignee_id": admin.id()});
    colleague.post(&of_meeting("action-items")).json(&input).expect(201).await;
    colleague.post(&of_meeting("attendees")).json(&json!({"user_id": admin.id()})).expect(201).await;
    colleague.post(&of_meeting("attendees")).json(&json!({"user_id": colleague.id()})).expect(201).await;
    colleague.meeting(json!({"title": "Theirs alone"})).await;
    let feed = admin.post(&format!("{ME}/calendar")).expect(201).await.json();
    let guest = format!("{}@invited.example", app.unique());
    let invitation = json!({"email": guest, "role": "viewer"});
    let invitation = admin.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    let key = admin.post(KEYS).json(&json!({"name": "Robot", "role": "viewer"})).expect(201).await.json();
    for person in [&colleague, &other.owner] {
        person.post(TASKS).json(&json!({"title": "Theirs alone"})).expect(201).await;
    }

    let answer = admin.get(&format!("{ME}/export")).expect(200).await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert!(answer.header("content-disposition").unwrap().starts_with("attachment; filename="));
    let text = answer.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| -> Vec<Value> {
        lines.iter().filter(|line| line["kind"] == kind).map(|line| line["data"].clone()).collect()
    };
    let kinds: BTreeSet<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let expected = [
        "action_item",
        "api_key",
        "attendance",
        "audit_entry",
        "calendar_feed",
        "comment",
        "invitation",
        "meeting",
        "session",
        "task",
        "user",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(of("meeting").iter().map(|meeting| &meeting["title"]).collect::<Vec<_>>(), ["Held"]);
    assert_eq!(of("attendance").iter().map(|row| &row["user_id"]).collect::<Vec<_>>(), [&json!(admin.id())]);
    assert_eq!(of("action_item").iter().map(|item| &item["description"]).collect::<Vec<_>>(), ["To do"]);
    assert_eq!((of("calendar_feed").len(), &of("calendar_feed")[0]["id"]), (1, &feed["id"]));
    assert_eq!(of("user"), [admin.get(ME).expect(200).await.json()]);
    let titles: BTreeSet<_> = of("task").iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect();
    assert_eq!((of("task").len(), titles), (2, ["Given".to_owned(), "Made".to_owned()].into()));
    let bodies: BTreeSet<_> =
        of("comment").iter().map(|comment| comment["body"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bodies, ["Said".to_owned(), format!("Asked: @{username}")].into());
    let current: Vec<_> = of("session").iter().filter(|session| session["is_current"] == true).cloned().collect();
    assert_eq!((of("session").len(), current.len()), (2, 1));
    let named = (of("invitation")[0]["email"].clone(), of("api_key")[0]["id"].clone());
    assert_eq!(named, (json!(guest), key["id"].clone()));
    assert!(of("audit_entry").iter().all(|entry| entry["actor_id"] == json!(admin.id())), "{text}");
    assert!(of("audit_entry").iter().any(|entry| entry["action"] == "sign_in"), "{text}");
    let secrets = [
        feed["url"].as_str().unwrap(),
        invitation["token"].as_str().unwrap(),
        key["key"].as_str().unwrap(),
        "$2",
        "_hash",
    ];
    let strangers = [colleague.email(), other.owner.email(), other.id.to_string()];
    for unknown in secrets.into_iter().chain(strangers.iter().map(String::as_str)).chain(["Theirs", "Foreign"]) {
        assert!(!text.contains(unknown), "{unknown} in {text}");
    }
    let viewer = tenant.viewer().await;
    let own = viewer.get(&format!("{ME}/export")).expect(200).await.text();
    assert!(own.contains(&viewer.email()) && !own.contains(&admin.email()) && !own.contains("\"task\""), "{own}");
}
