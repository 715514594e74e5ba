use super::testing::{LONG, SHORT, TestServer, options, read_some, read_to_end};
use super::*;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use poem::{Request, Response, endpoint};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `/` answers at once, `/slow` after a while, `/huge` with more than any buffer takes.
fn app() -> impl Endpoint + 'static {
    endpoint::make(|request: Request| async move {
        match request.uri().path() {
            "/slow" => sleep(SHORT * 3).await,
            "/huge" => return Ok(Response::builder().body(vec![0; 64 << 20])),
            _ => {}
        }
        Ok::<_, poem::Error>(Response::builder().body(format!("hello {}", request.remote_addr())))
    })
}

/// How long the server waits for a client that sends these bytes and then nothing.
async fn timeouts_with(bytes: &[u8]) -> Duration {
    let server = TestServer::start_with(app(), ServeOptions { header_timeout: SHORT, ..options() }, LONG).await;
    let mut stream = server.connect().await;
    let began = Instant::now();
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await;
    began.elapsed()
}

#[tokio::test]
async fn clients_that_ask_nothing_are_closed() {
    let settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for silence in [b"", &PREFACE[..5], &PREFACE[..23], b"GET / HTTP/1.1\r\nHost:", &settings] {
        let waited = timeouts_with(silence).await;
        assert!((SHORT..SHORT * 4).contains(&waited), "{waited:?} for {:?}", String::from_utf8_lossy(silence));
    }
}

#[tokio::test]
async fn a_trickle_does_not_buy_time() {
    let server = TestServer::start_with(app(), ServeOptions { header_timeout: SHORT, ..options() }, LONG).await;
    let mut stream = server.connect().await;
    let began = Instant::now();
    let mut open = true;
    for byte in GET.bytes().cycle().take(60) {
        open &= stream.write_all(&[if byte == b'\n' { b'x' } else { byte }]).await.is_ok();
        sleep(SHORT / 10).await;
    }
    assert!(!open, "still open after {:?}", began.elapsed());
}

#[tokio::test]
async fn idle_connections_are_closed_but_not_at_once() {
    let server = TestServer::start_with(app(), options(), SHORT * 2).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert!(read_some(&mut stream).await.contains("hello"));
        sleep(SHORT).await;
    }
    let began = Instant::now();
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(began.elapsed() < SHORT * 4);
}

