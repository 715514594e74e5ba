//! Faults of the past, and faults that were avoided. Each was found by attacking the server.
use crate::support::rights::count;
use crate::support::{Kind, TestApp, is_for, until};
use bizcenter::base::password::Password;
use bizcenter::base::queue::Claimant;
use bizcenter::contract::{Operation, document, operations};
use bizcenter::db::Origin;
use bizcenter::db::sessions::NewSession;
use futures_util::future::join_all;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

#[tokio::test]
async fn a_connection_serves_any_number_of_different_statements() {
    let app = TestApp::with(|config| config.database.pool_size = 1).await;
    let owner = app.tenant().await.owner;
    owner.task(json!({"title": "One"})).await;
    let filters = ["", "&status=todo", "&priority=low", "&q=one", "&week=5", "&tag=x", "&due_before=2026-01-01"];
    for sort in ["title", "status", "priority", "due_date", "created_at", "-title", "-updated_at"] {
        for filter in filters {
            owner.get(&format!("/api/v1/tasks?sort={sort}{filter}")).expect(200).await;
        }
    }
}

#[tokio::test]
async fn a_date_is_ten_characters_everywhere() {
    let owner = TestApp::start().await.tenant().await.owner;
    for day in ["+12024-01-01", "-0044-03-15", "2024-1-5", " 2024-01-05", "0000-01-01", "262142-01-01"] {
        let created = owner.post("/api/v1/tasks").json(&json!({"title": "x", "due_date": day})).send().await;
        assert_eq!(
            (created.error().0, created.detail()),
            (400, json!({"due_date": ["must be a valid date"]})),
            "{day}"
        );
        let encoded = day.replace('+', "%2B").replace(' ', "%20");
        owner.get(&format!("/api/v1/tasks?due_before={encoded}")).expect(400).await;
    }
    for id in ["{01993c3e-6a00-7c3e-8f6e-3b1d2a4c5e6f}", "01993c3e6a007c3e8f6e3b1d2a4c5e6f"] {
        owner.post("/api/v1/tasks").json(&json!({"title": "x", "assigned_to": id})).expect(400).await;
    }
}

#[tokio::test]
async fn a_forged_cursor_is_refused() {
    use base64::Engine;
    let owner = TestApp::start().await.tenant().await.owner;
    let id = owner.task(json!({"title": "x"})).await["id"].clone();
    let forged = [
        ("title", json!(["title", "a\0b", id])),
        ("title", json!(["-title", "a", id])),
        ("title", json!(["title", 5, id])),
        ("title", json!(["title", "a", "no id"])),
        ("title", json!(["title", "a"])),
        ("created_at", json!(["created_at", "-262142-01-01T00:00:00Z", id])),
        ("created_at", json!(["created_at", "+99999-01-01T00:00:00Z", id])),
        ("due_date", json!(["due_date", "+262142-01-01", id])),
        ("status", json!(["status", "nope", id])),
        ("priority", json!(["priority", 9, id])),
    ];
    for (sort, position) in forged {
        let cursor = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(position.to_string());
        let answer = owner.get(&format!("/api/v1/tasks?sort={sort}&cursor={cursor}")).send().await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{position}");
    }
}

#[tokio::test]
async fn the_next_user_of_a_browser_is_not_shown_the_last_ones_profile() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.tenant().await.owner, app.tenant().await.owner);
    let of_ada = ada.get("/api/v1/auth/me").expect(200).await;
    let tag = of_ada.header("etag").unwrap();
    ada.get("/api/v1/auth/me").header("if-none-match", tag).expect(304).await;
    bob.get("/api/v1/auth/me").header("if-none-match", tag).expect(200).await;
    assert!(of_ada.headers.get_all("vary").iter().any(|vary| vary == "Authorization"));
}

#[tokio::test]
async fn a_password_that_was_changed_meanwhile_opens_no_session() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (authenticator, token) = (app.parts.authenticator.clone(), tenant.owner.token.clone().unwrap());
    let (id, expires_at) = (app.parts.env.uuid().into(), app.parts.env.now().into());
    let session = move |checked| {
        let renewed = Some("never stored".to_owned());
        NewSession { id, token_hash: [0; 32], device_name: None, expires_at, checked, renewed }
    };
    let (sessions, credentials) = (app.parts.sessions.clone(), app.parts.credentials.clone());
    let opened = app
        .by_hand(async move {
            let (actor, ..) = authenticator.session_of(&token, Origin::default()).await.unwrap();
            let hash = credentials.hash(Claimant::server(), &Password::new("another password")).await.unwrap();
            sessions.open(&actor, session(hash)).await
        })
        .await;
    assert!(matches!(opened, Err(bizcenter::base::error::Error::InvalidCredentials)));
    app.visitor().sign_in(&tenant.owner.email()).await;
}

