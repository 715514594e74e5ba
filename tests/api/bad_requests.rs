//! Requests that no honest client sends: paths, queries, methods and headers. Each gets an answer with the usual error
//! body.
use crate::bad_input::raw::{RawClient, Reply};
use crate::support::fixtures::filled;
use crate::support::{Fixtures, Tenant, TestApp};
use bizcenter::contract::{document, operations};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

async fn client(tenant: &Tenant) -> RawClient {
    // No operation is forbidden to this person, so each of them reads its request.
    RawClient::connect(&tenant.app, tenant.almighty().await.token.as_deref()).await
}

async fn get(client: &mut RawClient, target: impl AsRef<[u8]>) -> Reply {
    client.call("GET", target.as_ref(), &[], b"").await
}

/// The methods of each path in the contract.
fn paths() -> BTreeMap<String, BTreeSet<String>> {
    let mut paths: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for operation in operations(document()) {
        paths.entry(operation.path).or_default().insert(operation.method);
    }
    assert_eq!(paths.len(), document()["paths"].as_object().unwrap().len());
    paths
}

#[tokio::test]
async fn every_path_says_which_methods_it_has() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    for (path, mut methods) in paths() {
        let target = filled(&path, |_| tenant.id.to_string());
        methods.insert("OPTIONS".to_owned());
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        let allow = methods.iter().cloned().collect::<Vec<_>>().join(", ");
        let all =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "get", "Post", "PROPFIND", "M-SEARCH"];
        let is_old_path = |method: &str| (method, path.as_str()) == ("GET", "/api/v1/auth/logout");
        for method in all.into_iter().filter(|method| !methods.contains(*method) && !is_old_path(method)) {
            let reply = client.call(method, target.as_bytes(), &[], b"").await;
            assert_eq!((reply.status, reply.header("allow")), (405, Some(allow.as_str())), "{method} {path}");
            if method != "HEAD" {
                assert_eq!(reply.error(), (405, "method_not_allowed".into(), json!({})), "{method} {path}");
            }
        }
        let options = client.call("OPTIONS", target.as_bytes(), &[], b"").await;
        assert_eq!((options.status, options.header("allow")), (204, Some(allow.as_str())), "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let tenant = tenant().await;
    let (fixtures, mut client) = (Fixtures::of(&tenant), client(&tenant).await);
    let paths = paths().into_iter().filter(|(path, methods)| methods.contains("GET") && !path.ends_with("/export"));
    for (path, _) in paths {
        let target = fixtures.make(&path).await.path;
        let get = get(&mut client, &target).await;
        let head = client.call("HEAD", target.as_bytes(), &[], b"").await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "etag"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        assert!(head.header("content-length").is_some(), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    for path in [
        "/nope",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/tasks",
        "/api/v1/tasks//",
        "//api/v1/tasks",
        "/api//v1/tasks",
        "/api/v1//tasks",
        "//",
        "/api/v1/Tasks",
        "/API/v1/tasks",
        "/api/v1/tasks;a=b",
        "/api/v1/tasks%20",
        "/api/v1/../v1/tasks",
        "/api/v1/./tasks",
        "/api/v1/tasks/../tasks",
        "/../../../etc/passwd",
        "/..",
        "/.",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/docs/../../etc/passwd",
        "/docs/..%2f..%2fetc%2fpasswd",
        "/docs/%00",
        "/docs/nope",
        "/..%5c..%5cwindows",
        "/api%2Fv1%2Ftasks",
        "/api/v1/tasks%2Fexport",
        "/api/v1/auth",
        "/%",
        "/%zz",
        "/%00",
        "/api/v1/tasks%00",
        "/.env",
        "/.git/config",
        "/api/v1/tasks/a/b",
        "/한국",
        "/api/v1/{task_id}/x",
        "/:param0",
    ] {
        for method in ["GET", "POST", "OPTIONS", "BREW"] {
            let reply = client.call(method, path.as_bytes(), &[], b"").await;
            assert_eq!(reply.error(), (404, "not_found".into(), json!({})), "{method} {path}");
        }
        assert_eq!(client.call("HEAD", path.as_bytes(), &[], b"").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn ids_in_paths_have_one_form() {
    let tenant = tenant().await;
    let task = tenant.owner.task(json!({"title": "x"})).await;
    let id = task["id"].as_str().unwrap();
    let mut client = client(&tenant).await;
    let upper = get(&mut client, format!("/api/v1/tasks/{}", id.to_uppercase())).await;
    assert_eq!(serde_json::from_slice::<Value>(&upper.body).unwrap(), task);
    let forms = [
        id.replace('-', ""),
        format!("{{{id}}}"),
        format!("%7B{id}%7D"),
        format!("urn:uuid:{id}"),
        format!("{id}%20"),
        format!("%20{id}"),
        format!("{id}%00"),
        format!("{id}%0A"),
        id[..35].to_owned(),
        format!("{id}0"),
        id.replace('-', "_"),
        id.replacen('0', "g", 1),
        "0".to_owned(),
        "-1".to_owned(),
        "null".to_owned(),
        "..%2f".to_owned(),
        "%".to_owned(),
        "%zz".to_owned(),
        "한".to_owned(),
        "%ED%95%9C".to_owned(),
        "a".repeat(10_000),
        "'%20OR%201=1--".to_owned(),
        "*".to_owned(),
    ];
    // The only parameter that is not an id is the name of a calendar feed. Any wrong name gets 404.
    let has_id = |path: &str| path.contains('{') && path != "/calendar/{file}";
    for (path, methods) in paths().into_iter().filter(|(path, _)| has_id(path)) {
        let name = path.split(['{', '}']).nth(1).unwrap();
        for form in &forms {
            for method in &methods {
                let target = filled(&path, |_| form.clone());
                let (headers, body): (&[&[u8]], &[u8]) = match method.as_str() {
                    "PUT" | "PATCH" => {
                        (&[b"Content-Type: application/json", b"Content-Length: 13"], b"{\"title\":\"x\"}")
                    }
                    _ => (&[], b""),
                };
                let reply = client.call(method, target.as_bytes(), headers, body);
                let (status, kind, detail) = reply.await.error();
                assert_eq!((status, kind.as_str()), (400, "validation_error"), "{method} {path} {form}");
                assert_eq!(detail, json!({name: ["is not valid"]}), "{method} {path} {form}");
            }
        }
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_malformed() {
    let mut client = client(&tenant().await).await;
    for (method, path) in [
        ("GET", "/%ff"),
        ("GET", "/api/v1/tasks/%ff"),
        ("PATCH", "/api/v1/tasks/%ed%a0%80"),
        ("DELETE", "/api/v1/auth/sessions/a%c3"),
    ] {
        let reply = client.call(method, path.as_bytes(), &[], b"").await;
        assert_eq!(reply.kind(), (400, "malformed_request".into()), "{method} {path}");
    }
}

#[tokio::test]
async fn queries_are_read_strictly() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    for path in ["/api/v1/tasks", "/api/v1/tasks/export", "/api/v1/auth/sessions"] {
        for query in [
            "q=%",
            "q=%4",
            "q=%zz",
            "%zz=1",
            "q=%ff",
            "q=%c3%28",
            "q=%ed%a0%80",
            "q=%u00e9",
            "%ff",
            "q=a%c3&q=%a9",
            "a=b%",
        ] {
            let reply = get(&mut client, format!("{path}?{query}")).await;
            assert_eq!(reply.kind(), (400, "malformed_request".into()), "{path}?{query}");
        }
        for (query, name, message) in [
            ("=", "", "is not known"),
            ("&x&", "x", "is not known"),
            ("%00=1", "\0", "is not known"),
            ("cursor=%00", "cursor", "must not contain a NUL character"),
            ("q[]=a", "q[]", "is not known"),
            ("한=1", "한", "is not known"),
            ("+=1", " ", "is not known"),
            ("a;b=1", "a;b", "is not known"),
        ] {
            if name == "cursor" && path.ends_with("export") {
                continue;
            }
            let (status, kind, detail) = get(&mut client, format!("{path}?{query}")).await.error();
            assert_eq!((status, kind.as_str()), (400, "validation_error"), "{path}?{query}");
            assert_eq!(detail, json!({name: [message]}), "{path}?{query}");
        }
        for size in [8_000, 60_000] {
            let reply = get(&mut client, format!("{path}?x={}", "a".repeat(size))).await;
            assert_eq!(reply.error(), (400, "validation_error".into(), json!({"x": ["is not known"]})));
        }
        let many = "x&".repeat(25_000);
        assert_eq!(get(&mut client, format!("{path}?{many}")).await.kind(), (400, "validation_error".into()));
    }
    for query in
        ["", "?", "?&", "?&&&", "?q", "?q=", "?q=a+b%20c", "?%71=x", "?q=한", "?q=%ED%95%9C", "?tag=%26%3D", "?q=a=b"]
    {
        assert_eq!(get(&mut client, format!("/api/v1/tasks{query}")).await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn header_bytes_that_are_no_text_do_no_harm() {
    let tenant = tenant().await;
    let task = tenant.owner.task(json!({"title": "x"})).await;
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    let mut client = client(&tenant).await;
    let values =
        [b"\xff\xfe".as_slice(), "é한".as_bytes(), b"\x80", b"a\tb", b"", b",,,;;;===", b"\"", &[b'a'; 30_000]];
    for value in values {
        for (name, status) in [
            ("Accept", 200),
            ("Accept-Encoding", 200),
            ("Accept-Language", 200),
            ("User-Agent", 200),
            ("Origin", 200),
            ("Cookie", 200),
            ("X-Forwarded-For", 200),
            ("X-Forwarded-Proto", 200),
            ("Forwarded", 200),
            ("X-Request-Id", 200),
            ("If-None-Match", 200),
            ("Range", 200),
            ("If-Modified-Since", 200),
            ("Traceparent", 200),
            ("X-Made-Up", 200),
            ("Content-Type", 200),
        ] {
            let header = [name.as_bytes(), b": ", value].concat();
            let reply = client.call("GET", path.as_bytes(), &[&header], b"").await;
            assert_eq!(reply.status, status, "{name}: {}", String::from_utf8_lossy(value));
            assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), task);
        }
        let header = [b"If-Match: ", value].concat();
        assert_eq!(
            client.call("DELETE", path.as_bytes(), &[&header], b"").await.kind(),
            (412, "precondition_failed".into())
        );
        let mut visitor = RawClient::connect(&tenant.app, None).await;
        for scheme in ["", "Bearer ", "bearer  ", "Basic "] {
            let header = [b"Authorization: ", scheme.as_bytes(), value].concat();
            let reply = visitor.call("GET", path.as_bytes(), &[&header], b"").await;
            assert_eq!((reply.kind().0, reply.header("www-authenticate")), (401, Some("Bearer")));
        }
    }
}

#[tokio::test]
async fn a_client_that_accepts_problem_json_gets_it() {
    let tenant = tenant().await;
    let mut client = client(&tenant).await;
    let json = b"Content-Type: application/json".as_slice();
    let large = vec![b' '; 2 << 20];
    for (method, target, content_type, body, status, kind) in [
        ("GET", "/api/v1/tasks?x=1", None, b"".as_slice(), 400, "validation_error"),
        ("GET", "/api/v1/tasks/x", None, b"", 400, "validation_error"),
        ("POST", "/api/v1/tasks", Some(json), b"{", 400, "malformed_request"),
        ("GET", "/nope", None, b"", 404, "not_found"),
        ("BREW", "/api/v1/tasks", None, b"", 405, "method_not_allowed"),
        ("POST", "/api/v1/tasks", Some(json), &large, 413, "payload_too_large"),
        ("POST", "/api/v1/tasks", None, b"{}", 415, "unsupported_media_type"),
        ("POST", "/api/v1/tasks", Some(json), b"{\"title\":\"x\",\"year\":2026}", 422, "unprocessable"),
        (
            "POST",
            "/api/v1/auth/login",
            Some(json),
            b"{\"email\":\"a@b.cd\",\"password\":\"x\"}",
            401,
            "invalid_credentials",
        ),
    ] {
        let length = format!("Content-Length: {}", body.len());
        for accept in [
            "application/problem+json",
            "application/json;q=0.5, application/problem+json",
            "text/html, Application/Problem+JSON",
        ] {
            let accept = format!("Accept: {accept}");
            let headers = [Some(accept.as_bytes()), Some(length.as_bytes()), content_type];
            let reply =
                client.call(method, target.as_bytes(), &headers.into_iter().flatten().collect::<Vec<_>>(), body).await;
            assert_eq!(
                reply.header("content-type"),
                Some("application/problem+json"),
                "{method} {target}: {}",
                reply.text()
            );
            let problem: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, &problem["status"]), (status, &json!(status)));
            assert_eq!((&problem["error_type"], &problem["type"]), (&json!(kind), &json!("about:blank")));
            assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["errors"].is_object());
            assert_eq!(problem["request_id"].as_str(), reply.header("x-request-id"));
        }
        let accept = [b"Accept: */*".as_slice(), length.as_bytes()];
        let headers: Vec<_> = accept.into_iter().chain(content_type).collect();
        assert_eq!(client.call(method, target.as_bytes(), &headers, body).await.kind(), (status, kind.to_owned()));
    }
}

/// Requests that are not valid HTTP, or have too large a head, are answered before they reach an endpoint.
#[tokio::test]
async fn what_is_not_http_is_answered_and_the_server_goes_on() {
    let tenant = tenant().await;
    let line = |line: &str| format!("{line}\r\nHost: x\r\n\r\n").into_bytes();
    let get = |headers: &str| format!("GET /health HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n").into_bytes();
    let long = format!("GET /?{} HTTP/1.1", "a".repeat(100_000));
    for (request, status) in [
        (line("GET /a b HTTP/1.1"), 400),
        (line("GET  HTTP/1.1"), 400),
        (line("GET /\u{1} HTTP/1.1"), 400),
        (line("GET /<> HTTP/1.1"), 400),
        (line("G\u{e9}T / HTTP/1.1"), 400),
        (line("GET / HTTP/9.9"), 400),
        (line("GET / FTP/1.1"), 400),
        (line(&long), 414),
        (get(&"a: b\r\n".repeat(101)), 431),
        (get(&format!("a: {}", "b".repeat(100_000))), 431),
        (get("a : b"), 400),
        (get("a"), 400),
        (get(": b"), 400),
        (get("a: b\0c"), 400),
        (get("Content-Length: -1"), 400),
        (get("Content-Length: x"), 400),
        (get("Content-Length: 1\r\nContent-Length: 2"), 400),
        (get("Transfer-Encoding: gzip"), 400),
    ] {
        let mut client = RawClient::connect(&tenant.app, None).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let reply = client.send(&request, false).await;
        assert_eq!(reply.error(), (status, "malformed_request".into(), json!({})), "{shown}");
        for header in ["x-request-id", "x-process-time", "x-content-type-options", "date"] {
            assert!(reply.header(header).is_some(), "{shown}: no {header}");
        }
        assert_eq!((reply.header("connection"), reply.header("cache-control")), (Some("close"), Some("no-store")));
    }
    tenant.owner.get("/api/v1/tasks").expect(200).await;
}