#[tokio::test]
async fn a_request_may_take_longer_than_an_idle_connection() {
    let server = TestServer::start_with(app(), ServeOptions { header_timeout: SHORT, ..options() }, SHORT).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_some(&mut stream).await.contains("hello"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let one = ServeOptions { max_connections: 1, ..options() };
    let server = TestServer::start_with(app(), one, LONG).await;
    let mut lazy = server.connect().await;
    lazy.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = timeout(LONG / 2, server.exchange("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
    assert!(answer.expect("the lazy one's slot").contains("hello"));
}

#[tokio::test]
async fn the_endpoint_knows_its_peer() {
    let server = TestServer::start(app()).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let expected = format!("hello socket://{}", stream.local_addr().unwrap());
    assert!(read_some(&mut stream).await.ends_with(&expected));
}

type Http2Client = hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>>;

async fn http2(server: &TestServer) -> (Http2Client, tokio::task::JoinHandle<hyper::Result<()>>) {
    let io = TokioIo::new(server.connect().await);
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn ask(client: &mut Http2Client, path: &str) -> hyper::Result<bytes::Bytes> {
    let uri = format!("http://x{path}");
    let response = client.send_request(hyper::Request::get(uri).body(Empty::new()).unwrap()).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_and_closed_when_idle() {
    let server = TestServer::start_with(app(), options(), SHORT).await;
    let (mut client, connection) = http2(&server).await;
    assert!(ask(&mut client, "/").await.unwrap().starts_with(b"hello"));
    assert!(ask(&mut client, "/slow").await.unwrap().starts_with(b"hello"));
    timeout(LONG, connection).await.expect("closed").unwrap().expect("with a goodbye");
}

#[tokio::test]
async fn at_the_cap_newcomers_wait_while_all_are_busy() {
    let server = TestServer::start_with(app(), ServeOptions { max_connections: 1, ..options() }, LONG).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(SHORT / 2).await;
    let mut second = server.connect().await; // the kernel accepts this one, but the server waits
    second.write_all(GET.as_bytes()).await.unwrap();
    assert!(timeout(SHORT, read_some(&mut second)).await.is_err());
    assert!(read_some(&mut first).await.contains("hello"));
    assert!(read_some(&mut second).await.contains("hello"), "the first is at rest: it makes room");
    assert_eq!(read_to_end(&mut first).await, "");
}

#[tokio::test]
async fn over_http2_a_stream_that_nobody_reads_is_ended_alone() {
    let server = TestServer::start(app()).await;
    let io = TokioIo::new(server.connect().await);
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.initial_stream_window_size(1024).handshake(io).await.unwrap();
    tokio::spawn(connection);
    let huge = hyper::Request::get("http://x/huge").body(Empty::<bytes::Bytes>::new()).unwrap();
    let unread = client.send_request(huge).await.unwrap();
    sleep(SHORT * 3).await; // a frame may wait for SHORT
    assert!(ask(&mut client, "/").await.unwrap().starts_with(b"hello"), "the connection goes on");
    assert!(unread.into_body().collect().await.is_err(), "the whole answer was still there");
}

#[tokio::test]
async fn a_drain_finishes_what_has_begun() {
    let server = TestServer::start(app()).await;
    let (mut busy, mut idle, mut silent) = (server.connect().await, server.connect().await, server.connect().await);
    idle.write_all(GET.as_bytes()).await.unwrap();
    read_some(&mut idle).await;
    let (mut client, _connection) = http2(&server).await;
    let over_http2 = tokio::spawn(async move { ask(&mut client, "/slow").await });
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(SHORT).await;

    let began = Instant::now();
    server.stop.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(began.elapsed() < SHORT, "those that ask nothing go at once");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody new");
    assert!(read_to_end(&mut busy).await.contains("hello"));
    assert!(over_http2.await.unwrap().unwrap().starts_with(b"hello"));
    timeout(SHORT * 5, server.task).await.expect("in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let endless = endpoint::make(|_| async { std::future::pending::<poem::Result<Response>>().await });
    let server = TestServer::start_with(endless, ServeOptions { drain_timeout: SHORT, ..options() }, LONG).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    sleep(SHORT / 2).await;
    server.stop.cancel();
    timeout(SHORT * 3, server.task).await.expect("in time").unwrap().unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
}

/// The status line of the answer to a request that the server refuses. The rest of the answer is checked here.
async fn refused(server: &TestServer, request: &str) -> String {
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for line in
        ["content-type: application/json", "x-request-id: made-id", "connection: close", "cache-control: no-store"]
    {
        assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
    }
    assert_eq!(head.lines().filter(|line| line.starts_with("date: ")).count(), 1, "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["error"]["type"], &body["error"]["request_id"]),
        (&"malformed_request".into(), &"made-id".into())
    );
    head.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn heads_have_a_size_limit_that_is_told_in_the_one_error_body() {
    let server = TestServer::start(app()).await;
    let get = |headers: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n");
    let too_large = "HTTP/1.1 431 Request Header Fields Too Large";
    for size in [70_000, 100_000, 1_000_000] {
        assert_eq!(refused(&server, &get(&format!("X-Big: {}", "x".repeat(size)))).await, too_large);
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(size));
        assert_eq!(refused(&server, &long).await, "HTTP/1.1 414 URI Too Long");
    }
    assert_eq!(refused(&server, &get(&"a: b\r\n".repeat(101))).await, too_large);
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_the_one_error_body() {
    let server = TestServer::start(app()).await;
    for line in ["GET /a b HTTP/1.1", "G\u{e9}T / HTTP/1.1", "GET / HTTP/9.9", "GET /\u{1} HTTP/1.1"] {
        let request = format!("{line}\r\nHost: x\r\n\r\n");
        assert_eq!(refused(&server, &request).await, "HTTP/1.1 400 Bad Request", "{line}");
    }
}

#[tokio::test]
async fn requests_before_one_that_is_refused_have_their_own_answers() {
    let server = TestServer::start(app()).await;
    // Behind other requests, hyper reads beyond its limit for a while. The edge refuses heads that hyper then accepts.
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "x".repeat(400_000));
    let answers = server.exchange(&[GET, GET, &head].concat()).await;
    assert_eq!((answers.matches("HTTP/1.1 200").count(), answers.matches("hello").count()), (2, 2), "{answers}");
    // If the earlier answers were still being written when the request line came, its end was not noticed.
    let is_refused = ["HTTP/1.1 431", "HTTP/1.1 414"].iter().any(|status| answers.contains(status));
    assert!(is_refused && answers.ends_with('}'), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 3);

    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert!(read_some(&mut stream).await.contains("hello"));
    }
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 400"));
}
