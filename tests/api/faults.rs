//! What happens when the database is away, slow or busy, and when it is back.
use crate::support::proxy::{Break, on_a_line};
use crate::support::{Answer, Kind, Person, TestApp, not_for_this_run};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const TASKS: &str = "/api/v1/tasks";

fn titled(title: &str) -> Value {
    json!({"title": title})
}

/// Sends many requests at once, so that the pool is full of connections.
async fn fill_pool(person: &Person) {
    for answer in join_all((0..20).map(|_| person.get(TASKS).send())).await {
        answer.expect(200);
    }
}

/// Waits until ten requests in a row succeed, which must happen soon.
async fn assert_recovered(person: &Person) {
    let start = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 10 {
        let (read, write) = tokio::join!(person.get(TASKS).send(), person.post(TASKS).json(&titled("Back")).send());
        let is_back = (read.status.as_u16(), write.status.as_u16()) == (200, 201);
        in_a_row = if is_back { in_a_row + 1 } else { 0 };
        assert!(start.elapsed() < Duration::from_secs(5), "not back: {} {}", read.text(), write.text());
        for failed in [read, write].iter().filter(|answer| !answer.status.is_success()) {
            assert_unavailable(failed);
        }
    }
    tokio::time::sleep(Duration::from_millis(1050)).await; // the result of a probe is kept for a second
    person.get("/readyz").expect(200).await;
}

/// Asserts that the answer is the usual 503, which reveals nothing about the cause.
#[track_caller]
fn assert_unavailable(answer: &Answer) {
    let id = answer.header("x-request-id").unwrap();
    let message = "The service is not available at the moment. Try again later.";
    let body = json!({"error": {"type": "unavailable", "message": message, "detail": {}, "request_id": id}});
    assert_eq!((answer.status.as_u16(), answer.json()), (503, body));
}

#[tokio::test]
async fn while_the_database_is_away_requests_are_told_and_afterwards_they_work() {
    let line = on_a_line(|config| config.database.acquire_timeout = Duration::from_secs(1));
    let Some((app, proxy)) = line.await else { return };
    let tenant = app.tenant().await;
    let owner = &tenant.owner;
    let task = owner.task(titled("Before")).await;
    let path = format!("{TASKS}/{}", task["id"].as_str().unwrap());
    fill_pool(owner).await;
    proxy.refuse();

    let login = json!({"email": owner.email(), "password": "correct horse battery"});
    let register =
        json!({"email": "new@away.example", "password": "correct horse battery", "name": "N", "tenant_id": "away"});
    let refresh = json!({"refresh_token": owner.refresh_token()});
    let asked = [
        owner.get(TASKS),
        owner.get(&path),
        owner.get("/api/v1/tasks/export"),
        owner.post(TASKS).json(&titled("Lost")),
        owner.post(TASKS).json(&titled("Lost")).header("idempotency-key", "lost"),
        owner.put(&path).json(&titled("Lost")),
        owner.patch(&path).json(&titled("Lost")),
        owner.delete(&path),
        app.visitor().post("/api/v1/auth/login").json(&login),
        app.visitor().post("/api/v1/auth/register").json(&register),
        app.visitor().post("/api/v1/auth/refresh").json(&refresh),
    ];
    let start = Instant::now();
    for answer in join_all(asked.map(|call| call.send())).await {
        assert_unavailable(&answer);
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());

    for probe in ["/livez", "/health", "/api/v1/status"] {
        app.visitor().get(probe).expect(200).await;
    }
    let ready = app.readiness().await;
    assert_eq!((ready.error().0, ready.detail()), (503, json!({"database": ["does not answer"]})));
    app.visitor().get(TASKS).expect(401).await;

    proxy.restore();
    assert_recovered(owner).await;
    assert_eq!(owner.get(&path).expect(200).await.json(), task);
    app.visitor().sign_in(&owner.email()).await;
}

#[tokio::test]
async fn after_its_connections_were_cut_the_server_makes_new_ones() {
    let Some((app, proxy)) = on_a_line(|_| {}).await else { return };
    let owner = app.tenant().await.owner;
    for _ in 0..3 {
        fill_pool(&owner).await;
        proxy.cut();
        assert_recovered(&owner).await;
    }
}

/// MariaDB closes connections that nobody uses. Its driver does not notice that, unlike PostgreSQL's.
#[tokio::test]
async fn no_request_fails_because_mariadb_has_closed_idle_connections() {
    let Some((app, proxy)) = on_a_line(|_| {}).await else { return };
    if app.database.kind != Kind::Mariadb {
        not_for_this_run("the drivers of the other databases notice by themselves");
        return;
    }
    let owner = app.tenant().await.owner;
    let created = owner.post(TASKS).json(&titled("Kept")).expect(201).await;
    let task = created.header("location").unwrap();
    for _ in 0..3 {
        fill_pool(&owner).await;
        proxy.cut();
        owner.get(task).expect(200).await;
        proxy.cut();
        owner.post(TASKS).json(&titled("New")).expect(201).await;
    }
}

#[tokio::test]
async fn a_server_starts_while_its_database_is_away() {
    let Some((app, proxy)) = on_a_line(|_| {}).await else { return };
    proxy.refuse(); // the pool has no connections yet: it opens them at its first use
    app.visitor().get("/readyz").expect(503).await;
    proxy.restore();
    let owner = app.tenant().await.owner;
    assert_recovered(&owner).await;
}

