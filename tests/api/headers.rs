//! Headers as they really arrive: next to headers of other programs, changed by proxies, over HTTP/1.1 and HTTP/2. Also
//! the headers of answers that pages of other origins may read.
use crate::bad_input::raw::RawClient;
use crate::support::{PASSWORD, Person, Tenant, TestApp};
use bizcenter::config::{Config, Origins};
use bizcenter::contract::{document, operations};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REFRESH: &str = "/api/v1/auth/refresh";
const LOGIN: &str = "/api/v1/auth/login";
const PAGE: &str = "https://app.example.com";

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

/// A client that uses HTTP/2 from its first byte.
fn http2() -> reqwest::Client {
    reqwest::Client::builder().http2_prior_knowledge().build().unwrap()
}

fn of_bytes(value: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(value).unwrap()
}

// --- what stands beside ours

#[tokio::test]
async fn cookies_of_others_do_not_hide_ours() {
    let Tenant { app, owner, .. } = tenant().await;
    let mut token = owner.refresh_token();
    for others in ["city=서울; ", "city=\u{e9}; ; =; x; ", "refresh_token=theirs; "] {
        let cookie = format!("{others}refresh_token={token}; more=\u{ac00}");
        let answer = app.visitor().post(REFRESH).header("cookie", &cookie).expect(200).await;
        let set = answer.header("set-cookie").unwrap();
        token = set.strip_prefix("refresh_token=").unwrap().split(';').next().unwrap().to_owned();
    }
}

#[tokio::test]
async fn cookies_may_come_in_several_headers() {
    let Tenant { app, owner, .. } = tenant().await;
    let mut token = owner.refresh_token();
    for client in [reqwest::Client::new(), http2()] {
        let call =
            client.post(app.url(REFRESH)).header("cookie", "first=1").header("cookie", of_bytes(b"city=\xff\xfe"));
        let call = call.header("cookie", format!("refresh_token={token}")).header("cookie", "last=1");
        let response = call.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let set = response.headers()["set-cookie"].to_str().unwrap();
        token = set.strip_prefix("refresh_token=").unwrap().split(';').next().unwrap().to_owned();
    }
}

#[tokio::test]
async fn what_is_ours_is_read_beside_bytes_that_are_no_text() {
    let tenant = tenant().await;
    let mut client = RawClient::connect(&tenant.app, tenant.owner.token.as_deref()).await;
    let body = b"{\"title\":\"x\"}".as_slice();
    let post = [b"Content-Length: 13".as_slice(), b"Content-Type: application/json; note=\"\xed\x95\x9c\xff\""];
    assert_eq!(client.call("POST", b"/api/v1/tasks", &post, body).await.status, 201, "the media type is ours");

    let task = tenant.owner.task(json!({"title": "x"})).await;
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    for header in [b"If-None-Match: \"\xff\", \"1\"".as_slice(), b"If-None-Match: W/\"\xed\x95\x9c\" , W/\"1--gzip\""] {
        assert_eq!(client.call("GET", path.as_bytes(), &[header], b"").await.status, 304);
    }
    for version in 1..4 {
        let tags = [b"If-Match: \"\xff,\", ".as_slice(), format!("\"{version}\"").as_bytes()].concat();
        let headers = [b"Content-Length: 13".as_slice(), b"Content-Type: application/json", &tags];
        assert_eq!(client.call("PATCH", path.as_bytes(), &headers, body).await.status, 200, "version {version}");
    }

    let missing = b"/api/v1/tasks/01993c3e-6a00-7c3e-8f6e-0000000000aa".as_slice();
    let accept = b"Accept: text/\xff, application/problem+json".as_slice();
    let reply = client.call("GET", missing, &[accept], b"").await;
    assert_eq!((reply.status, reply.header("content-type")), (404, Some("application/problem+json")));
    for line in [b"Accept-Encoding: \xff, gzip;q=0.5".as_slice(), b"Accept-Encoding: \xed\x95\x9c;q=1,gzip"] {
        let response = tenant.app.http.get(tenant.app.url("/openapi.json"));
        let response =
            response.header("accept-encoding", of_bytes(&line["Accept-Encoding: ".len()..])).send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
    }
}