#[tokio::test]
async fn a_new_secret_does_not_sign_anybody_out_while_the_old_one_is_named() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let new = app
        .replica_with(|config| {
            let old = std::mem::replace(&mut config.auth.jwt_secret, SecretString::from("n".repeat(40)));
            config.auth.jwt_secret_previous = Some(old);
        })
        .await;
    assert_eq!(new.config.auth.jwt_secret.expose_secret().len(), 40);
    owner.at(&new).get("/api/v1/auth/me").expect(200).await;
    let refresh = |token: &str| new.visitor().post("/api/v1/auth/refresh").json(&json!({"refresh_token": token}));
    let first = refresh(&owner.refresh_token()).expect(200).await.json();
    let again = refresh(&owner.refresh_token()).expect(200).await.json(); // within the time of grace
    assert_eq!(first["refresh_token"], again["refresh_token"]);
    refresh(first["refresh_token"].as_str().unwrap()).expect(200).await;
}

#[tokio::test]
async fn a_change_of_the_largest_texts_fits_its_audit_row() {
    let owner = TestApp::start().await.tenant().await.owner;
    let text = |letter: &str| json!({"title": letter.repeat(200), "description": letter.repeat(10_000), "tags": vec![letter.repeat(50); 20]});
    let task = owner.task(text("\u{1f600}")).await;
    owner.put(&format!("/api/v1/tasks/{}", task["id"].as_str().unwrap())).json(&text("\u{1f601}")).expect(200).await;
}

#[tokio::test]
async fn a_megabyte_of_faults_is_answered_with_a_few() {
    let owner = TestApp::start().await.tenant().await.owner;
    let tags = vec![json!(1); 400_000];
    let answer = owner.post("/api/v1/tasks").json(&json!({"title": "x", "tags": tags})).expect(400).await;
    assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
    let unknown: serde_json::Map<_, _> = (0..50_000).map(|n| (format!("m{n}"), Value::Null)).collect();
    let answer = owner.post("/api/v1/tasks").json(&Value::Object(unknown)).expect(400).await;
    assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn numbers_that_do_not_fit_and_columns_named_twice_are_said_by_name() {
    let owner = TestApp::start().await.tenant().await.owner;
    let answer = owner.get("/api/v1/tasks?page=99999999999").expect(400).await;
    assert_eq!(answer.detail(), json!({"page": ["must be at most 2147483647"]}));
    let answer = owner.get("/api/v1/tasks/export?fields=title,title").expect(400).await;
    assert_eq!(answer.detail(), json!({"fields": ["names title twice"]}));
    owner.post("/api/v1/tasks").json(&json!({"title": "   "})).expect(422).await;
}

#[tokio::test]
async fn unknown_parameters_are_refused_also_where_there_are_none() {
    let app = TestApp::start().await;
    let (visitor, owner) = (app.visitor(), app.tenant().await.owner);
    let task = owner.task(json!({"title": "x"})).await;
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    for path in [path.as_str(), "/api/v1/auth/me", "/api/v1/status", "/api/v1/tasks"] {
        let answer = owner.get(&format!("{path}?foo=1&bar")).send().await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{path}");
        assert_eq!(answer.detail(), json!({"foo": ["is not known"], "bar": ["is not known"]}), "{path}");
        assert_eq!(owner.get(&format!("{path}?%zz")).send().await.error(), (400, "malformed_request".into()), "{path}");
        owner.get(&format!("{path}?")).expect(200).await;
    }
    let open = operations(document()).into_iter().filter(|op| !op.secured);
    let mut walked = 0;
    for Operation { path, method, id, .. } in open.filter(|op| op.path.starts_with("/api/")) {
        let answer = visitor.call(method.parse().unwrap(), &format!("{path}?foo")).send().await;
        assert_eq!((answer.error().0, answer.detail()), (400, json!({"foo": ["is not known"]})), "{id}");
        walked += 1;
    }
    assert_eq!(walked, count(|line| line.path.starts_with("/api/") && line.rights.is_none()));
    owner.get("/livez?from=balancer").expect(200).await;
}

#[tokio::test]
async fn greek_is_found_in_either_case() {
    let owner = TestApp::start().await.tenant().await.owner;
    owner.task(json!({"title": "ΟΔΟΣ"})).await;
    for q in ["ΟΔΟΣ", "οδοσ", "οδο"] {
        assert_eq!(owner.get(&format!("/api/v1/tasks?q={q}")).expect(200).await.json()["meta"]["total"], 1, "{q}");
    }
}

#[tokio::test]
async fn an_access_token_beside_the_refresh_cookie_does_no_harm() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let cookie = format!("refresh_token={}", owner.refresh_token());
    owner.post("/api/v1/auth/refresh").header("cookie", &cookie).expect(200).await;
}

