//! Tests of the edge without a socket. `body_tests` has those that need one.
use super::*;
use crate::base::error::Detail;
use crate::base::request::{ClientIp, ForwardedScheme, RequestId};
use crate::server::copies::Copies;
use crate::server::unsent::Unsent;
use poem::http::{HeaderMap, HeaderName};
use poem::web::sse::{Event, SSE};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, RequestParts, Route, endpoint, get};
use serde_json::{Value, json};
use std::sync::LazyLock;

pub const DEADLINE: Duration = Duration::from_millis(600);

/// Endpoints that behave in all the ways that an edge has to handle.
pub fn app() -> impl Endpoint + 'static {
    Route::new()
        .at("/items", get(endpoint::make_sync(|_| "[]")).post(endpoint::make_sync(|_| "made")))
        .at("/echo", poem::post(endpoint::make(echo)))
        .at("/unread", poem::post(endpoint::make(|_| async { Err::<(), poem::Error>(Error::Unauthenticated.into()) })))
        .at("/:case", get(endpoint::make(case)))
}

/// Reads the body. If reading fails, the cause is hidden.
async fn echo(mut request: Request) -> poem::Result<String> {
    if let Some(limit) = request.data::<BodyLimit>().filter(|_| request.headers().contains_key("x-transfer")) {
        limit.transfer(64 << 20);
    }
    if request.headers().contains_key("x-late") {
        tokio::time::sleep(DEADLINE / 2).await;
    }
    let bytes = request.take_body().into_bytes().await.map_err(|_| Error::Malformed("hidden".into()))?;
    Ok(format!("{} bytes", bytes.len()))
}

async fn case(request: Request) -> poem::Result<Response> {
    let status = |code: u16| Response::builder().status(StatusCode::from_u16(code).unwrap());
    let file = || status(200).content_type("text/csv").header("ETag", "\"5\"");
    let long = "x".repeat(5000);
    Ok(match request.uri().path() {
        "/panic" => panic!("the secret"),
        "/error" => return Err(Error::unprocessable("title", "is bad").into()),
        "/data" => Error::Conflict(Detail::of("name", "is taken")).as_response(),
        "/poem-error" => return Err(poem::Error::from_string("the secret", StatusCode::BAD_GATEWAY)),
        "/slow" => {
            tokio::time::sleep(DEADLINE * 4).await;
            status(200).finish()
        }
        "/html" => status(418).content_type("text/html").header("X-Kept", "1").body("<secret>"),
        "/not-ready" => status(503).content_type("application/json").body("{\"database\":\"down\"}"),
        "/range" => status(416).header("Content-Range", "bytes */5").finish(),
        "/bare-401" => status(401).finish(),
        "/long" => file().body(long),
        "/short" => file().body("x".repeat(500)),
        "/stream" => file().body(Body::from_async_read(std::io::Cursor::new(long))),
        "/part" => file().status(StatusCode::PARTIAL_CONTENT).header("Content-Range", "bytes 0-4999/9999").body(long),
        "/file" => {
            let mut response = file().body(COPIES.plain().clone());
            response.set_data(&*COPIES);
            response
        }
        "/packed" => file().header("Content-Encoding", "gzip").body(long),
        "/final" => file().header("Cache-Control", "public, no-transform").body(long),
        "/picture" => status(200).content_type("image/png").body(long),
        "/none" => status(204).finish(),
        "/not-modified" => status(304).header("ETag", request.header("If-None-Match").unwrap_or_default()).finish(),
        "/events" => SSE::new(futures_util::stream::iter([Event::message(long)])).into_response(),
        "/page" => status(200).header("Content-Security-Policy", "x").header("Cache-Control", "public").body("p"),
        "/facts" => facts(&request).into_response(),
        _ => return Err(poem::error::NotFoundError.into()),
    })
}

/// A file with copies that no compressor makes. If an answer contains one of them, nothing was compressed for it.
static COPIES: LazyLock<Copies> =
    LazyLock::new(|| Copies::built("x".repeat(5000).leak(), b"made by brotli", b"made by gzip"));