#[tokio::test]
async fn credentials_that_are_no_text_are_wrong_ones() {
    let tenant = tenant().await;
    let mut client = RawClient::connect(&tenant.app, None).await;
    for header in
        [b"Authorization: Bearer \xff\xfe".as_slice(), b"Authorization: bearer \xed\x95\x9c", b"X-API-Key: bc_\xff"]
    {
        let reply = client.call("GET", b"/api/v1/auth/me", &[header], b"").await;
        assert_eq!(reply.kind(), (401, "invalid_token".into()), "{}", String::from_utf8_lossy(header));
    }
    let basic = client.call("GET", b"/api/v1/auth/me", &[b"Authorization: Basic \xff"], b"").await;
    assert_eq!(basic.kind(), (401, "unauthenticated".into()));
}

#[tokio::test]
async fn a_device_keeps_what_can_be_read_of_its_name() {
    let tenant = tenant().await;
    let mut client = RawClient::connect(&tenant.app, None).await;
    let login = json!({"email": tenant.owner.email(), "password": PASSWORD}).to_string();
    let length = format!("Content-Length: {}", login.len());
    let headers = [length.as_bytes(), b"Content-Type: application/json", b"User-Agent: Caf\xe9/1.0"];
    assert_eq!(client.call("POST", LOGIN.as_bytes(), &headers, login.as_bytes()).await.status, 200);
    let sessions = tenant.owner.get("/api/v1/auth/sessions").expect(200).await.json();
    assert_eq!(sessions["items"][0]["device_name"], json!("Caf\u{fffd}/1.0"), "{sessions}");
}

#[tokio::test]
async fn a_client_does_not_hide_behind_bytes_that_it_sent_to_the_proxy() {
    let proxied = |config: &mut Config| config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let tenant = TestApp::with(proxied).await.tenant().await;
    let login = json!({"email": tenant.owner.email(), "password": PASSWORD, "return_refresh_in_body": true});
    let call = tenant.app.visitor().post(LOGIN).header("x-forwarded-for", "\u{ac00}, 203.0.113.7").json(&login);
    let person = tenant.app.visitor().with_tokens(call.expect(200).await.json());
    let sessions = person.get("/api/v1/auth/sessions").expect(200).await.json();
    let current = sessions["items"].as_array().unwrap().iter().find(|session| session["is_current"] == true);
    assert_eq!(current.unwrap()["ip"], json!("203.0.113.7"));
}

// --- tags that proxies have changed

#[tokio::test]
async fn a_tag_means_its_version_whatever_a_proxy_made_of_it() {
    let tenant = tenant().await;
    let owner = &tenant.owner;
    let task = owner.task(json!({"title": "x"})).await;
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    let mut version = 1;
    for form in [
        "W/\"#\"",
        "\"#-gzip\"",
        "\"#--gzip\"",
        "\"#;br\"",
        "W/\"#-gzip\"",
        "\"#;gz\"",
        "\"#--br\"",
        "W/\"#-zstd\"",
        "\"#\"",
    ] {
        let [stale, current] = [version + 1, version].map(|version| form.replace('#', &version.to_string()));
        owner.get(&path).header("if-none-match", &current).expect(304).await;
        owner.get(&path).header("if-none-match", &stale).expect(200).await;
        for call in
            [owner.patch(&path).json(&json!({})), owner.put(&path).json(&json!({"title": "x"})), owner.delete(&path)]
        {
            call.header("if-match", &stale).expect(412).await;
        }
        owner.patch(&path).header("if-match", &current).json(&json!({"title": form})).expect(200).await;
        version += 1;
    }
    owner.delete(&path).header("if-match", &format!("W/\"{version}-gzip\"")).expect(204).await;
}

#[tokio::test]
async fn no_tag_of_ours_is_taken_for_another_one_with_a_suffix() {
    let tenant = tenant().await;
    let (owner, viewer) = (&tenant.owner, tenant.viewer().await);
    let profile = format!("/api/v1/users/{}", owner.id());
    let of = async |person: &Person| person.get(&profile).expect(200).await.header("etag").unwrap().to_owned();
    let (all, some) = (of(owner).await, of(&viewer).await);
    assert_eq!(all.replace(".all", ""), some);
    assert_ne!(all, some);
    let proxied = |tag: &str| format!("W/{}-gzip\"", tag.trim_end_matches('"'));
    owner.get(&profile).header("if-none-match", &proxied(&all)).expect(304).await;
    owner.get(&profile).header("if-none-match", &proxied(&some)).expect(200).await;
    viewer.get(&profile).header("if-none-match", &proxied(&some)).expect(304).await;
    viewer.get(&profile).header("if-none-match", &proxied(&all)).expect(200).await;

    let page = tenant.app.visitor().get("/openapi.json").expect(200).await;
    let tag = page.header("etag").unwrap();
    tenant.app.visitor().get("/openapi.json").header("if-none-match", &proxied(tag)).expect(304).await;
    let me = owner.get("/api/v1/auth/me").expect(200).await;
    owner.get("/api/v1/auth/me").header("if-none-match", &proxied(me.header("etag").unwrap())).expect(304).await;
}

