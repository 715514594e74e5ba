//! Bodies that no honest client sends, for every operation with a body. Each is refused with the usual error, and the
//! connection stays open.
use crate::support::fixtures::{content_type, encoded};
use crate::support::{Fixtures, Tenant, TestApp};
use bizcenter::contract::{Operation, Request, document, operations};
use serde_json::{Value, json};

pub mod raw;

use raw::RawClient;

const JSON: &str = "application/json";
const DEEP: usize = 100_000;

/// An operation with a body, and the path to send it to.
struct Target {
    operation: Operation,
    request: Request,
    path: String,
}

impl Target {
    fn takes_json(&self) -> bool {
        self.request.media_type == JSON
    }
    fn is_multipart(&self) -> bool {
        self.request.media_type.starts_with("multipart/")
    }
    fn content_type(&self) -> String {
        content_type(&self.request)
    }
    fn example(&self) -> String {
        encoded(&self.request, self.request.example.as_ref().unwrap())
    }
    async fn send(&self, client: &mut RawClient, content_type: &[u8], body: &[u8]) -> raw::Reply {
        client.send_body(&self.operation.method, &self.path, content_type, body).await
    }
}

/// All operations that take a body.
async fn targets(tenant: &Tenant) -> Vec<Target> {
    let (fixtures, mut targets) = (Fixtures::of(tenant), vec![]);
    for operation in operations(document()) {
        let Some(request) = operation.request.clone() else { continue };
        targets.push(Target { path: fixtures.path(&operation).await, request, operation });
    }
    let bodies = document().to_string().matches("\"requestBody\":").count();
    assert_eq!(targets.len(), bodies, "the contract has {bodies} operations that take a body");
    targets
}

async fn tenant() -> Tenant {
    let tenant = TestApp::start().await.tenant().await;
    let owner = tenant.almighty().await; // so that every operation reads its body
    Tenant { owner, ..tenant }
}

async fn client(tenant: &Tenant) -> RawClient {
    RawClient::connect(&tenant.app, tenant.owner.token.as_deref()).await
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
}

/// Bodies that are not JSON, or that JSON parsers read in different ways.
fn unreadable(example: &str) -> Vec<Vec<u8>> {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
    let mut bodies: Vec<Vec<u8>> = [
        nested("[", "]"),
        nested("{\"a\":", "}"),
        nested("[{\"a\":", "}]"),
        format!("{{\"title\":{}}}", nested("[", "]")),
        "[".repeat(DEEP),
        "{\"a\":".repeat(DEEP),
        "\"".to_owned() + &"\\".repeat(DEEP),
        format!("{example}x"),
        format!("{example} {example}"),
        format!("{example},"),
        format!("{example}\0"),
        format!("\u{feff}{example}"),
        example[..example.len() - 1].to_owned(),
        example.replacen(':', ":1,", 1),
        example.replacen('{', "{,", 1),
        example.replacen('"', "'", 2),
        example.replacen('{', "{/* a */", 1),
        format!("{},{}", &example[..example.len() - 1], &example[1..]), // each member twice
        "{\"a\":{\"b\":1,\"b\":1}}".to_owned(),
    ]
    .map(String::into_bytes)
    .into();
    for value in [
        "\"a\0b\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\u12\"",
        "\"\\x41\"",
        "\"a\nb\"",
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "01",
        "+1",
        ".5",
        "1.",
        "0x10",
        "True",
        "undefined",
        "",
    ] {
        bodies.push(format!("{{\"title\":{value}}}").into_bytes());
        bodies.push(value.as_bytes().to_owned());
    }
    for value in
        [b"\"\xff\"".as_slice(), b"\"\xc0\xaf\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\"\xe4\xb8\""]
    {
        bodies.push([b"{\"title\":", value, b"}"].concat());
        bodies.push(value.to_owned());
    }
    bodies.extend([utf16(example, u16::to_le_bytes), utf16(example, u16::to_be_bytes)]);
    bodies.extend([b" \r\n\t".to_vec(), vec![0; 100], b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), b"title=x".to_vec()]);
    bodies.retain(|body| !body.is_empty()); // empty bodies have a test of their own
    bodies
}

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    for target in targets(&tenant).await.iter().filter(|target| target.takes_json()) {
        for body in unreadable(&target.example()) {
            let reply = target.send(&mut client, JSON.as_bytes(), &body).await;
            let start = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            assert_eq!(reply.kind(), (400, "malformed_request".into()), "{}: {start}", target.operation.id);
        }
    }
}

#[tokio::test]
async fn json_that_is_not_an_object_of_the_schema_is_invalid() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    let (null, object, unknown) = ("must not be null", "must be an object", "is not known");
    for target in targets(&tenant).await.iter().filter(|target| target.takes_json()) {
        for (body, at, message) in [
            ("null", "", null),
            ("[]", "", object),
            ("[{}]", "", object),
            ("\"{}\"", "", object),
            ("5", "", object),
            ("-0", "", object),
            ("true", "", object),
            (" \n false\t\r\n", "", object),
            ("{\"\": 1}", "", unknown),
            ("{\"a.b\": 1}", "a.b", unknown),
            ("{\"\\u0000\": 1}", "\0", unknown),
            ("{\"__proto__\": {}}", "__proto__", unknown),
            ("{\"한\": null}", "한", unknown),
        ] {
            let (status, kind, detail) = target.send(&mut client, JSON.as_bytes(), body.as_bytes()).await.error();
            assert_eq!((status, kind.as_str()), (400, "validation_error"), "{}: {body}", target.operation.id);
            assert_eq!(detail[at], json!([message]), "{}: {body}: {detail}", target.operation.id);
        }
    }
}

