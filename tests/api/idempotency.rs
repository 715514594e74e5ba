//! `Idempotency-Key`: a change that is sent twice is made once.
use crate::support::{Answer, Person, TestApp, rows};
use bizcenter::auth::Role;
use chrono::Duration;
use futures_util::future::join_all;
use serde_json::{Value, json};

const TASKS: &str = "/api/v1/tasks";

/// The owner of a new tenant.
async fn owner() -> Person {
    TestApp::start().await.tenant().await.owner
}

async fn create(person: &Person, key: &str, input: &Value) -> Answer {
    person.post(TASKS).header("idempotency-key", key).json(input).send().await
}

async fn count(person: &Person) -> Value {
    person.get(TASKS).expect(200).await.json()["meta"]["total"].clone()
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer() {
    let owner = owner().await;
    let input = json!({
        "title": "Once 한 \"é\" 😀", "description": "\u{1}\n", "status": "done", "tags": ["a", "b"], "year": 2026,
        "week_number": 53, "due_date": "2026-12-31", "assigned_to": owner.id(), "priority": "urgent",
    });
    let first = create(&owner, "k", &input).await.expect(201);
    let path = first.header("location").unwrap().to_owned();
    assert_eq!(first.header("idempotency-replayed"), None);
    for _ in 0..2 {
        let again = create(&owner, "k", &input).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!((&again.body, again.header("location")), (&first.body, Some(path.as_str())));
        assert_eq!(again.header("etag"), first.header("etag"));
        owner.patch(&path).json(&json!({"title": "Changed meanwhile"})).expect(200).await;
    }
    assert_eq!(count(&owner).await, json!(1));
    owner.delete(&path).expect(204).await;
    let after = create(&owner, "k", &input).await.expect(201);
    assert_eq!(after.body, first.body, "it tells what happened then");
    assert_eq!(count(&owner).await, json!(0));
}

#[tokio::test]
async fn what_counts_as_the_same_request() {
    let owner = owner().await;
    let input = json!({"title": "Once", "tags": []});
    let first = create(&owner, "k", &input).await.expect(201);
    let same = "{ \"status\": \"todo\", \"tags\": [],\n \"title\": \"\\u004fnce\", \"description\": null }";
    let again = owner.post(TASKS).header("idempotency-key", "k").body("application/json; charset=utf-8", same);
    assert_eq!(again.expect(201).await.body, first.body, "the same in other words");
    for other in
        [json!({"title": "once"}), json!({"title": "Once", "tags": ["x"]}), json!({"title": "Once", "status": "done"})]
    {
        assert_eq!(create(&owner, "k", &other).await.error(), (422, "idempotency_mismatch".into()));
    }
    let invalid = create(&owner, "k", &json!({"title": ""})).await;
    assert_eq!(invalid.error(), (400, "validation_error".into()));
    for key in ["K", "k2", "\"k\""] {
        assert_eq!(create(&owner, key, &input).await.expect(201).header("idempotency-replayed"), None, "{key}");
    }
    assert_eq!(count(&owner).await, json!(4));
}

#[tokio::test]
async fn keys_are_each_user_s_own() {
    let tenant = TestApp::start().await.tenant().await;
    let people = [tenant.owner.clone(), tenant.editor().await, tenant.editor().await, owner().await];
    for person in &people {
        let task = create(person, "shared", &json!({"title": "Mine"})).await.expect(201);
        assert_eq!(task.header("idempotency-replayed"), None);
        assert_eq!(task.json()["created_by"], json!(person.id()));
    }
    for person in &people {
        let task = create(person, "shared", &json!({"title": "Mine"})).await.expect(201);
        assert_eq!(task.header("idempotency-replayed"), Some("true"));
        assert_eq!(task.json()["created_by"], json!(person.id()));
    }
    let viewer = tenant.person(Role::Viewer).await;
    assert_eq!(create(&viewer, "shared", &json!({"title": "Mine"})).await.error(), (403, "forbidden".into()));
}

#[tokio::test]
async fn repeats_in_flight_wait_for_the_first() {
    let owner = owner().await;
    let input = json!({"title": "Once"});
    let answers = join_all((0..20).map(|_| create(&owner, "k", &input))).await;
    let bodies: Vec<_> = answers.into_iter().map(|answer| answer.expect(201)).collect();
    assert!(bodies.iter().all(|answer| answer.body == bodies[0].body));
    let first = bodies.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
    assert_eq!((first, count(&owner).await), (1, json!(1)));
}

#[tokio::test]
async fn parallel_requests_that_differ_are_not_mixed_up() {
    let owner = owner().await;
    let inputs = [json!({"title": "One"}), json!({"title": "Other"})];
    let answers = join_all((0..20).map(|n| create(&owner, "k", &inputs[n % 2]))).await;
    let created: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(created.len(), 10);
    assert!(created.iter().all(|answer| answer.body == created[0].body));
    let refused = answers.iter().filter(|answer| answer.status == 422);
    assert!(refused.map(Answer::error).all(|error| error == (422, "idempotency_mismatch".to_owned())));
    assert_eq!(count(&owner).await, json!(1));
}

#[tokio::test]
async fn a_request_that_failed_is_not_remembered() {
    let owner = owner().await;
    let stranger = json!({"title": "x", "assigned_to": "01993c3e-6a00-7c3e-8f6e-000000000001"});
    for input in [json!({}), json!({"title": "x", "year": 2026}), stranger.clone(), stranger.clone()] {
        let answer = create(&owner, "k", &input).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{}", answer.text());
        assert_ne!(answer.error().1, "idempotency_mismatch");
    }
    let repeats = join_all((0..8).map(|_| create(&owner, "k", &stranger))).await;
    for answer in repeats {
        assert_eq!(answer.error(), (422, "unprocessable".to_owned()), "each fails for its own sake");
    }
    let first = create(&owner, "k", &json!({"title": "x"})).await.expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(count(&owner).await, json!(1));
}

#[tokio::test]
async fn bad_keys_are_refused() {
    let owner = owner().await;
    for good in ["!", "~", &"k".repeat(255), "550e8400-e29b-41d4-a716-446655440000"] {
        create(&owner, good, &json!({"title": "x"})).await.expect(201);
    }
    for bad in ["", " ", "a b", "a\tb", "é", "한", &"k".repeat(256), &"k".repeat(20_000)] {
        let answer = create(&owner, bad, &json!({"title": "x"})).await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{bad}");
        assert_eq!(answer.detail(), json!({"Idempotency-Key": ["must be 1 to 255 visible ASCII characters"]}));
    }
    assert_eq!(count(&owner).await, json!(4));
}

#[tokio::test]
async fn a_day_later_a_key_stands_for_a_new_request() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let first = create(&owner, "k", &json!({"title": "x"})).await.expect(201);
    app.clock.advance(Duration::hours(24) - Duration::minutes(1));
    let owner = app.visitor().sign_in(&owner.email()).await; // access tokens expire sooner
    assert_eq!(create(&owner, "k", &json!({"title": "x"})).await.expect(201).body, first.body);
    assert_eq!(create(&owner, "k", &json!({"title": "y"})).await.error(), (422, "idempotency_mismatch".into()));
    app.clock.advance(Duration::minutes(2));
    let anew = create(&owner, "k", &json!({"title": "y"})).await.expect(201);
    assert_eq!((anew.header("idempotency-replayed"), &anew.json()["title"]), (None, &json!("y")));
    let again = create(&owner, "k", &json!({"title": "y"})).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &anew.body));
    assert_eq!(count(&owner).await, json!(2));
}