#[tokio::test]
async fn a_stalled_database_keeps_nobody_beyond_the_deadline() {
    let limit = Duration::from_secs(1);
    let line = on_a_line(move |config| config.server.request_timeout = limit);
    let Some((app, proxy)) = line.await else { return };
    let owner = app.tenant().await.owner;
    fill_pool(&owner).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1050)).await; // otherwise the probe would repeat an earlier result
        proxy.stall();
        let start = Instant::now();
        let calls = (0..12).map(|n| match n % 3 {
            0 => owner.get(TASKS).send(),
            1 => owner.post(TASKS).json(&titled("Stalled")).send(),
            _ => owner.get("/readyz").send(),
        });
        for answer in join_all(calls).await {
            assert_eq!(answer.error(), (503, "unavailable".to_owned()));
        }
        let took = start.elapsed();
        assert!(took >= limit && took < limit * 3, "{took:?}");
        assert!(timeout(limit / 2, app.visitor().get("/livez").expect(200)).await.is_ok());
        proxy.restore();
        assert_recovered(&owner).await;
    }
}

#[tokio::test]
async fn wherever_the_line_breaks_a_change_is_made_once() {
    let Some((app, proxy)) = on_a_line(|config| config.database.pool_size = 1).await else { return };
    let owner = app.tenant().await.owner;
    let (mut made, mut refused, mut replayed) = (0, 0, 0);
    // A message of the driver may arrive in two parts or together with another, so one sweep can miss the commit.
    for sweep in 0..10 {
        for place in [Break::Request, Break::Answer] {
            for n in 0.. {
                let key = format!("{sweep}-{place:?}-{n}");
                let create = || owner.post(TASKS).json(&titled(&key)).header("idempotency-key", &key).send();
                proxy.break_at(n, place);
                let mut answer = create().await;
                let has_broken = proxy.has_broken();
                if answer.status == 503 {
                    assert_unavailable(&answer);
                    refused += 1;
                    answer = create().await;
                }
                answer = answer.expect(201);
                made += 1;
                replayed += usize::from(answer.header("idempotency-replayed").is_some());
                let list = owner.get(&format!("{TASKS}?per_page=100")).expect(200).await.json();
                assert_eq!(list["items"][0]["title"], json!(key));
                assert_eq!(list["meta"]["total"], json!(made), "{key}");
                if !has_broken {
                    break; // the change was complete before the planned break
                }
                assert!(n < 60, "that many things to say for one task?");
            }
        }
        if replayed > 0 {
            break;
        }
    }
    // Of the caller, of the key, and the change: each can be broken on its way and on the way back.
    assert!(refused >= 6, "{refused} of {made}");
    assert!(replayed >= 1, "the answer to a commit was lost at least once");
}

#[tokio::test]
async fn clients_that_hang_up_in_the_middle_of_a_change_leave_nothing_behind() {
    let tenant = TestApp::with(|config| config.database.pool_size = 3).await.tenant().await;
    let owner = &tenant.owner;
    let mut task = owner.task(titled("Before")).await;
    let path = format!("{TASKS}/{}", task["id"].as_str().unwrap());
    let mut undone = 0;
    for round in 1..=20 {
        let held = tenant.app.lock_row("tasks", task["id"].as_str().unwrap().parse().unwrap()).await;
        let patient = Duration::from_millis(round * 5);
        let change = owner.clone().patch(&path).json(&titled("Lost")).send();
        assert!(timeout(patient, change).await.is_err(), "it can't be through: the task is locked");
        // The client gives up at any moment, often before the server waits for the lock. The server has this time to
        // notice it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        held.roll_back().await;
        let now = owner.get(&path).expect(200).await.json();
        undone += usize::from(now == task);
        task = now;
    }
    assert!(undone >= 10, "only {undone} changes ended with their client");
    let version = task["version"].as_i64().unwrap();
    let start = Instant::now();
    let calls = (0..30).map(|n| match n % 3 {
        0 => owner.get(&path),
        1 => owner.post(TASKS).json(&titled("After")),
        _ => owner.patch(&path).json(&titled("After")),
    });
    for answer in join_all(calls.map(|call| call.send())).await {
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(owner.get(&path).expect(200).await.json()["version"], json!(version + 10));
}

#[tokio::test]
async fn more_requests_than_connections_wait_for_their_turn() {
    let app = TestApp::with(|config| config.database.pool_size = 2).await;
    let owner = app.tenant().await.owner;
    let calls = (0..50).map(|n| match n % 2 {
        0 => owner.get(TASKS).send(),
        _ => owner.post(TASKS).json(&titled("One of many")).send(),
    });
    let answers = join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 25);
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 25);
    assert_eq!(owner.get(TASKS).expect(200).await.json()["meta"]["total"], json!(25));
}

#[tokio::test]
async fn two_servers_that_write_at_once_lose_nothing() {
    let app = TestApp::alone().await;
    let replica = app.replica().await;
    let owner = app.tenant().await.owner;
    let task = owner.task(titled("Counted")).await;
    let path = format!("{TASKS}/{}", task["id"].as_str().unwrap());
    let calls = (0..80).map(|n| {
        let person = owner.at(if n % 2 == 0 { &app } else { &replica });
        match n % 4 {
            0 | 1 => person.post(TASKS).json(&titled(&format!("Task {n}"))),
            _ => person.call(Method::PATCH, &path).json(&titled(&format!("Change {n}"))),
        }
    });
    let answers = join_all(calls.map(|call| call.send())).await;
    for answer in &answers {
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    let versions = answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.json()["version"].as_i64());
    let mut versions: Vec<_> = versions.map(Option::unwrap).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=41).collect::<Vec<_>>(), "every change built on another one");
    assert_eq!(owner.at(&replica).get(TASKS).expect(200).await.json()["meta"]["total"], json!(41));
}
