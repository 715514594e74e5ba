//! A disk that is nearly full, or full. The long form mounts a file system of its own, which needs root
//! (`scripts/prove`).
use crate::support::{TestApp, TestDatabase};
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

const TASKS: &str = "/api/v1/tasks";
const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn uploads_leave_room_for_the_database() {
    let app = TestApp::with(|config| config.storage.min_free_bytes = 1 << 50).await;
    let owner = app.tenant().await.owner;
    assert_eq!(owner.upload("f", "x", &[]).send().await.error(), (507, "storage_full".into()));
    owner.post(TASKS).json(&json!({"title": "There is room for this"})).expect(201).await;
    owner.get(TASKS).expect(200).await;
}

/// A file system in memory, which is gone when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(folder: &Path, bytes: u64) -> Self {
        let options = format!("size={bytes}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).status().unwrap();
        assert!(mount.success(), "this needs root");
        Self(folder.to_owned())
    }
}
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Writes a file until the disk is full, or until it has this size.
fn fill(path: &Path, bytes: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    for _ in 0..bytes / 4096 {
        match file.write_all(&[b'x'; 4096]) {
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            written => written.unwrap(),
        }
    }
}

#[tokio::test]
async fn on_a_full_disk_reads_go_on_and_changes_are_told() {
    if std::env::var_os("TEST_PROVE").is_none() {
        return; // the short form is above
    }
    let database = TestDatabase::create().await;
    let is_sqlite = database.url.starts_with("sqlite");
    let folder = database.folder.path().to_owned();
    let _mounted = Mounted::at(&folder, 64 * MIB);
    let app = TestApp::on(database, |config| config.storage.min_free_bytes = 16 * MIB).await;
    let owner = app.tenant().await.owner;
    let file = owner.upload("f", vec![b'x'; 1_000_000], &[]).expect(201).await.json();
    let content = format!("/api/v1/files/{}/content", file["id"].as_str().unwrap());
    let task = owner.task(json!({"title": "T"})).await;
    let path = format!("{TASKS}/{}", task["id"].as_str().unwrap());

    // Nearly full: uploads are refused, and one that is under way is broken off.
    let large = owner.upload("large", vec![b'x'; 25_000_000], &[]).expect(201).await.json();
    assert_eq!(owner.upload("f", vec![b'x'; 25_000_000], &[]).send().await.error(), (507, "storage_full".into()));
    fill(&folder.join("others"), 40 * MIB);
    assert_eq!(owner.upload("f", "x", &[]).send().await.error(), (507, "storage_full".into()));
    if is_sqlite {
        fill(&folder.join("the rest"), 64 * MIB);
        let mut refused = 0;
        for n in 0..200 {
            // SQLite uses the room in its files before it asks for more.
            let answer = owner.post(TASKS).json(&json!({"title": "T", "description": "x".repeat(5000)})).send().await;
            assert!([201, 507].contains(&answer.status.as_u16()), "{n}: {}", answer.text());
            refused += usize::from(answer.status == 507);
        }
        assert!(refused > 100, "{refused}");
    }
    owner.get(&path).expect(200).await;
    owner.get(TASKS).expect(200).await;
    assert_eq!(owner.get(&content).expect(200).await.body.len(), 1_000_000);
    for name in ["others", "the rest"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    owner.task(json!({"title": "There is room again"})).await;
    owner.delete(&format!("/api/v1/files/{}", large["id"].as_str().unwrap())).expect(204).await;
    app.clock.advance(chrono::Duration::minutes(75));
    app.run_jobs().await;
    let stored = Command::new("find").arg(folder.join("files")).args(["-type", "f"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(stored).unwrap().lines().count(), 1, "the first file alone");
}
