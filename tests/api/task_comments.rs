//! Comments on tasks over HTTP: what each role may do with them, the users that they mention, and what is deleted with
//! a task.
use crate::support::{Answer, Person, Tenant, TestApp};
use bizcenter::auth::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

/// The path of the comments on a new task.
async fn comments_of_new(maker: &Person) -> String {
    let task = maker.task(json!({"title": "Commented on"})).await;
    format!("/api/v1/tasks/{}/comments", task["id"].as_str().unwrap())
}

async fn say(person: &Person, comments: &str, body: &str) -> Value {
    person.post(comments).json(&json!({"body": body})).expect(201).await.json()
}

fn path_of(comment: &Value) -> String {
    let id = |member: &str| comment[member].as_str().unwrap().to_owned();
    format!("/api/v1/tasks/{}/comments/{}", id("task_id"), id("id"))
}

/// Gives a person a unique username.
async fn name(app: &TestApp, person: &Person) -> String {
    let username = app.unique();
    person.patch("/api/v1/users/me").json(&json!({"username": username})).expect(200).await;
    username
}

fn ids(people: &[&Person]) -> Value {
    let mut ids: Vec<_> = people.iter().map(|person| person.id()).collect();
    ids.sort_unstable();
    json!(ids)
}

/// The entries about a comment or a task in the audit log, the latest first.
async fn audited(admin: &Person, id: &Value) -> Vec<Value> {
    let path = format!("/api/v1/audit-logs?subject_id={}", id.as_str().unwrap());
    admin.get(&path).expect(200).await.json()["items"].as_array().unwrap().clone()
}

fn kinds(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status.as_u16()).collect()
}

#[tokio::test]
async fn a_comment_lives_and_ends() {
    let tenant = tenant().await;
    let analyst = tenant.person(Role::Analyst).await;
    let comments = comments_of_new(&tenant.owner).await;
    let created = analyst.post(&comments).json(&json!({"body": " First\n"})).expect(201).await;
    let comment = created.json();
    let path = path_of(&comment);
    assert_eq!((created.header("location"), created.header("etag")), (Some(path.as_str()), Some("\"1\"")));
    assert_eq!((&comment["body"], &comment["version"]), (&json!(" First\n"), &json!(1)));
    assert_eq!((&comment["author_id"], &comment["mentions"]), (&json!(analyst.id()), &json!([])));
    assert_eq!(comment["created_at"], comment["updated_at"]);
    let viewer = tenant.viewer().await;
    assert_eq!(viewer.get(&path).expect(200).await.json(), comment);
    assert_eq!(viewer.get(&path).header("if-none-match", "\"1\"").expect(304).await.body, b"");
    assert_eq!(viewer.get(&comments).expect(200).await.json()["items"], json!([comment]));

    let changed = analyst.patch(&path).json(&json!({"body": "Second"})).header("if-match", "\"1\"").expect(200).await;
    assert_eq!(changed.header("etag"), Some("\"2\""));
    let changed = changed.json();
    assert_eq!((&changed["body"], &changed["created_at"]), (&json!("Second"), &comment["created_at"]));
    assert!(changed["updated_at"].as_str() > comment["updated_at"].as_str());
    for call in [analyst.patch(&path).json(&json!({"body": "x"})), analyst.delete(&path)] {
        assert_eq!(call.header("if-match", "\"1\"").send().await.error(), (412, "precondition_failed".into()));
    }
    analyst.delete(&path).header("if-match", "\"2\"").expect(204).await;
    for call in [analyst.get(&path), analyst.delete(&path), analyst.patch(&path).json(&json!({"body": "x"}))] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
    assert_eq!(viewer.get(&comments).expect(200).await.json()["items"], json!([]));

    let rows = audited(&tenant.owner, &comment["id"]).await;
    let actions: Vec<_> = rows.iter().map(|row| (&row["action"], &row["subject_kind"], &row["actor_id"])).collect();
    let row = |action| (action, json!("comment"), json!(analyst.id()));
    let expected = [row(json!("delete")), row(json!("update")), row(json!("create"))];
    assert_eq!(actions, expected.iter().map(|(action, kind, actor)| (action, kind, actor)).collect::<Vec<_>>());
    assert_eq!(rows[1]["changes"], json!({"body": [" First\n", "Second"]}));
}