#[tokio::test]
async fn bodies_of_other_media_types_are_refused_unread() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    for target in targets(&tenant).await {
        let own = target.request.media_type.as_str();
        let other = if target.takes_json() { "application/x-www-form-urlencoded" } else { JSON };
        let utf8 = format!("{own}\u{e9}").into_bytes();
        let multipart = b"multipart/form-data; boundary=x".as_slice();
        let wrong = [
            b"".as_slice(),
            b"text/plain",
            b"text/json",
            b"application/jsonp",
            b"application",
            b"/",
            b"*/*",
            b"application/*",
            b";charset=utf-8",
            if target.is_multipart() { b"multipart/mixed; boundary=x" } else { multipart },
            other.as_bytes(),
            b"application/json\xff",
            &utf8,
        ];
        for wrong in wrong {
            let reply = target.send(&mut client, wrong, target.example().as_bytes()).await;
            let wrong = String::from_utf8_lossy(wrong);
            assert_eq!(reply.kind(), (415, "unsupported_media_type".into()), "{}: {wrong}", target.operation.id);
        }
        for parameters in ["; charset=utf-8", ";charset=\"UTF-8\"", " ; charset=utf-16", "; a=b; c", ";"] {
            let right = format!("{}{parameters}", own.to_uppercase());
            let reply = target.send(&mut client, right.as_bytes(), b"%\xff").await;
            assert_eq!(reply.kind(), (400, "malformed_request".into()), "{}: {right}", target.operation.id);
        }
    }
}

#[tokio::test]
async fn a_body_with_a_content_encoding_is_refused_and_told_what_is_taken() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    for target in targets(&tenant).await {
        let (body, media_type) = (target.example(), target.content_type());
        let (length, media_type) = (format!("Content-Length: {}", body.len()), format!("Content-Type: {media_type}"));
        let lines: [&[&[u8]]; 6] = [
            &[b"Content-Encoding: gzip"],
            &[b"content-encoding: BR"],
            &[b"Content-Encoding: identity, deflate"],
            &[b"Content-Encoding: identity", b"Content-Encoding: zstd"],
            &[b"Content-Encoding: made-up"],
            &[b"Content-Encoding: \xff"],
        ];
        for lines in lines {
            let headers = [&[length.as_bytes(), media_type.as_bytes()][..], lines].concat();
            let (method, path) = (&target.operation.method, target.path.as_bytes());
            let reply = client.call(method, path, &headers, body.as_bytes()).await;
            assert_eq!(reply.kind(), (415, "unsupported_media_type".into()), "{}", target.operation.id);
            assert_eq!(reply.header("accept-encoding"), Some("identity"), "{}", target.operation.id);
        }
        let reply = target.send(&mut client, b"text/plain", body.as_bytes()).await;
        assert_eq!((reply.status, reply.header("accept-encoding")), (415, None), "{}", target.operation.id);
    }
}

#[tokio::test]
async fn what_is_no_content_encoding_of_a_body_is_passed_over() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    let headers = |line: &'static str| [line.as_bytes(), b"Content-Type: application/json", b"Content-Length: 13"];
    for none in ["Content-Encoding: identity", "Content-Encoding: Identity ,, identity", "Content-Encoding:"] {
        let reply = client.call("POST", b"/api/v1/tasks", &headers(none), b"{\"title\":\"x\"}").await;
        assert_eq!(reply.status, 201, "{none}: {}", reply.text());
    }
    let gzip = b"Content-Encoding: gzip".as_slice();
    assert_eq!(client.call("GET", b"/api/v1/tasks", &[gzip], b"").await.status, 200);
    let refresh = client.call("POST", b"/api/v1/auth/refresh", &[gzip, b"Content-Length: 0"], b"").await;
    assert_eq!(refresh.kind().0, 401, "there is no body");
    let old = client.send(&raw_post("/auth/login", "Content-Encoding: gzip"), false).await;
    assert_eq!((old.kind().0, old.header("accept-encoding")), (415, Some("identity")), "by an old path, too");
}

/// A POST without a token to a path that the contract does not have.
fn raw_post(path: &str, header: &str) -> Vec<u8> {
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Type: application/json\r\nContent-Length: 2");
    format!("{head}\r\n\r\n{{}}").into_bytes()
}

