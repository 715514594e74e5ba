//! Tests of request bodies with clients on real sockets.
use super::edge;
use super::tests::{DEADLINE, app, options};
use crate::server::serve::testing::{LONG, TestServer, read_some, read_to_end};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

async fn server() -> TestServer {
    TestServer::start(edge(app(), options())).await
}

fn head(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n")
}

/// Posts as the simplest clients do: they write everything before they read.
async fn post(stream: &mut TcpStream, path: &str, size: usize) -> String {
    stream.write_all(head(path, &format!("Content-Length: {size}")).as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; size]).await.expect("all of it is taken");
    read_some(stream).await
}

async fn post_chunked(stream: &mut TcpStream, path: &str, chunks: usize) -> String {
    stream.write_all(head(path, "Transfer-Encoding: chunked").as_bytes()).await.unwrap();
    let chunk = [b"100000\r\n", &vec![b'x'; 1 << 20][..], b"\r\n"].concat();
    for _ in 0..chunks {
        stream.write_all(&chunk).await.expect("all of it is taken");
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_some(stream).await
}

#[track_caller]
fn assert_status(answer: &str, status: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
}

#[tokio::test]
async fn bodies_up_to_the_limit_are_read() {
    let server = server().await;
    let mut stream = server.connect().await;
    for size in [0, 1, 1 << 20] {
        assert!(post(&mut stream, "/echo", size).await.ends_with(&format!("{size} bytes")));
    }
    assert!(post_chunked(&mut stream, "/echo", 1).await.ends_with("1048576 bytes"));
}

#[tokio::test]
async fn the_413_of_a_large_body_is_seen_and_the_connection_lives_on() {
    let server = server().await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        let answer = post(&mut stream, "/echo", 20 << 20).await;
        assert_status(&answer, "413");
        assert!(answer.contains("payload_too_large") && answer.contains("made-id"), "{answer}");
        assert_status(&post_chunked(&mut stream, "/echo", 20).await, "413");
    }
    assert_status(&post(&mut stream, "/echo", (1 << 20) + 1).await, "413");
    assert_status(&post(&mut stream, "/echo", 3).await, "200");
}

#[tokio::test]
async fn http2_clients_see_it_too() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let server = server().await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (path, status) in [("/echo", 413), ("/unread", 401)] {
        let body = http_body_util::Full::new(bytes::Bytes::from(vec![b'x'; 20 << 20]));
        let request = hyper::Request::post(format!("http://x{path}")).body(body).unwrap();
        assert_eq!(timeout(LONG, client.send_request(request)).await.unwrap().unwrap().status(), status);
    }
}

#[tokio::test]
async fn answers_that_need_no_body_are_seen_too() {
    let server = server().await;
    let mut stream = server.connect().await;
    for (path, status) in [("/unread", "401"), ("/unknown/path", "404"), ("/items", "200"), ("/facts", "405")] {
        assert_status(&post(&mut stream, path, 20 << 20).await, status);
        assert_status(&post_chunked(&mut stream, path, 20).await, status);
    }
}

#[tokio::test]
async fn endless_bodies_are_cut_off() {
    let server = server().await;
    let mut stream = server.connect().await;
    stream.write_all(head("/echo", "Transfer-Encoding: chunked").as_bytes()).await.unwrap();
    let chunk = [b"100000\r\n", &vec![b'x'; 1 << 20][..], b"\r\n"].concat();
    let mut taken = 0;
    while taken < 200 && timeout(LONG, stream.write_all(&chunk)).await.expect("cut off").is_ok() {
        taken += 1;
    }
    assert!((30..60).contains(&taken), "{taken} MiB");
}

#[tokio::test]
async fn uploads_ask_for_more_room_and_time() {
    let server = server().await;
    let mut stream = server.connect().await;
    stream.write_all(head("/echo", "X-Transfer: 1\r\nContent-Length: 20971520").as_bytes()).await.unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        stream.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        sleep(DEADLINE / 12).await;
    }
    assert!(began.elapsed() > DEADLINE);
    assert!(read_some(&mut stream).await.ends_with("20971520 bytes"));
    assert_status(&post(&mut stream, "/echo", 20 << 20).await, "413"); // without the header, the usual limit applies
}

#[tokio::test]
async fn stalled_bodies_are_answered_408() {
    let server = server().await;
    for headers in ["Content-Length: 10", "Transfer-Encoding: chunked", "X-Transfer: 1\r\nContent-Length: 10"] {
        let mut stream = server.connect().await;
        let began = Instant::now();
        stream.write_all((head("/echo", headers) + "2\r\nxx\r\n").as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert_status(&answer, "408");
        assert!(answer.contains("request_timeout") && answer.to_lowercase().contains("connection: close"), "{answer}");
        assert!(began.elapsed() < DEADLINE, "the pause counts, not the deadline");
    }
}

#[tokio::test]
async fn our_own_slowness_is_not_the_client_s() {
    let server = server().await;
    let mut stream = server.connect().await;
    stream.write_all(head("/echo", "X-Late: 1\r\nContent-Length: 2").as_bytes()).await.unwrap();
    sleep(DEADLINE * 2 / 3).await; // the endpoint is reading now, after a pause that is longer than a client may make
    stream.write_all(b"xx").await.unwrap();
    assert_status(&read_some(&mut stream).await, "200");
}

#[tokio::test]
async fn trickling_bodies_are_answered_408_at_the_deadline() {
    let server = server().await;
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(head("/echo", "Content-Length: 1000").as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = vec![0; 4096];
    let length = timeout(LONG, tokio::io::AsyncReadExt::read(&mut reader, &mut answer)).await.unwrap().unwrap();
    assert_status(&String::from_utf8_lossy(&answer[..length]), "408");
    assert!(began.elapsed() >= DEADLINE);
    timeout(LONG, trickle).await.expect("closed").unwrap();
}

#[tokio::test]
async fn the_deadline_is_seen_as_503() {
    let answer = server().await.exchange("GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_status(&answer, "503");
}

#[tokio::test]
async fn held_back_bodies_are_refused_unsent() {
    let server = server().await;
    for (path, status) in [("/echo", "413"), ("/unread", "401")] {
        let mut stream = server.connect().await;
        let expecting = head(path, "Expect: 100-continue\r\nContent-Length: 20971520");
        stream.write_all(expecting.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert_status(&answer, status);
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    let mut stream = server.connect().await;
    stream.write_all(head("/echo", "Expect: 100-continue\r\nContent-Length: 2").as_bytes()).await.unwrap();
    assert_status(&read_some(&mut stream).await, "100");
    stream.write_all(b"xx").await.unwrap();
    assert!(read_some(&mut stream).await.ends_with("2 bytes"));
}

#[tokio::test]
async fn a_head_answer_has_headers_only() {
    let server = server().await;
    for path in ["/long", "/short", "/stream", "/panic", "/unknown"] {
        let answer = server.exchange(&format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("content-length: 0"), "{answer}");
    }
}
