//! Files over HTTP: uploads, downloads, who sees them, and what is left when something goes wrong.
use crate::support::{BOUNDARY, Person, Tenant, TestApp, until};
use bizcenter::db::System;
use bizcenter::db::stored_objects::Room;
use bizcenter::services::storage::ObjectName;
use chrono::Duration;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const FILES: &str = "/api/v1/files";

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

fn id_of(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

fn path_of(file: &Value) -> String {
    format!("{FILES}/{}", id_of(file))
}

fn content_of(file: &Value) -> String {
    format!("{}/content", path_of(file))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

/// The files that the server has stored for a tenant.
fn stored(tenant: &Tenant) -> Vec<PathBuf> {
    below(&tenant.app.config.data_dir.join("files").join(tenant.id.to_string()))
}

async fn number(app: &TestApp, sql: &str) -> i64 {
    app.rows(sql).await[0][0].parse().unwrap()
}

/// How many bytes count as stored by the tenant.
async fn counted(tenant: &Tenant) -> i64 {
    let id = tenant.app.id(tenant.id);
    number(&tenant.app, &format!("SELECT concat('', bytes) FROM stored_bytes WHERE tenant_id = {id}")).await
}

/// Runs the job that removes what belongs to no file, which is due once a minute.
async fn clean_up(tenant: &Tenant) {
    tenant.app.clock.advance(Duration::minutes(2));
    tenant.app.run_jobs().await;
}

async fn assert_nothing_left(tenant: &Tenant) {
    until("the upload is gone", async || stored(tenant).is_empty() && counted(tenant).await == 0).await;
    tenant.app.clock.advance(Duration::minutes(6)); // until then its last request to a storage may be under way
    tenant.app.run_jobs().await;
    let id = tenant.app.id(tenant.id);
    let loose = format!("SELECT concat('', COUNT(*)) FROM loose_objects WHERE tenant_id = {id}");
    until("its reservation is gone", async || number(&tenant.app, &loose).await == 0).await;
}

#[tokio::test]
async fn a_file_lives_and_ends() {
    let tenant = TestApp::alone().await.tenant().await;
    let editor = tenant.editor().await;
    let content = b"%PDF-1.7 an offer".to_vec();
    let created = editor.upload("offer.pdf", content.clone(), &[]).expect(201).await;
    let file = created.json();
    let path = path_of(&file);
    assert_eq!(created.header("location"), Some(path.as_str()));
    let expected = json!({
        "id": file["id"], "name": "offer.pdf", "size": content.len(), "content_type": "application/pdf",
        "sha256": sha256(&content), "task_id": null, "meeting_id": null, "contract_id": null,
        "uploaded_by": editor.id(), "version": 1, "created_at": file["created_at"],
    });
    assert_eq!(file, expected);
    assert_eq!(editor.get(&path).expect(200).await.json(), file);
    assert_eq!(editor.get(FILES).expect(200).await.json()["items"], json!([file]));
    assert_eq!(counted(&tenant).await, content.len() as i64);

    let download = editor.get(&content_of(&file)).expect(200).await;
    assert_eq!(download.body, content);
    assert_eq!(download.header("content-type"), Some("application/pdf"));
    assert_eq!(download.header("content-length"), Some("17"));
    assert_eq!(download.header("x-content-type-options"), Some("nosniff"));
    assert!(download.header("content-disposition").unwrap().starts_with("attachment; filename=\"offer.pdf\""));
    let tag = download.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", sha256(&content)));
    editor.get(&content_of(&file)).header("if-none-match", &tag).expect(304).await;

    editor.delete(&path).header("if-match", "\"2\"").expect(412).await;
    editor.delete(&path).expect(204).await;
    for gone in [editor.get(&path), editor.get(&content_of(&file)), editor.delete(&path)] {
        assert_eq!(gone.send().await.error(), (404, "not_found".into()));
    }
    assert_eq!(counted(&tenant).await, 0);
    clean_up(&tenant).await;
    assert_nothing_left(&tenant).await;
}

#[tokio::test]
async fn a_part_of_a_file_is_sent_on_its_own() {
    let owner = tenant().await.owner;
    let content: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let file = owner.upload("bytes", content.clone(), &[]).expect(201).await.json();
    let get = |range: &str| owner.get(&content_of(&file)).header("range", range);
    for (range, part) in [("bytes=0-0", 0..1), ("bytes=1000-150000", 1000..150_001), ("bytes=-5", 199_995..200_000)] {
        let answer = get(range).expect(206).await;
        assert_eq!(answer.body, content[part.clone()], "{range}");
        let expected = format!("bytes {}-{}/200000", part.start, part.end - 1);
        assert_eq!(answer.header("content-range"), Some(expected.as_str()));
        assert_eq!(answer.header("content-length"), Some(part.len().to_string().as_str()));
    }
    assert_eq!(get("bytes=0-1,5-6").expect(200).await.body, content);
    assert_eq!(get("bytes=1-").header("if-range", "\"another\"").expect(200).await.body, content);
    let tag = format!("\"{}\"", file["sha256"].as_str().unwrap());
    assert_eq!(get("bytes=199999-").header("if-range", &tag).expect(206).await.body, content[199_999..]);
    let beyond = get("bytes=200000-").expect(416).await;
    assert_eq!(
        (beyond.error().1.as_str(), beyond.header("content-range")),
        ("range_not_satisfiable", Some("bytes */200000"))
    );
    let empty = owner.upload("empty", "", &[]).expect(201).await.json();
    assert_eq!((&empty["size"], &empty["content_type"]), (&json!(0), &json!("application/octet-stream")));
    assert_eq!(owner.get(&content_of(&empty)).expect(200).await.body, b"");
    owner.get(&content_of(&empty)).header("range", "bytes=0-").expect(416).await;
}

#[tokio::test]
async fn a_file_is_as_visible_as_what_it_belongs_to() {
    let tenant = tenant().await;
    let (owner, editor, viewer) = (&tenant.owner, tenant.editor().await, tenant.viewer().await);
    let (task, meeting) = (owner.task(json!({"title": "T"})).await, owner.meeting(json!({})).await);
    let contract = owner.contract(json!({})).await;
    let upload =
        async |person: &Person, parts: &[(&str, &str)]| person.upload("f", "x", parts).expect(201).await.json();
    let of_task = upload(owner, &[("task_id", id_of(&task))]).await;
    let of_meeting = upload(owner, &[("meeting_id", id_of(&meeting))]).await;
    let of_contract = upload(&editor, &[("contract_id", id_of(&contract))]).await;
    let (of_owner, of_editor) = (upload(owner, &[]).await, upload(&editor, &[("task_id", "")]).await);
    let all = [&of_task, &of_meeting, &of_contract, &of_owner, &of_editor];
    let (admin, analyst) = (tenant.admin().await, tenant.person(bizcenter::auth::Role::Analyst).await);
    for (person, sees) in [
        (owner, [true; 5]),
        (&admin, [true; 5]),
        (&editor, [true, true, true, false, true]),
        (&analyst, [true, true, false, false, false]),
        (&viewer, [true, true, false, false, false]),
    ] {
        let list = person.get(FILES).expect(200).await.json();
        assert_eq!(list["meta"]["total"], json!(sees.iter().filter(|sees| **sees).count()));
        for (file, sees) in all.iter().zip(sees) {
            let status = if sees { 200 } else { 404 };
            person.get(&path_of(file)).expect(status).await;
            person.get(&content_of(file)).expect(status).await;
            assert_eq!(list["items"].as_array().unwrap().contains(file), sees);
        }
    }
    let of = async |query: &str| editor.get(&format!("{FILES}?{query}")).expect(200).await.json()["items"].clone();
    assert_eq!(of(&format!("task_id={}", id_of(&task))).await, json!([of_task]));
    assert_eq!(of(&format!("contract_id={}", id_of(&contract))).await, json!([of_contract]));
    let hidden = format!("{FILES}?contract_id={}", id_of(&contract));
    assert_eq!(viewer.get(&hidden).expect(200).await.json()["meta"]["total"], json!(0));
    // Nobody deletes what they don't see, and editors only what they uploaded.
    editor.delete(&path_of(&of_owner)).expect(404).await;
    editor.delete(&path_of(&of_task)).expect(403).await;
    editor.delete(&path_of(&of_contract)).expect(204).await;
    viewer.upload("f", "x", &[]).expect(403).await;
}

#[tokio::test]
async fn what_a_file_is_to_belong_to_must_be_there_and_be_one() {
    let app = TestApp::alone().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let owner = &tenant.owner;
    let (task, strange) = (owner.task(json!({"title": "T"})).await, other.owner.task(json!({"title": "T"})).await);
    let meeting = owner.meeting(json!({})).await;
    let contract = owner.contract(json!({})).await;
    let refused = async |parts: &[(&str, &str)]| {
        let answer = owner.upload("f", "x", parts).send().await;
        (answer.status.as_u16(), answer.detail())
    };
    let gone = json!({"task_id": ["does not exist"]});
    assert_eq!(refused(&[("task_id", id_of(&strange))]).await, (422, gone.clone()));
    assert_eq!(refused(&[("task_id", id_of(&meeting))]).await, (422, gone));
    let two = [("task_id", id_of(&task)), ("meeting_id", id_of(&meeting))];
    let one = "must not be given: a file belongs to one record";
    assert_eq!(refused(&two).await, (400, json!({"meeting_id": [one]})));
    assert_eq!(refused(&[("task_id", "x")]).await.0, 400);
    assert_eq!(refused(&[("title", "x")]).await, (400, json!({"title": ["is not known"]})));
    let twice = [("task_id", id_of(&task)), ("task_id", id_of(&task))];
    assert_eq!(refused(&twice).await, (400, json!({"task_id": ["must be given once"]})));
    let editor = tenant.editor().await;
    editor.upload("f", "x", &[("contract_id", id_of(&contract))]).expect(201).await;
    let none =
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"task_id\"\r\n\r\n\r\n--{BOUNDARY}--\r\n");
    let none = owner.post(FILES).body(&format!("multipart/form-data; boundary={BOUNDARY}"), none).send().await;
    assert_eq!((none.status.as_u16(), none.detail()), (400, json!({"file": ["is required"]})));
    until("refused uploads leave nothing", async || stored(&tenant).len() == 1).await;
}

#[tokio::test]
async fn with_a_record_its_files_go() {
    let tenant = TestApp::alone().await.tenant().await;
    let owner = &tenant.owner;
    let task = owner.task(json!({"title": "T"})).await;
    let meeting = owner.meeting(json!({})).await;
    let contract = owner.contract(json!({})).await;
    let things =
        [("task_id", &task, "tasks"), ("meeting_id", &meeting, "meetings"), ("contract_id", &contract, "contracts")];
    for (member, thing, list) in things {
        let owner = tenant.app.visitor().sign_in(&tenant.owner.email()).await; // the clock goes on below
        let part = [(member, id_of(thing))];
        let files = join_all((0..2).map(|_| owner.upload("f", "12345", &part).expect(201))).await;
        assert_eq!(counted(&tenant).await, 10);
        let path = format!("/api/v1/{list}/{}", id_of(thing));
        owner.delete(&path).expect(204).await;
        for file in files {
            owner.get(&path_of(&file.json())).expect(404).await;
        }
        let entry = format!("/api/v1/audit-logs?q={}&per_page=1", id_of(thing));
        let entry = owner.get(&entry).expect(200).await.json()["items"][0].clone();
        assert_eq!(entry["changes"]["files"], json!([2, null]), "{entry}");
        clean_up(&tenant).await;
        assert_nothing_left(&tenant).await;
    }
}

#[tokio::test]
async fn a_name_does_no_harm() {
    let owner = tenant().await.owner;
    let decomposed = "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}.txt";
    for (given, safe) in [
        ("../../etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: x=1.txt", "a%0D%0ASet-Cookie_ x=1.txt"),
        ("\u{202e}gnp.exe", "gnp.exe"),
        ("NUL.txt", "_NUL.txt"),
        (decomposed, "한글.txt"),
        ("", "file"),
    ] {
        let file = owner.upload(given, "x", &[]).expect(201).await.json();
        assert_eq!(file["name"], json!(safe), "{given:?}");
        let answer = owner.get(&content_of(&file)).expect(200).await;
        assert!(answer.header("set-cookie").is_none());
        assert!(answer.header("content-disposition").unwrap().is_ascii());
    }
    let long = owner.upload(&format!("{}.pdf", "n".repeat(300)), "x", &[]).expect(201).await.json();
    assert!(long["name"].as_str().unwrap().len() <= 200 && long["name"].as_str().unwrap().ends_with("n.pdf"));
}

#[tokio::test]
async fn too_large_a_file_is_refused_while_it_arrives() {
    let app = TestApp::with(|config| config.storage.max_upload_bytes = 100_000).await;
    let tenant = app.tenant().await;
    let owner = &tenant.owner;
    let refused = owner.upload("f", vec![0; 100_001], &[]).send().await;
    assert_eq!(refused.error(), (413, "payload_too_large".into()));
    // Of unknown length: as a stream.
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n");
    let pieces = std::iter::once(head.into_bytes()).chain((0..200).map(|_| vec![b'x'; 100_000]));
    let body = reqwest::Body::wrap_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)));
    let refused = owner.post(FILES).body(&format!("multipart/form-data; boundary={BOUNDARY}"), body).send().await;
    assert_eq!(refused.error(), (413, "payload_too_large".into()));
    assert_nothing_left(&tenant).await;
    owner.upload("f", vec![0; 100_000], &[]).expect(201).await;
}