#[tokio::test]
async fn a_replica_knows_the_key_too() {
    let app = TestApp::alone().await;
    let (replica, owner, input) = (app.replica().await, app.tenant().await.owner, json!({"title": "x"}));
    let people = [owner.clone(), owner.at(&replica)];
    let answers = join_all((0..10).map(|n| create(&people[n % 2], "k", &input))).await;
    let bodies: Vec<_> = answers.into_iter().map(|answer| answer.expect(201).body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(count(&owner).await, json!(1));
}

#[tokio::test]
async fn stored_answers_can_not_be_read_in_the_database() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    create(&owner, "a-key", &json!({"title": "Plain words", "description": "Plain words"})).await.expect(201);
    let mut conn = app.database.connect().await;
    let answer = match app.database.kind {
        crate::support::Kind::Postgres => "encode(answer, 'hex')",
        _ => "hex(answer)",
    };
    let stored = rows::rows(&mut conn, &format!("SELECT {answer} FROM idempotency_keys")).await;
    assert_eq!(stored.len(), 1);
    let answer = stored[0][0].to_lowercase();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(answer.len() > 2 * 300, "there is an answer: {answer}");
    for word in ["Plain words", "Plain", "title", "todo"] {
        assert!(!answer.contains(&hex(word)), "{word} can be read");
    }
    let titles = rows::rows(&mut conn, "SELECT title FROM tasks").await;
    assert_eq!(titles, [["Plain words"]], "the search itself finds what is readable");
}
