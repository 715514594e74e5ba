//! Uploads that are large, and uploads that are slow.
use super::{Account, MIB, Server, bystanders, figure, is_full_size, p99, size};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const END: &[u8] = b"\r\n--edge--\r\n";

/// Begins an upload of a file of this many bytes.
async fn begin(server: &Server, account: &Account, bytes: u64) -> TcpStream {
    let part = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big.bin\"\r\n\r\n";
    let length = part.len() as u64 + bytes + END.len() as u64;
    let head = format!(
        "POST /api/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {length}\r\n\r\n{part}",
        account.token
    );
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The body of the answer, after the end of the file.
async fn end(mut stream: TcpStream) -> Value {
    stream.write_all(END).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 201"), "{answer}");
    serde_json::from_str(body).unwrap()
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that no storage could compress.
fn piece(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..MIB / 8).flat_map(next).collect()
}

/// Uploads a file and returns what is known of it, with its SHA-256 as it was sent.
async fn upload(server: &Server, account: &Account, pieces: u64) -> (Value, String) {
    let (mut stream, mut hash) = (begin(server, account, pieces * MIB).await, Sha256::new());
    for number in 0..pieces {
        let piece = piece(number);
        hash.update(&piece);
        stream.write_all(&piece).await.unwrap();
    }
    (end(stream).await, hexadecimal(hash))
}

async fn download(account: &Account, file: &Value) -> String {
    let mut answer = account.get(&format!("/api/v1/files/{}/content", file["id"].as_str().unwrap())).await;
    let mut hash = Sha256::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        hash.update(&chunk);
    }
    hexadecimal(hash)
}

#[tokio::test]
async fn a_large_file_goes_up_and_down_in_little_memory() {
    let Some(server) = Server::start(&[("MAX_UPLOAD_BYTES", "2147483648")]).await else { return };
    let account = server.account("large").await;
    let (small, _) = upload(&server, &account, 1).await; // to warm up
    download(&account, &small).await;
    let (before, most, is_over) = (server.memory(), AtomicU64::new(0), AtomicBool::new(false));
    let gauge = async {
        while !is_over.load(Ordering::Relaxed) {
            most.fetch_max(server.memory(), Ordering::Relaxed);
            sleep(Duration::from_millis(20)).await; // between two measurements
        }
    };
    let pieces = size(16, 1024) as u64;
    let transfers = async {
        let began = Instant::now();
        let (file, sent) = upload(&server, &account, pieces).await;
        let (up, began) = (began.elapsed(), Instant::now());
        let received = download(&account, &file).await;
        is_over.store(true, Ordering::Relaxed);
        (file, sent, received, up, began.elapsed())
    };
    let ((file, sent, received, up, down), ()) = tokio::join!(transfers, gauge);
    let grown = most.into_inner().saturating_sub(before);
    figure!("{pieces} MiB up in {up:?}, down in {down:?}; memory {} MiB, grown by {} MiB", before / MIB, grown / MIB);
    assert_eq!((file["sha256"].as_str().unwrap(), received), (&*sent, sent.clone()));
    assert!(grown < 32 * MIB, "the memory grew by {} MiB", grown / MIB);
}

#[tokio::test]
async fn slow_uploads_starve_nobody() {
    let Some(server) = Server::start(&[]).await else { return };
    let mut others = vec![];
    for index in 0..3 {
        let other = server.account(&format!("bystander-{index}")).await;
        other.fill("/api/v1/tasks", json!({"title": "Short"}), 30).await;
        others.push(other);
    }
    let lasting = Duration::from_secs(size(1, 15) as u64);
    let (mut calm, errors) = bystanders(&others, lasting).await;
    assert_eq!(errors, 0);
    let mut slow = vec![];
    for tenant in 0..9 {
        let account = server.account(&format!("slow-{tenant}")).await;
        for _ in 0..6 {
            slow.push(begin(&server, &account, 10 * MIB).await);
        }
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let trickle = join_all(slow.into_iter().map(async |mut stream| {
        while !is_over.load(Ordering::Relaxed) {
            stream.write_all(&[0; 1024]).await.unwrap(); // 10 KiB a second
            sleep(Duration::from_millis(100)).await; // the pace of a bad line
        }
        stream
    }));
    let watched = async {
        let found = bystanders(&others, lasting).await;
        let (file, sent) = upload(&server, &others[0], 1).await;
        assert_eq!(file["sha256"], sent, "others upload as well");
        is_over.store(true, Ordering::Relaxed);
        found
    };
    let ((mut attacked, errors), slow) = tokio::join!(watched, trickle);
    let (calm, attacked) = (p99(&mut calm), p99(&mut attacked));
    figure!("{} slow uploads: others' p99 {calm:?} without, {attacked:?} with", slow.len());
    assert_eq!(errors, 0, "others got errors of the server");
    if is_full_size() {
        assert!(attacked <= calm * 5, "the others' p99 rose from {calm:?} to {attacked:?}");
    }
}
