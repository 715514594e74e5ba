//! The most expensive searches for the database, by one tenant.
use super::{Account, Server, bystanders, figure, is_full_size, p99, size};
use crate::support::{Kind, is_for, until};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A search for which the database compares nearly the whole pattern at each position of the texts below.
fn worst_query() -> String {
    format!("/api/v1/tasks?q={}b", "a".repeat(198))
}

async fn attacker(server: &Server, tasks: usize) -> Account {
    let account = server.account("attacker").await;
    account.fill("/api/v1/tasks", json!({"title": "Long", "description": "a".repeat(10_000)}), tasks).await;
    account
}

#[tokio::test]
async fn searches_of_one_tenant_take_nothing_from_the_others() {
    let Some(server) = Server::start(&[]).await else { return };
    let attacker = attacker(&server, size(200, 3000)).await;
    let mut others = vec![];
    for index in 0..3 {
        let other = server.account(&format!("bystander-{index}")).await;
        other.fill("/api/v1/tasks", json!({"title": "Short"}), 30).await;
        others.push(other);
    }
    let lasting = Duration::from_secs(size(1, 15) as u64);
    let (mut calm, errors) = bystanders(&others, lasting).await;
    assert_eq!(errors, 0);
    let (is_over, slow, answered) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0), AtomicUsize::new(0));
    let attack = join_all((0..40).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            let response = attacker.get(&worst_query()).await;
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap();
            match status {
                200 => {}
                503 if body["error"]["detail"]["q"].is_array() => drop(slow.fetch_add(1, Ordering::Relaxed)),
                503 => {} // the search waited too long for its turn
                status => panic!("{status}: {body}"),
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let gauge = async {
        let mut most = (0, 0);
        while !is_over.load(Ordering::Relaxed) {
            most.0 = most.0.max(server.metric("bizcenter_queue_turns{queue=\"long_reads\"}").await);
            most.1 = most.1.max(server.metric("bizcenter_queue_turns_of_one{queue=\"long_reads\"}").await);
            sleep(Duration::from_millis(20)).await; // between two measurements
        }
        most
    };
    let watched = async {
        let searches = async || server.metric("bizcenter_queue_waiting{queue=\"long_reads\"}").await > 0;
        until("the searches fill the queue", searches).await;
        let found = bystanders(&others, lasting).await;
        is_over.store(true, Ordering::Relaxed);
        found
    };
    let ((mut attacked, errors), most, _) = tokio::join!(watched, gauge, attack);
    let (calm, attacked, answers) = (p99(&mut calm), p99(&mut attacked), answered.into_inner());
    let slow = slow.into_inner();
    figure!(
        "40 searches at a time: others' p99 {calm:?} without, {attacked:?} with; {answers} answered, {slow} too slow"
    );
    assert_eq!(errors, 0, "others got errors of the server");
    assert_eq!(most, (1, 1), "of ten connections two are for long reads, one for one tenant");
    assert!(answers > 0);
    if is_full_size() {
        assert!(attacked <= calm * 5, "the others' p99 rose from {calm:?} to {attacked:?}");
    }
}

#[tokio::test]
async fn on_sqlite_slow_searches_end_with_their_requests() {
    if !is_for(Kind::Sqlite, "the other databases stop statements by themselves") {
        return;
    }
    let Some(server) = Server::start(&[("BIZCENTER_SERVER__REQUEST_TIMEOUT_SECONDS", "3")]).await else { return };
    let attacker = attacker(&server, size(500, 20_000)).await;
    let began = Instant::now();
    let searches = join_all((0..6).map(|_| async {
        let response = attacker.get(&worst_query()).await;
        (response.status().as_u16(), began.elapsed(), response.text().await.unwrap())
    }));
    let answers = searches.await;
    figure!("six slow searches: {:?}", answers.iter().map(|(status, took, _)| (status, took)).collect::<Vec<_>>());
    for (status, took, text) in &answers {
        assert!(*took < Duration::from_secs(5), "{status} after {took:?}: {text}");
        assert!([200, 503].contains(status), "{text}");
    }
    let began = Instant::now();
    assert_eq!(attacker.get("/api/v1/auth/me").await.status(), 200);
    assert!(began.elapsed() < Duration::from_secs(1), "a statement went on after its request");

    // If a client disconnects, its statement ends long before the deadline.
    let left = tokio::time::timeout(Duration::from_millis(300), attacker.get(&worst_query())).await;
    assert!(left.is_err(), "the search was too fast to be left");
    let began = Instant::now();
    while server.metric("bizcenter_queue_turns{queue=\"long_reads\"}").await > 0 {
        assert!(began.elapsed() < Duration::from_secs(1), "a statement went on after its client had left");
        sleep(Duration::from_millis(10)).await;
    }
}