#[tokio::test]
async fn a_tenant_has_so_much_room() {
    let app = TestApp::with(|config| config.storage.tenant_quota_bytes = 3000).await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let upload = |size| tenant.owner.upload("f", vec![0; size], &[]);
    let first = upload(2000).expect(201).await.json();
    let refused = upload(1500).send().await;
    assert_eq!(refused.error(), (507, "storage_full".into()));
    assert!(refused.detail()["size"][0].as_str().unwrap().contains("3000"), "{}", refused.text());
    other.owner.upload("f", vec![0; 2000], &[]).expect(201).await;
    tenant.owner.delete(&path_of(&first)).expect(204).await;
    upload(2000).expect(201).await;
    // Of many at once, no more get in than fit.
    let results = join_all((0..6).map(|_| upload(200).send())).await;
    let stored = results.iter().filter(|answer| answer.status == 201).count();
    assert!(results.iter().all(|answer| [201, 507].contains(&answer.status.as_u16())));
    until("only files count", async || counted(&tenant).await == 2000 + 200 * stored as i64).await;
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing() {
    let tenant = TestApp::alone().await.tenant().await;
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n");
    let pieces =
        stream::iter([Ok::<_, std::io::Error>(head.into_bytes()), Ok(vec![b'x'; 300_000])]).chain(stream::pending());
    let body = reqwest::Body::wrap_stream(pieces);
    let call = tenant.owner.post(FILES).body(&format!("multipart/form-data; boundary={BOUNDARY}"), body);
    let sending = tokio::spawn(call.send());
    until("a part of it is stored", async || stored(&tenant).iter().any(|path| path.metadata().unwrap().len() > 0))
        .await;
    assert!(counted(&tenant).await > 0, "room is reserved");
    sending.abort();
    assert_nothing_left(&tenant).await;
}

#[tokio::test]
async fn what_a_server_that_died_has_left_is_removed() {
    let tenant = TestApp::alone().await.tenant().await;
    let app = &tenant.app;
    let (db, storage) = (app.parts.db.clone(), app.parts.storage.clone());
    let id = tenant.id;
    // As if the server had died after it had written the object.
    let died = async move {
        let room = Room { wanted: 500, needed: 500, quota: 1000, lifetime: Duration::minutes(70) };
        let reserved = db.reserve(&System::of(id.into()), room, None).await.unwrap();
        let mut writing = storage.write(ObjectName { tenant: reserved.tenant, file: reserved.id }, 500).await.unwrap();
        writing.push(vec![0; 100].into()).await.unwrap();
        writing.finish().await.unwrap();
    };
    app.by_hand(died).await;
    app.run_jobs().await;
    assert_eq!((stored(&tenant).len(), counted(&tenant).await), (1, 500), "it may still be under way");
    app.clock.advance(Duration::minutes(71));
    app.run_jobs().await;
    assert_nothing_left(&tenant).await;
}

#[tokio::test]
async fn with_a_tenant_its_files_go() {
    let tenant = TestApp::alone().await.tenant().await;
    tenant.owner.upload("f", "x", &[]).expect(201).await;
    assert_eq!(stored(&tenant).len(), 1);
    tenant.owner.delete(&format!("/api/v1/tenant?confirm={}", tenant.slug)).expect(204).await;
    tenant.app.run_jobs().await;
    assert_eq!(stored(&tenant), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn those_who_may_no_longer_see_a_file_find_nothing_of_it_in_their_export() {
    let tenant = tenant().await;
    let editor = tenant.editor().await;
    let contract = tenant.owner.contract(json!({})).await;
    editor.upload("the price.pdf", "x", &[("contract_id", id_of(&contract))]).expect(201).await;
    let own = async || editor.get("/api/v1/users/me/export").expect(200).await.text();
    assert!(own().await.contains("the price.pdf"));
    let path = format!("/api/v1/users/{}", editor.id());
    tenant.owner.patch(&path).json(&json!({"role": "viewer"})).expect(200).await;
    let export = own().await;
    assert!(export.contains("\"subject_kind\":\"file\"") && !export.contains("the price.pdf"), "{export}");
}

#[tokio::test]
async fn uploads_and_deletions_of_one_record_do_not_get_in_each_others_way() {
    let tenant = TestApp::alone().await.tenant().await;
    let owner = &tenant.owner;
    for _ in 0..5 {
        let task = owner.task(json!({"title": "T"})).await;
        let part = [("task_id", id_of(&task))];
        let file = owner.upload("f", "12345", &part).expect(201).await.json();
        let path = format!("/api/v1/tasks/{}", id_of(&task));
        let uploads = join_all((0..4).map(|_| owner.upload("f", "12345", &part).send()));
        let file_path = path_of(&file);
        let (uploads, task, file) = tokio::join!(uploads, owner.delete(&path).send(), owner.delete(&file_path).send());
        for upload in uploads {
            assert!([201, 422].contains(&upload.status.as_u16()), "{}", upload.text());
        }
        assert_eq!(task.status, 204, "{}", task.text());
        assert!([204, 404].contains(&file.status.as_u16()), "{}", file.text());
    }
    clean_up(&tenant).await;
    assert_nothing_left(&tenant).await;
}