fn facts(request: &Request) -> String {
    let id = request.data::<RequestId>().map(|RequestId(id)| id.as_str());
    let ip = request.data::<ClientIp>().map(|ClientIp(ip)| ip.to_string());
    let https = request.data::<ForwardedScheme>().map(ForwardedScheme::is_https);
    json!([id, ip, https, request.header("If-Match"), request.header("If-Range")]).to_string()
}

pub fn options() -> EdgeOptions {
    let allow = |path: &str| match path {
        "/items" => Some("GET, HEAD, POST".to_owned()),
        "/echo" | "/unread" => Some("POST".to_owned()),
        _ => None,
    };
    EdgeOptions {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        max_body_bytes: 1 << 20,
        request_timeout: DEADLINE,
        cors: Origins::None,
        exposed_headers: HeaderValue::from_static("ETag, Idempotency-Replayed"),
        hsts: true,
        ids: Arc::new(|| "made-id".to_owned()),
        allow: Arc::new(allow),
        old_paths: false,
        unsent: Unsent::new(1 << 28),
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let all = self.headers.get_all(name);
        assert!(all.iter().count() < 2, "{name} twice");
        all.iter().next().map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        assert_eq!(self.header("content-type"), "application/json");
        let body = self.json();
        assert_eq!(body["error"]["request_id"], self.header("x-request-id"));
        format!("{} {}", self.status, body["error"]["type"].as_str().unwrap())
    }

    fn varies_by_origin(&self) -> bool {
        self.vary().contains(&"Origin")
    }

    fn vary(&self) -> Vec<&str> {
        self.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
    }
}

async fn ask_with(cors: Origins, ask: &str, headers: &[(&str, &str)]) -> Answer {
    let (method, path) = ask.split_once(' ').unwrap();
    let mut builder = poem::http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    let peer = RemoteAddr(Addr::SocketAddr("10.0.0.1:1".parse().unwrap()));
    let parts = RequestParts::from((parts, LocalAddr::default(), peer, poem::http::uri::Scheme::HTTP));
    let edge = edge(app(), EdgeOptions { cors, ..options() });
    let (parts, body) = edge.call(Request::from_parts(parts, Body::empty())).await.unwrap().into_parts();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.into_vec().await.unwrap() }
}

async fn ask(ask: &str, headers: &[(&str, &str)]) -> Answer {
    ask_with(Origins::None, ask, headers).await
}

#[tokio::test]
async fn every_error_has_the_one_body() {
    for (path, expected) in [
        ("GET /unknown", "404 not_found"),
        ("GET /%00", "404 not_found"),
        ("GET /%ff%00", "400 malformed_request"),
        ("PUT /items", "405 method_not_allowed"),
        ("BREW /items", "405 method_not_allowed"),
        ("GET /panic", "500 internal_error"),
        ("GET /error", "422 unprocessable"),
        ("GET /data", "409 conflict"),
        ("GET /poem-error", "502 unavailable"),
        ("GET /slow", "503 unavailable"),
        ("GET /html", "418 malformed_request"),
        ("GET /range", "416 range_not_satisfiable"),
        ("GET /bare-401", "401 unauthenticated"),
    ] {
        let answer = ask(path, &[]).await;
        assert_eq!(answer.kind(), expected, "{path}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{path}");
    }
    assert_eq!(ask("GET /not-ready", &[]).await.json(), json!({"database": "down"}), "an answer in its own right");
}