#[tokio::test]
async fn repeats_of_a_request_that_fails_fail_alike() {
    let owner = TestApp::start().await.tenant().await.owner;
    let input = json!({"title": "x", "assigned_to": Uuid::from_u128(7)});
    let repeat = || owner.post("/api/v1/tasks").header("idempotency-key", "fails").json(&input).send();
    let answers = join_all((0..12).map(|_| repeat())).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, vec![422; 12]);
}

#[tokio::test]
async fn a_storm_of_sign_ins_is_turned_away_at_once_and_readers_go_on() {
    let app = TestApp::with(|config| config.auth.bcrypt_cost = 10).await;
    let owner = app.tenant().await.owner;
    let login = json!({"email": owner.email(), "password": "wrong password"});
    let storm = join_all((0..300).map(|_| app.visitor().post("/api/v1/auth/login").json(&login).send()));
    let reader = async {
        let passwords = app.parts.metrics.queue("passwords");
        until("passwords wait to be checked", async || passwords.waiting.get() > 0).await;
        let began = Instant::now();
        owner.get("/api/v1/tasks").expect(200).await;
        began.elapsed()
    };
    let (answers, reading) = tokio::join!(storm, reader);
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(of(401) + of(503), 300);
    assert!(of(503) > 0 && of(401) > 0, "{} turned away, {} answered", of(503), of(401));
    // On two busy cores; otherwise milliseconds.
    assert!(reading < Duration::from_secs(5), "a reader waited for {reading:?}");
}

/// PostgreSQL would continue the statement of a client that has disconnected, so the server has to stop it.
#[tokio::test]
async fn a_request_that_is_given_up_leaves_no_statement_running() {
    if !is_for(Kind::Postgres, "MariaDB and SQLite stop by themselves, at their time-outs") {
        return;
    }
    let app = TestApp::with(|config| config.database.pool_size = 4).await;
    let owner = app.tenant().await.owner;
    let task = owner.task(json!({"title": "Locked"})).await;
    let id = task["id"].as_str().unwrap();
    let path = format!("/api/v1/tasks/{id}");
    let held = app.lock_row("tasks", id.parse().unwrap()).await;
    for _ in 0..12 {
        tokio::select! {
            answer = owner.patch(&path).json(&json!({"title": "Never"})).send() => panic!("the task is locked: {answer:?}"),
            () = app.until_waiting_for_lock(1) => {}
        }
        app.until_nothing_waits_for_lock().await; // otherwise the statement runs on without a client
    }
    held.roll_back().await;
    owner.patch(&path).json(&json!({"title": "At last"})).expect(200).await;
}

#[tokio::test]
async fn answers_with_a_token_or_a_key_are_not_stored() {
    let app = TestApp::start().await;
    let person = app.tenant().await.almighty().await;
    let email = || format!("{}@example.com", app.unique());
    let inputs = [
        ("/api/v1/api-keys", json!({"name": "Robot", "role": "viewer"}), "key"),
        ("/api/v1/invitations", json!({"email": email(), "role": "viewer"}), "token"),
        (
            "/api/v1/admin/tenants",
            json!({"slug": app.unique(), "name": "Acme", "owner_email": email()}),
            "invitation_token",
        ),
    ];
    for (path, input, secret) in inputs {
        let create = || person.post(path).json(&input).header("idempotency-key", path);
        let (first, again) = (create().expect(201).await, create().expect(201).await);
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{path}");
        for answer in [&first, &again] {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            assert!(answer.json()[secret].is_string(), "{path}");
        }
        let found = person.get(first.header("location").unwrap()).expect(200).await;
        assert_eq!(found.header("cache-control"), Some("private, no-cache"), "{path}");
        assert!(found.json()[secret].is_null(), "{path}");
    }
}

#[tokio::test]
async fn what_is_refused_for_its_parameters_has_its_price() {
    let app = TestApp::with(|config| {
        config.redis.url = None; // in Redis, all servers of a run would share the count of this machine's address
        config.rate_limit.enabled = true;
        config.rate_limit.anonymous_per_hour = 2;
        config.rate_limit.register_per_minute = 2;
        config.rate_limit.login_per_minute = 2;
    });
    let app = app.await;
    let visit = |method: &Method, path: &str| app.visitor().call(method.clone(), &format!("{path}?foo")).send();
    for (method, path) in
        [(Method::GET, "/api/v1/status"), (Method::POST, "/api/v1/auth/register"), (Method::POST, "/api/v1/auth/login")]
    {
        for _ in 0..2 {
            let answer = visit(&method, path).await;
            assert_eq!((answer.error().0, answer.detail()), (400, json!({"foo": ["is not known"]})), "{path}");
        }
        assert_eq!(visit(&method, path).await.error(), (429, "rate_limited".into()), "{path}");
    }
    for (path, method) in [("refresh", Method::POST), ("password/forgot", Method::POST)] {
        let answer = visit(&method, &format!("/api/v1/auth/{path}")).await;
        assert_eq!(
            answer.error(),
            (429, "rate_limited".into()),
            "{path} counts as a visit where it has no other limit"
        );
    }
}