#[tokio::test]
async fn a_body_has_something_to_read_and_an_end() {
    let tenant = tenant().await;
    let comments = comments_of_new(&tenant.owner).await;
    let path = path_of(&say(&tenant.owner, &comments, "x").await);
    for (body, status, message) in [
        (json!(""), 400, "must have at least 1 characters"),
        (json!("한".repeat(5001)), 400, "must have at most 5000 characters"),
        (json!(null), 400, "must not be null"),
        (json!(["x"]), 400, "must be a string"),
        (json!("a\0b"), 400, "must not contain a NUL character"),
        (json!(" \t\r\n\u{a0}\u{3000}"), 422, "must not be blank"),
    ] {
        let input = json!({"body": body});
        for call in [tenant.owner.post(&comments).json(&input), tenant.owner.patch(&path).json(&input)] {
            let answer = call.expect(status).await;
            assert_eq!(answer.detail(), json!({"body": [message]}), "{body}");
        }
    }
    for members in ["author_id", "task_id", "mentions", "version"] {
        let input = json!({"body": "x", members: null});
        let answer = tenant.owner.post(&comments).json(&input).expect(400).await;
        assert_eq!(answer.detail(), json!({members: ["is not known"]}));
    }
    assert_eq!(
        tenant.owner.post(&comments).json(&json!({})).expect(400).await.detail(),
        json!({"body": ["is required"]})
    );
    for body in ["a".repeat(5000), "😀".repeat(5000), "\u{1}".repeat(5000)] {
        let comment = say(&tenant.owner, &comments, &body).await;
        assert_eq!(tenant.owner.get(&path_of(&comment)).expect(200).await.json()["body"], json!(body));
        let turned = json!({"body": body.replace('a', "b")});
        tenant.owner.patch(&path_of(&comment)).json(&turned).expect(200).await; // both bodies fit into one audit row
    }
}

#[tokio::test]
async fn authors_change_their_words_and_nobody_elses() {
    let tenant = tenant().await;
    let comments = comments_of_new(&tenant.owner).await;
    let forbidden = (403, "forbidden".to_owned());
    let viewer = tenant.viewer().await;
    let of_owner = path_of(&say(&tenant.owner, &comments, "x").await);
    let input = json!({"body": "y"});
    for call in [viewer.post(&comments).json(&input), viewer.patch(&of_owner).json(&input), viewer.delete(&of_owner)] {
        assert_eq!(call.send().await.error(), forbidden);
    }
    for role in [Role::Analyst, Role::Editor, Role::Admin, Role::Owner] {
        let (author, person) = (tenant.person(Role::Analyst).await, tenant.person(role).await);
        let theirs = path_of(&say(&author, &comments, "theirs").await);
        assert_eq!(person.patch(&theirs).json(&input).send().await.error(), forbidden, "{}", role.name());
        let may_delete = role >= Role::Admin;
        let answer = person.delete(&theirs).send().await;
        assert_eq!(answer.status == 204, may_delete, "{}: {}", role.name(), answer.text());
        assert_eq!(author.get(&theirs).send().await.status == 404, may_delete);
        let own = path_of(&say(&person, &comments, "own").await);
        assert_eq!(person.patch(&own).json(&input).expect(200).await.json()["body"], "y");
        person.delete(&own).expect(204).await;
    }
    // A former role does not count.
    let author = tenant.person(Role::Analyst).await;
    let own = path_of(&say(&author, &comments, "own").await);
    let user = format!("/api/v1/users/{}", author.id());
    tenant.owner.patch(&user).json(&json!({"role": "viewer"})).expect(200).await;
    assert_eq!(author.patch(&own).json(&input).send().await.error(), forbidden);
    assert_eq!(author.delete(&own).send().await.error(), forbidden);
}

#[tokio::test]
async fn a_comment_is_only_found_under_its_task() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.tenant().await, app.tenant().await);
    let (first, second) = (comments_of_new(&ours.owner).await, comments_of_new(&ours.owner).await);
    let foreign = comments_of_new(&theirs.owner).await;
    let id = |comment: &Value| comment["id"].as_str().unwrap().to_owned();
    let mine = say(&ours.owner, &first, "mine").await;
    let strange = id(&say(&theirs.owner, &foreign, "strange").await);
    let (mine_id, never) = (id(&mine), app.parts.env.uuid().to_string());
    let mixed = [
        format!("{second}/{mine_id}"),
        format!("{foreign}/{mine_id}"),
        format!("{first}/{strange}"),
        format!("{foreign}/{strange}"),
        format!("{first}/{never}"),
        format!("/api/v1/tasks/{never}/comments/{mine_id}"),
        format!("/api/v1/tasks/{mine_id}/comments/{mine_id}"),
    ];
    for path in mixed {
        let change = ours.owner.patch(&path).json(&json!({"body": "taken over"}));
        for call in [ours.owner.get(&path), change, ours.owner.delete(&path)] {
            assert_eq!(call.send().await.error(), (404, "not_found".into()), "{path}");
        }
    }
    for comments in [foreign, format!("/api/v1/tasks/{never}/comments")] {
        let post = ours.owner.post(&comments).json(&json!({"body": "x"}));
        for call in [ours.owner.get(&comments), post] {
            assert_eq!(call.send().await.error(), (404, "not_found".into()), "{comments}");
        }
    }
    assert_eq!(ours.owner.get(&path_of(&mine)).expect(200).await.json(), mine);
}