#[tokio::test]
async fn errors_keep_their_facts_and_headers() {
    let detail = |answer: &Answer| answer.json()["error"]["detail"].clone();
    assert_eq!(detail(&ask("GET /error", &[]).await), json!({"title": ["is bad"]}));
    assert_eq!(detail(&ask("GET /data", &[]).await), json!({"name": ["is taken"]}));
    assert_eq!(ask("PUT /items", &[]).await.header("allow"), "GET, HEAD, POST");
    assert_eq!(ask("GET /range", &[]).await.header("content-range"), "bytes */5");
    assert_eq!(ask("GET /html", &[]).await.header("x-kept"), "1");
    assert_eq!(ask("GET /bare-401", &[]).await.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn problem_json_is_for_those_who_prefer_it() {
    for (accept, preferred) in [
        ("application/problem+json", true),
        ("application/problem+json, */*", true),
        ("application/json;q=0.5, application/problem+json", true),
        ("application/json, application/problem+json", false),
        ("application/problem+json;q=0.1, */*", false),
        ("application/problem+json;q=0", false),
        ("*/*", false),
        ("é", false),
    ] {
        let answer = ask("GET /error", &[("Accept", accept)]).await;
        assert_eq!(answer.header("content-type") == "application/problem+json", preferred, "{accept}");
    }
    let problem = ask("GET /error", &[("Accept", "application/problem+json")]).await.json();
    assert_eq!((&problem["status"], &problem["errors"]), (&json!(422), &json!({"title": ["is bad"]})));
}

#[tokio::test]
async fn request_ids_are_taken_over_if_they_are_sane() {
    let long = "x".repeat(128);
    for id in ["a", "Ab-9_.z", &long] {
        let answer = ask("GET /facts", &[("X-Request-Id", id)]).await;
        assert_eq!((answer.header("x-request-id"), &answer.json()[0]), (id, &json!(id)));
    }
    let longer = "x".repeat(129);
    for garbage in ["", "a b", "<x>", "é", "a\"", &longer] {
        let answer = ask("GET /facts", &[("X-Request-Id", garbage)]).await;
        assert_eq!((answer.header("x-request-id"), &answer.json()[0]), ("made-id", &json!("made-id")));
    }
    let time: f64 = ask("GET /unknown", &[]).await.header("x-process-time").parse().unwrap();
    assert!((0.0..1.0).contains(&time));
}

#[tokio::test]
async fn endpoints_learn_who_asks() {
    let answer = ask("GET /facts", &[("X-Forwarded-For", "6.6.6.6, 192.0.2.1"), ("X-Forwarded-Proto", "https")]).await;
    assert_eq!(answer.json(), json!(["made-id", "192.0.2.1", true, null, null]));
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(ask("GET /facts", &[]).await.header("strict-transport-security"), "");
}

#[tokio::test]
async fn browsers_are_told_to_be_careful() {
    for path in ["GET /items", "GET /unknown", "GET /panic", "OPTIONS /items", "GET /none"] {
        let answer = ask(path, &[]).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.headers.contains_key("permissions-policy"));
    }
    let page = ask("GET /page", &[]).await;
    assert_eq!((page.header("content-security-policy"), page.header("cache-control")), ("x", "public"));
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let answer = ask("HEAD /long", &[]).await;
    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "5000", 0));
    let answer = ask("HEAD /unknown", &[]).await;
    assert_eq!((answer.status, answer.body.len()), (404, 0));
    assert!(answer.header("content-length").parse::<usize>().unwrap() > 50);
    assert_eq!(ask("HEAD /echo", &[]).await.status, 405);
}

#[tokio::test]
async fn options_lists_the_methods_of_a_path() {
    let answer = ask("OPTIONS /items", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (204, "GET, HEAD, POST"));
    assert_eq!(ask("OPTIONS /unknown", &[]).await.kind(), "404 not_found");
}

const PAGE: &str = "https://app.example.com";

fn listed() -> Origins {
    Origins::List(vec!["https://other.example.com".into(), PAGE.into()])
}

fn cors_headers(answer: &Answer) -> Vec<&HeaderName> {
    answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).collect()
}

