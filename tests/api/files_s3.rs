//! Files in S3: the same as in a folder, links to the storage itself, and an S3 that is away.
use crate::support::proxy::Proxy;
use crate::support::s3::S3;
use crate::support::{BOUNDARY, Tenant, TestApp, until};
use chrono::Duration;
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

const FILES: &str = "/api/v1/files";
const UPLOADS: &str = "/api/v1/files/uploads";

/// A server for one test, with files in S3.
async fn tenant() -> (Tenant, S3) {
    let s3 = S3::start().await;
    let settings = s3.clone();
    let app = TestApp::with(move |config| settings.configure(config)).await;
    (app.tenant().await, s3)
}

fn path_of(file: &Value) -> String {
    format!("{FILES}/{}", file["id"].as_str().unwrap())
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn clean_up(tenant: &Tenant, by: Duration) {
    tenant.app.clock.advance(by);
    tenant.app.run_jobs().await;
}

/// Sends content to the storage as the answer says, and returns the status.
async fn send(tenant: &Tenant, upload: &Value, content: Vec<u8>) -> u16 {
    let mut request = tenant.app.http.put(upload["url"].as_str().unwrap()).body(content);
    for (name, value) in upload["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn files_live_and_end_there_as_in_a_folder() {
    let (tenant, s3) = tenant().await;
    let owner = &tenant.owner;
    for size in [0, 1000, 5 * 1024 * 1024, 12_000_000] {
        let content: Vec<u8> = (0..=250).cycle().take(size).collect();
        let file = owner.upload("f", content.clone(), &[]).expect(201).await.json();
        let path = format!("{}/content", path_of(&file));
        assert_eq!(owner.get(&path).expect(200).await.body, content, "{size}");
        if size > 100 {
            let part = owner.get(&path).header("range", "bytes=7-99").expect(206).await;
            assert_eq!(part.body, content[7..100]);
        }
        assert_eq!(below(&s3.objects()).len(), 1);
        owner.delete(&path_of(&file)).expect(204).await;
        clean_up(&tenant, Duration::minutes(2)).await;
        assert_eq!(below(&s3.objects()), Vec::<PathBuf>::new());
    }
    owner.upload("f", "x", &[]).expect(201).await;
    owner.delete(&format!("/api/v1/tenant?confirm={}", tenant.slug)).expect(204).await;
    tenant.app.run_jobs().await;
    assert_eq!(below(&s3.objects()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_upload_in_parts_that_breaks_off_leaves_nothing() {
    let (tenant, s3) = tenant().await;
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n");
    let pieces = [Ok::<_, std::io::Error>(head.into_bytes()), Ok(vec![b'x'; 7_000_000])];
    let body = reqwest::Body::wrap_stream(stream::iter(pieces).chain(stream::pending()));
    let call = tenant.owner.post(FILES).body(&format!("multipart/form-data; boundary={BOUNDARY}"), body);
    let sending = tokio::spawn(call.send());
    until("a part of it is stored", async || s3.parts() > 0).await;
    sending.abort();
    until("nothing is left", async || s3.parts() == 0 && below(&s3.objects()).is_empty()).await;
}

#[tokio::test]
async fn a_link_leads_to_the_content_alone() {
    let (tenant, _s3) = tenant().await;
    let file = tenant.owner.upload("한글 \"1\".txt", "some text", &[]).expect(201).await.json();
    let link = tenant.owner.get(&format!("{}/link", path_of(&file))).expect(200).await.json();
    let url = link["url"].as_str().unwrap();
    assert!(url.contains("response-content-disposition=attachment"), "{url}");
    let got = tenant.app.http.get(url).send().await.unwrap();
    assert_eq!((got.status().as_u16(), got.text().await.unwrap().as_str()), (200, "some text"));
    let forged = url.replace("attachment", "inline");
    assert_eq!(tenant.app.http.get(forged).send().await.unwrap().status().as_u16(), 403);
    let viewer = tenant.viewer().await;
    viewer.get(&format!("{}/link", path_of(&file))).expect(404).await;
}

#[tokio::test]
async fn a_client_may_send_a_file_to_the_storage_itself() {
    let (tenant, s3) = tenant().await;
    let editor = tenant.editor().await;
    let task = editor.task(json!({"title": "T"})).await;
    let input = json!({"name": "../plan.txt", "size": 9, "content_type": "text/plain", "task_id": task["id"]});
    let upload = editor.post(UPLOADS).json(&input).expect(200).await.json();
    assert_eq!((&upload["file"]["name"], &upload["method"]), (&json!("plan.txt"), &json!("PUT")));
    let complete = format!("{}/complete", path_of(&upload["file"]));
    let early = editor.post(&complete).send().await;
    assert_eq!(
        (early.status.as_u16(), early.detail()),
        (422, json!({"file": ["has not been sent to the storage yet"]}))
    );
    tenant.owner.post(&complete).expect(404).await; // it is another user's
    assert_eq!(send(&tenant, &upload, b"some text".to_vec()).await, 200);
    editor.get(&path_of(&upload["file"])).expect(404).await; // it is no file yet
    let file = editor.post(&complete).expect(201).await.json();
    assert_eq!((&file["id"], &file["size"], &file["task_id"]), (&upload["file"]["id"], &json!(9), &task["id"]));
    assert_eq!(editor.post(&complete).expect(201).await.json(), file, "a repeat");
    // What is sent to the address later changes nothing, and goes when the address is no longer good.
    assert_eq!(send(&tenant, &upload, b"evil text".to_vec()).await, 200);
    let content = format!("{}/content", path_of(&file));
    assert_eq!(editor.get(&content).expect(200).await.text(), "some text");
    assert_eq!(below(&s3.objects()).len(), 2);
    clean_up(&tenant, Duration::minutes(75)).await;
    assert_eq!(below(&s3.objects()).len(), 1);
}

#[tokio::test]
async fn what_differs_from_what_was_announced_is_removed() {
    let (tenant, s3) = tenant().await;
    let owner = &tenant.owner;
    let announce = async |input: Value| owner.post(UPLOADS).json(&input).expect(200).await.json();
    let picture = announce(json!({"name": "p.png", "size": 9, "content_type": "image/png"})).await;
    assert_eq!(send(&tenant, &picture, b"some text".to_vec()).await, 200);
    let complete = format!("{}/complete", path_of(&picture["file"]));
    let refused = owner.post(&complete).send().await;
    assert_eq!(refused.status, 422);
    assert!(refused.detail()["content_type"][0].as_str().unwrap().contains("text/plain"), "{}", refused.text());
    // Until it is given up, which follows the answer, another request is told to try again.
    until("the upload is given up", async || owner.post(&complete).send().await.status == 404).await;
    let large = json!({"name": "l", "size": 26_214_401});
    assert_eq!(owner.post(UPLOADS).json(&large).send().await.error(), (413, "payload_too_large".into()));
    // One that nobody completes is counted until its time is over.
    announce(json!({"name": "f", "size": 1000})).await;
    let count = format!("SELECT concat('', bytes) FROM stored_bytes WHERE tenant_id = {}", tenant.app.id(tenant.id));
    assert_eq!(tenant.app.rows(&count).await[0][0], "1000");
    clean_up(&tenant, Duration::minutes(75)).await;
    assert_eq!(tenant.app.rows(&count).await[0][0], "0");
    assert_eq!(below(&s3.objects()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_is_sent_while_it_is_completed_does_not_become_the_file() {
    let (tenant, _s3) = tenant().await;
    let owner = &tenant.owner;
    let upload = owner.post(UPLOADS).json(&json!({"name": "f", "size": 9})).expect(200).await.json();
    assert_eq!(send(&tenant, &upload, b"some text".to_vec()).await, 200);
    let complete = format!("{}/complete", path_of(&upload["file"]));
    let (answers, _) = tokio::join!(
        futures_util::future::join_all((0..4).map(|_| owner.post(&complete).send())),
        futures_util::future::join_all((0..8).map(|n| send(&tenant, &upload, format!("evil {n:04}").into_bytes()))),
    );
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!done.is_empty() && answers.iter().all(|answer| [201, 503].contains(&answer.status.as_u16())));
    let file = owner.get(&path_of(&upload["file"])).expect(200).await.json();
    let content = owner.get(&format!("{}/content", path_of(&file))).expect(200).await;
    assert_eq!(content.header("etag"), Some(format!("\"{}\"", sha256(&content.body)).as_str()), "{}", content.text());
}

#[tokio::test]
async fn a_tenants_draft_that_is_sent_after_its_removal_is_removed_too() {
    let (tenant, s3) = tenant().await;
    let upload = tenant.owner.post(UPLOADS).json(&json!({"name": "f", "size": 9})).expect(200).await.json();
    tenant.owner.delete(&format!("/api/v1/tenant?confirm={}", tenant.slug)).expect(204).await;
    tenant.app.run_jobs().await;
    assert_eq!(send(&tenant, &upload, b"some text".to_vec()).await, 200);
    assert_eq!(below(&s3.objects()).len(), 1);
    for _ in 0..3 {
        clean_up(&tenant, Duration::hours(1)).await;
    }
    assert_eq!(below(&s3.objects()), Vec::<PathBuf>::new());
    let count = format!("SELECT concat('', COUNT(*)) FROM tenants WHERE id = {}", tenant.app.id(tenant.id));
    assert_eq!(tenant.app.rows(&count).await[0][0], "0");
}

#[tokio::test]
async fn a_folder_has_no_links() {
    let tenant = TestApp::alone().await.tenant().await;
    let file = tenant.owner.upload("f", "x", &[]).expect(201).await.json();
    let calls = [
        tenant.owner.get(&format!("{}/link", path_of(&file))),
        tenant.owner.post(UPLOADS).json(&json!({"name": "f", "size": 1})),
        tenant.owner.post(&format!("{}/complete", path_of(&file))),
    ];
    for call in calls {
        let refused = call.send().await;
        assert_eq!(refused.status, 422);
        assert!(refused.detail()["storage"].is_array(), "{}", refused.text());
    }
}

#[tokio::test]
async fn while_s3_is_away_only_files_are() {
    let s3 = S3::start().await;
    let proxy = Proxy::to(s3.address).await;
    let (settings, detour) = (s3.clone(), proxy.address);
    let app = TestApp::with(move |config| settings.configure_at(detour, config)).await;
    let tenant = app.tenant().await;
    let owner = &tenant.owner;
    let file = owner.upload("f", "x", &[]).expect(201).await.json();
    let content = format!("{}/content", path_of(&file));
    proxy.refuse();
    for call in [owner.upload("f", "x", &[]), owner.get(&content)] {
        let start = Instant::now();
        assert_eq!(call.send().await.error(), (503, "unavailable".into()));
        assert!(start.elapsed() < std::time::Duration::from_secs(15), "{:?}", start.elapsed());
    }
    owner.get(&path_of(&file)).expect(200).await;
    owner.task(json!({"title": "T"})).await;
    app.visitor().get("/readyz").expect(200).await;
    owner.delete(&path_of(&file)).expect(204).await; // its object goes when S3 is back
    clean_up(&tenant, Duration::minutes(2)).await;
    assert_eq!(below(&s3.objects()).len(), 1);
    proxy.restore();
    for _ in 0..2 {
        clean_up(&tenant, Duration::minutes(75)).await; // the upload that failed, too
    }
    assert_eq!(below(&s3.objects()), Vec::<PathBuf>::new());
    owner.at(&app).get("/readyz").expect(200).await;
}