#[tokio::test]
async fn a_body_that_is_needed_must_be_there() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    // Signing out needs no body, because the request has an access token.
    let targets = targets(&tenant).await.into_iter().filter(|target| target.operation.id != "auth_logout");
    for target in targets {
        let reply = target.send(&mut client, target.content_type().as_bytes(), b"").await;
        let (status, kind) = reply.kind();
        match (target.request.required, target.takes_json()) {
            (true, is_json) if is_json || target.is_multipart() => {
                assert_eq!((status, kind.as_str()), (400, "malformed_request"), "{}", target.operation.id)
            }
            (true, _) => assert_eq!((status, kind.as_str()), (400, "validation_error"), "{}", target.operation.id),
            (false, _) => assert_eq!((status, kind.as_str()), (401, "unauthenticated"), "{}", target.operation.id),
        }
        let method = &target.operation.method;
        let nothing = client.call(method, target.path.as_bytes(), &[b"Content-Length: 0"], b"").await.kind().0;
        let expected = if target.request.required { 415 } else { 401 };
        assert_eq!(nothing, expected, "{}", target.operation.id);
    }
}

#[tokio::test]
async fn too_large_a_body_is_answered_413_and_the_client_reads_it() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    let large = vec![b' '; 20 << 20];
    let chunk = [b"100000\r\n", &large[..1 << 20], b"\r\n"].concat();
    let chunked = [chunk.repeat(20), b"0\r\n\r\n".to_vec()].concat();
    for target in targets(&tenant).await {
        let (method, path) = (target.operation.method.as_str(), target.path.as_bytes());
        let content_type = format!("Content-Type: {}", target.content_type());
        let length = format!("Content-Length: {}", large.len());
        for (framing, body) in [(length.as_str(), &large), ("Transfer-Encoding: chunked", &chunked)] {
            let reply = client.call(method, path, &[content_type.as_bytes(), framing.as_bytes()], body).await;
            assert_eq!(reply.kind(), (413, "payload_too_large".into()), "{}: {framing}", target.operation.id);
        }
        if target.is_multipart() {
            continue; // a file may be larger: see files.rs
        }
        let limit = [target.example().into_bytes(), vec![b' '; 1 << 20]].concat();
        let just = target.send(&mut client, target.request.media_type.as_bytes(), &limit).await;
        assert_eq!(just.kind(), (413, "payload_too_large".into()), "{}", target.operation.id);
    }
    let body = [b"{\"title\":\"as large as it may be\"", vec![b' '; (1 << 20) - 33].as_slice(), b"}"].concat();
    assert_eq!(body.len(), 1 << 20);
    assert_eq!(client.send_body("POST", "/api/v1/tasks", JSON.as_bytes(), &body).await.status, 201);
}

#[tokio::test]
async fn an_integer_is_written_as_one() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    for (number, message) in [
        ("-0", "must be an integer"),
        ("1e1", "must be an integer"),
        ("20.0", "must be an integer"),
        ("20.5", "must be an integer"),
        ("2147483647", "must be at most 53"),
        ("2147483648", "must be at most 53"),
        ("-2147483649", "must be at least 1"),
        ("9223372036854775807", "must be at most 53"),
        ("9223372036854775808", "must be an integer"),
        ("-9223372036854775809", "must be an integer"),
        ("123456789012345678901234567890", "must be an integer"),
        ("1e308", "must be an integer"),
        ("\"20\"", "must be an integer"),
        ("true", "must be an integer"),
        ("[20]", "must be an integer"),
    ] {
        let body = format!("{{\"title\":\"x\",\"year\":2026,\"week_number\":{number}}}");
        let reply = client.send_body("POST", "/api/v1/tasks", JSON.as_bytes(), body.as_bytes()).await;
        let expected = (400, "validation_error".to_owned(), json!({"week_number": [message]}));
        assert_eq!(reply.error(), expected, "{number}");
    }
}

#[tokio::test]
async fn a_form_is_read_strictly() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    let form = "application/x-www-form-urlencoded";
    let mut send =
        async |body: &[u8]| client.send_body("POST", "/api/v1/auth/token", form.as_bytes(), body).await.error();
    let sign_in = "grant_type=password&password=x&username=";
    for bad in [b"%".as_slice(), b"%4", b"%zz", b"%ff", b"%c3%28", b"%ed%a0%80", b"\xff", b"%u00e9"] {
        let (status, kind, _) = send(&[sign_in.as_bytes(), bad].concat()).await;
        assert_eq!((status, kind.as_str()), (400, "malformed_request"), "{}", String::from_utf8_lossy(bad));
    }
    for (body, detail) in [
        (format!("{sign_in}a%00b"), json!({"username": ["must not contain a NUL character"]})),
        (format!("{sign_in}a&username=b"), json!({"username": ["must be given once"]})),
        (format!("{sign_in}a&&=&x=1&="), json!({"": ["must be given once"]})),
        (
            format!("{sign_in}a").replacen("password", "implicit", 1),
            json!({"grant_type": ["must be one of password, refresh_token"]}),
        ),
        ("{}".to_owned(), Value::Null),
    ] {
        let (status, kind, found) = send(body.as_bytes()).await;
        assert_eq!((status, kind.as_str()), (400, "validation_error"), "{body}");
        assert!(detail.is_null() || found == detail, "{body}: {found}");
    }
}