#[tokio::test]
async fn active_users_of_the_tenant_are_mentioned() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (ada, bob) = (tenant.viewer().await, tenant.editor().await);
    let (disabled, stranger) = (tenant.viewer().await, &other.owner);
    let (at_ada, at_bob) = (name(&app, &ada).await, name(&app, &bob).await);
    let (at_disabled, at_stranger) = (name(&app, &disabled).await, name(&app, stranger).await);
    let disable = format!("/api/v1/users/{}", disabled.id());
    tenant.owner.patch(&disable).json(&json!({"is_active": false})).expect(200).await;
    let comments = comments_of_new(&bob).await;
    let loud = at_ada.to_uppercase();
    let comment = say(
        &bob,
        &comments,
        &format!("@{loud}, @{at_bob}. (@{at_ada}) @{at_stranger} @{at_disabled} @nobody @{}", ada.email()),
    )
    .await;
    assert_eq!(comment["mentions"], ids(&[&ada, &bob]));
    assert_eq!(ada.get(&comments).expect(200).await.json()["items"], json!([comment]));

    let path = path_of(&comment);
    let change = async |body: String| bob.patch(&path).json(&json!({"body": body})).expect(200).await.json();
    let changed = change(format!("Only @{at_ada} and x@{at_bob}")).await;
    assert_eq!((&changed["mentions"], bob.get(&path).expect(200).await.json()), (&ids(&[&ada]), changed.clone()));
    let changed = change(format!("@{at_bob} now")).await;
    assert_eq!((&changed["mentions"], bob.get(&path).expect(200).await.json()), (&ids(&[&bob]), changed.clone()));
    let audit = audited(&tenant.owner, &comment["id"]).await;
    assert_eq!(audit[0]["changes"]["mentions"], json!([ids(&[&ada]), ids(&[&bob])]));

    let strange = comments_of_new(stranger).await;
    let said = say(stranger, &strange, &format!("@{at_stranger} @{at_ada} @{at_bob}")).await;
    assert_eq!(said["mentions"], ids(&[stranger]));
}

#[tokio::test]
async fn what_was_said_stays_when_people_go() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (author, named) = (tenant.editor().await, tenant.viewer().await);
    let comments = comments_of_new(&author).await;
    let comment = say(&author, &comments, &format!("@{}", name(&app, &named).await)).await;
    assert_eq!(comment["mentions"], ids(&[&named]));
    for gone in [&author, &named] {
        tenant.owner.delete(&format!("/api/v1/users/{}", gone.id())).expect(204).await;
    }
    assert_eq!(tenant.owner.get(&path_of(&comment)).expect(200).await.json(), comment);
    tenant.owner.delete(&path_of(&comment)).expect(204).await;
}

#[tokio::test]
async fn the_oldest_stand_first_page_by_page() {
    let tenant = tenant().await;
    let comments = comments_of_new(&tenant.owner).await;
    let mut said = vec![];
    for n in 0..7 {
        said.push(say(&tenant.owner, &comments, &format!("number {n}")).await);
    }
    let other = comments_of_new(&tenant.owner).await;
    say(&tenant.owner, &other, "elsewhere").await;
    let page = async |query: &str| tenant.owner.get(&format!("{comments}?{query}")).expect(200).await.json();
    assert_eq!(page("").await["items"], json!(said));
    let second = page("per_page=3&page=2").await;
    assert_eq!(
        (&second["items"], &second["meta"]["total"], &second["meta"]["pages"]),
        (&json!(said[3..6]), &json!(7), &json!(3))
    );
    assert_eq!(page("page=3&per_page=100").await["items"], json!([]));

    let (mut found, mut query) = (vec![], "per_page=3".to_owned());
    loop {
        let page = page(&query).await;
        found.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["meta"]["next_cursor"].as_str() else { break };
        query = format!("per_page=3&cursor={cursor}");
    }
    assert_eq!(found, said);
    for (query, detail) in [
        ("sort=created_at", json!({"sort": ["is not known"]})),
        ("q=number", json!({"q": ["is not known"]})),
        ("per_page=101", json!({"per_page": ["must be at most 100"]})),
    ] {
        assert_eq!(tenant.owner.get(&format!("{comments}?{query}")).expect(400).await.detail(), detail);
    }
}