// --- what pages of other origins may read

/// The headers of all answers in the contract, read without the code that serves them.
fn declared() -> BTreeSet<String> {
    let document = document();
    let target = |value: &Value| match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => value.clone(),
    };
    let mut names = BTreeSet::new();
    let mut responses = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values().filter(|operation| operation["responses"].is_object()) {
            for response in operation["responses"].as_object().unwrap().values() {
                let response = target(response);
                names
                    .extend(response["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_lowercase()));
                responses += 1;
            }
        }
    }
    let stated: usize = operations(document).iter().map(|operation| operation.statuses.len()).sum();
    assert_eq!(responses, stated, "not all responses were looked at");
    names
}

fn exposed(headers: &HeaderMap) -> BTreeSet<String> {
    let list = headers.get("access-control-expose-headers").unwrap().to_str().unwrap();
    list.split(',').map(|name| name.trim().to_lowercase()).collect()
}

#[tokio::test]
async fn pages_may_read_every_header_that_the_contract_declares_but_no_cookie() {
    let listed = |config: &mut Config| config.cors.origins = Origins::List(vec![PAGE.into()]);
    let tenant = TestApp::with(listed).await.tenant().await;
    let answer = tenant.owner.get("/api/v1/tasks").header("origin", PAGE).expect(200).await;
    let (exposed, mut declared) = (exposed(&answer.headers), declared());
    for name in ["etag", "location", "retry-after", "www-authenticate", "content-disposition", "idempotency-replayed"] {
        assert!(declared.contains(name), "the walk has not seen {name}");
    }
    assert!(declared.remove("set-cookie"));
    let hidden: Vec<_> = declared.difference(&exposed).collect();
    assert!(hidden.is_empty(), "{hidden:?} are declared and can't be read");
    assert!(!exposed.contains("set-cookie"));
    for name in ["x-request-id", "x-process-time", "ratelimit", "ratelimit-policy", "deprecation", "link"] {
        assert!(exposed.contains(name), "{name}");
    }
    let export = tenant.owner.get("/api/v1/tasks/export").header("origin", PAGE).expect(200).await;
    assert!(export.header("content-disposition").is_some() && export.header("access-control-expose-headers").is_some());
    let foreign = tenant.owner.get("/api/v1/tasks").header("origin", "https://elsewhere.example").expect(200).await;
    assert_eq!(foreign.header("access-control-expose-headers"), None);
}

// --- heads that are too large

#[tokio::test]
async fn over_http2_too_large_a_head_has_the_one_error_body() {
    let tenant = tenant().await;
    let (client, token) = (http2(), tenant.owner.token.clone().unwrap());
    let get = |path: &str| client.get(tenant.app.url(path)).bearer_auth(&token);
    let refused = async |call: reqwest::RequestBuilder, status: u16| {
        let response = call.send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (status, reqwest::Version::HTTP_2));
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: Value = response.json().await.unwrap();
        assert_eq!((&body["error"]["type"], &body["error"]["request_id"]), (&json!("malformed_request"), &json!(id)));
    };
    refused(get("/api/v1/tasks").header("x-big", "x".repeat(70_000)), 431).await;
    refused(get("/api/v1/tasks").header("x-big", "x".repeat(100_000)), 431).await;
    let many = (0..101).fold(get("/api/v1/tasks"), |call, n| call.header(format!("x-{n}"), "x"));
    refused(many, 431).await;
    refused(get(&format!("/api/v1/tasks?q={}", "x".repeat(62_000))), 414).await;
    let cookies = (0..150).fold(get("/api/v1/tasks"), |call, n| call.header("cookie", format!("c{n}=x")));
    assert_eq!(cookies.send().await.unwrap().status(), 200, "cookies come one by one");
    assert_eq!(get("/api/v1/tasks").header("x-big", "x".repeat(60_000)).send().await.unwrap().status(), 200);
}