#[tokio::test]
async fn listed_origins_may_read_answers() {
    for path in ["GET /items", "GET /unknown", "GET /panic"] {
        let answer = ask_with(listed(), path, &[("Origin", PAGE)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(answer.header("access-control-expose-headers"), "ETag, Idempotency-Replayed");
        assert!(answer.varies_by_origin());
    }
}

#[tokio::test]
async fn foreign_origins_are_served_without_permission() {
    for origin in
        ["https://evil.example.com", "https://app.example.com.evil.com", "HTTPS://APP.EXAMPLE.COM", "null", "é"]
    {
        let answer = ask_with(listed(), "GET /items", &[("Origin", origin)]).await;
        assert_eq!((answer.status, cors_headers(&answer), answer.varies_by_origin()), (200, vec![], true), "{origin}");
        let preflight = [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
        assert!(cors_headers(&ask_with(listed(), "OPTIONS /items", &preflight).await).is_empty());
    }
    assert!(ask_with(listed(), "GET /items", &[]).await.varies_by_origin(), "caches need it on every answer");
    let answer = ask("GET /items", &[("Origin", PAGE)]).await;
    assert_eq!((cors_headers(&answer), answer.varies_by_origin()), (vec![], false), "CORS is off");
}

#[tokio::test]
async fn any_origin_goes_without_credentials() {
    let answer = ask_with(Origins::Any, "GET /items", &[("Origin", "é")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn preflights_are_answered() {
    let preflight = [("Origin", PAGE), ("Access-Control-Request-Method", "POST")];
    let answer = ask_with(listed(), "OPTIONS /items", &preflight).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, PAGE));
    assert_eq!(answer.header("access-control-allow-methods"), "GET, HEAD, POST");
    assert!(answer.header("access-control-allow-headers").contains("X-API-Key"));
    assert_eq!(answer.header("access-control-max-age"), "600");
}

#[tokio::test]
async fn answers_are_compressed_where_it_helps() {
    for (accept, coding) in [
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("*", "br"),
        ("*;q=0.5, br;q=0", "gzip"),
        ("gzip;q=0", ""),
        ("zstd, é", ""),
        ("", ""),
    ] {
        let answer = ask("GET /long", &[("Accept-Encoding", accept)]).await;
        assert_eq!((answer.header("content-encoding"), answer.vary()), (coding, vec!["Accept-Encoding"]), "{accept}");
        assert_eq!(answer.body.len() < 1000, !coding.is_empty());
    }
    assert_eq!(ask("GET /stream", &[("Accept-Encoding", "gzip")]).await.header("content-encoding"), "gzip");
}

#[tokio::test]
async fn a_file_is_not_compressed_anew_for_each_client() {
    for (accept, coding, copy) in [("gzip", "gzip", "made by gzip"), ("br, gzip;q=0.5", "br", "made by brotli")] {
        let answer = ask("GET /file", &[("Accept-Encoding", accept)]).await;
        assert_eq!((answer.header("content-encoding"), &answer.body[..]), (coding, copy.as_bytes()));
        assert_eq!(
            (answer.header("etag"), answer.vary()),
            (format!("\"5--{coding}\"").as_str(), vec!["Accept-Encoding"])
        );
    }
    for accept in ["", "identity", "gzip;q=0"] {
        let answer = ask("GET /file", &[("Accept-Encoding", accept)]).await;
        assert_eq!((answer.header("content-encoding"), answer.body.len(), answer.header("etag")), ("", 5000, "\"5\""));
    }
}

#[tokio::test]
async fn some_answers_are_never_compressed() {
    for path in ["/short", "/part", "/final", "/picture", "/none", "/not-modified", "/events", "/unknown"] {
        let answer = ask(&format!("GET {path}"), &[("Accept-Encoding", "gzip, br")]).await;
        assert_eq!(answer.header("content-encoding"), "", "{path}");
    }
    assert_eq!(ask("GET /packed", &[("Accept-Encoding", "gzip, br")]).await.header("content-encoding"), "gzip");
    let [head, get] = [
        ask("HEAD /long", &[("Accept-Encoding", "gzip")]).await,
        ask("GET /long", &[("Accept-Encoding", "gzip")]).await,
    ];
    assert_eq!(head.header("content-encoding"), "gzip");
    assert_eq!(head.header("content-length"), get.body.len().to_string(), "as GET, but no body");
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn a_compressed_copy_has_a_tag_of_its_own_that_still_matches() {
    let tag = async |accept| ask("GET /long", &[("Accept-Encoding", accept)]).await.header("etag").to_owned();
    assert_eq!([tag("").await, tag("gzip").await, tag("br").await], ["\"5\"", "\"5--gzip\"", "\"5--br\""]);
    let seen = ask("GET /facts", &[("If-Match", "\"4--br\", \"5--gzip\""), ("If-Range", "\"5--gzip\"")]).await.json();
    assert_eq!((&seen[3], &seen[4]), (&json!("\"4\", \"5\""), &json!("\"5--gzip\"")));
    for held in ["\"5\"", "\"5--gzip\"", "\"5--br\""] {
        assert_eq!(ask("GET /not-modified", &[("If-None-Match", held)]).await.header("etag"), held);
    }
}