#[tokio::test]
async fn a_repeat_is_no_second_comment() {
    let tenant = tenant().await;
    let (first, second) = (comments_of_new(&tenant.owner).await, comments_of_new(&tenant.owner).await);
    let post = |comments: &str, body: &str| {
        tenant.owner.post(comments).header("idempotency-key", "once").json(&json!({"body": body}))
    };
    let comment = post(&first, "x").expect(201).await.json();
    let again = post(&first, "x").expect(201).await;
    assert_eq!((again.header("idempotency-replayed"), again.json()), (Some("true"), comment));
    for call in [post(&first, "y"), post(&second, "x")] {
        assert_eq!(call.send().await.error(), (422, "idempotency_mismatch".into()));
    }
    assert_eq!(tenant.owner.get(&first).expect(200).await.json()["meta"]["total"], 1);
}

#[tokio::test]
async fn of_many_changes_to_one_version_exactly_one_wins() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let username = name(&app, &tenant.owner).await;
    let comments = comments_of_new(&tenant.owner).await;
    let path = path_of(&say(&tenant.owner, &comments, "x").await);
    let patch =
        |n: usize| json!({"body": if n.is_multiple_of(2) { format!("@{username} {n}") } else { format!("{n}") }});
    let first = (0..12).map(|n| tenant.owner.patch(&path).header("if-match", "\"1\"").json(&patch(n)).send());
    let mut statuses = kinds(&join_all(first).await);
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200], vec![412; 11]].concat());
    let all = (0..12).map(|n| tenant.owner.patch(&path).json(&patch(n)).send());
    assert_eq!(kinds(&join_all(all).await), [200; 12]);
    let last = tenant.owner.get(&path).expect(200).await.json();
    let is_named = last["body"].as_str().unwrap().starts_with('@');
    let mentions = if is_named { ids(&[&tenant.owner]) } else { json!([]) };
    assert_eq!((&last["version"], &last["mentions"]), (&json!(14), &mentions));
}

#[tokio::test]
async fn a_task_takes_its_comments_with_it() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (editor, analyst) = (tenant.editor().await, tenant.person(Role::Analyst).await);
    let username = name(&app, &analyst).await;
    let (comments, others) = (comments_of_new(&editor).await, comments_of_new(&editor).await);
    for body in ["one", "two", &format!("@{username}")] {
        say(&analyst, &comments, body).await;
    }
    let kept = say(&analyst, &others, &format!("@{username}")).await;
    let task = comments.trim_end_matches("/comments");
    editor.delete(task).expect(204).await;
    assert_eq!(analyst.get(&comments).send().await.error(), (404, "not_found".into()));
    assert_eq!(analyst.get(&others).expect(200).await.json()["items"], json!([kept]));
    let id = json!(task.rsplit('/').next());
    let row = audited(&tenant.owner, &id).await[0].clone();
    assert_eq!((&row["action"], &row["changes"]["comments"]), (&json!("delete"), &json!([3, null])));
    for (table, left) in [("task_comments", 1), ("task_comment_mentions", 1)] {
        let sql = format!("SELECT {} FROM {table} WHERE tenant_id = {}", app.id_column("tenant_id"), app.id(tenant.id));
        assert_eq!(app.rows(&sql).await.len(), left, "{table}");
    }
}

#[tokio::test]
async fn nothing_is_said_about_a_task_that_is_gone() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let username = name(&app, &tenant.owner).await;
    for _ in 0..6 {
        let comments = comments_of_new(&tenant.owner).await;
        let earlier = path_of(&say(&tenant.owner, &comments, &format!("@{username}")).await);
        let body = json!({"body": format!("@{username}")});
        let says = (0..8).map(|_| tenant.owner.post(&comments).json(&body).send());
        let changes = (0..4).map(|n| tenant.owner.patch(&earlier).json(&json!({"body": n.to_string()})).send());
        let deletes = [tenant.owner.delete(comments.trim_end_matches("/comments")).send()];
        let (said, changed, deleted) = tokio::join!(join_all(says), join_all(changes), join_all(deletes));
        assert_eq!(kinds(&deleted), [204]);
        for answer in said.iter().chain(&changed) {
            assert!(matches!(answer.status.as_u16(), 200 | 201 | 404), "{}", answer.text());
        }
        assert_eq!(tenant.owner.get(&comments).send().await.error(), (404, "not_found".into()));
    }
    for table in ["task_comments", "task_comment_mentions"] {
        let sql = format!("SELECT {} FROM {table} WHERE tenant_id = {}", app.id_column("tenant_id"), app.id(tenant.id));
        assert_eq!(app.rows(&sql).await.len(), 0, "{table}");
    }
}
