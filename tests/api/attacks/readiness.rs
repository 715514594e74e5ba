//! A burst of probes, which are not rate-limited.
use super::{Server, figure, size};
use futures_util::stream::{self, StreamExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn a_burst_of_probes_asks_the_database_once_a_second() {
    let Some(server) = Server::start(&[]).await else { return };
    let reader = server.account("reader").await;
    let (url, count) = (format!("{}/readyz", server.address), size(3000, 40_000));
    let before = server.metric("bizcenter_readiness_looks_total").await;
    let (began, is_over) = (Instant::now(), AtomicBool::new(false));
    let burst = async {
        let probe = |_| async { server.http.get(&url).send().await.unwrap().status() };
        let statuses: Vec<_> = stream::iter(0..count).map(probe).buffer_unordered(64).collect().await;
        is_over.store(true, Ordering::Relaxed);
        statuses
    };
    let reads = async {
        let mut statuses = vec![];
        while !is_over.load(Ordering::Relaxed) {
            statuses.push(reader.get("/api/v1/tasks").await.status());
            sleep(Duration::from_millis(10)).await; // the pace of a reader
        }
        statuses
    };
    let (probes, reads) = tokio::join!(burst, reads);
    let (took, looks) = (began.elapsed(), server.metric("bizcenter_readiness_looks_total").await - before);
    figure!("{count} probes in {took:?}: the database was asked {looks} times, {} reads meanwhile", reads.len());
    assert!(looks >= 1 && looks <= took.as_secs() + 1, "{looks} times in {took:?}");
    assert!(probes.iter().all(|status| *status == 200));
    assert!(!reads.is_empty() && reads.iter().all(|status| *status == 200), "{reads:?}");
}
