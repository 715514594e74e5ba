//! What is limited, what is not, and which users may set other limits.
use super::{FORWARDED, HIGH, ME, STATUS, TASKS, address, api_key, counts, limited, status, wait};
use crate::support::fixtures::filled;
use crate::support::rights::count;
use crate::support::{Answer, Person, TestApp};
use bizcenter::config::RateLimitConfig;
use bizcenter::contract::{document, operations};
use chrono::Duration;
use reqwest::Method;
use serde_json::json;

/// The names of the limits in the headers of an answer.
#[track_caller]
fn names(answer: &Answer) -> Vec<String> {
    super::told(answer).into_iter().map(|(name, _)| name).collect()
}

async fn create(person: &Person) -> Answer {
    person.post(TASKS).json(&json!({"title": "x"})).send().await
}

#[tokio::test]
async fn probes_pages_and_the_contract_are_exempt_and_say_nothing_of_limits() {
    let app = limited(RateLimitConfig { anonymous_per_hour: 1, ..*HIGH }).await;
    let here = address(&app);
    status(&app, &here).await.expect(200);
    for path in [STATUS, "/status"] {
        wait(&app.visitor().get(path).header(FORWARDED, &here).send().await); // the old path is limited, too
    }
    let probes = ["/", "/health", "/api/v1/health", "/livez", "/readyz", "/.well-known/jwks.json"];
    let pages = ["/openapi.json", "/openapi.yaml", "/docs", "/redoc", "/scalar"];
    for path in probes.into_iter().chain(pages) {
        for _ in 0..3 {
            let answer = app.visitor().get(path).header(FORWARDED, &here).expect(200).await;
            let headers = (answer.header("ratelimit"), answer.header("ratelimit-policy"));
            assert_eq!(headers, (None, None), "{path}");
        }
    }
}

#[tokio::test]
async fn where_limits_are_off_nothing_is_said_of_them() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    for answer in [owner.get(ME).expect(200).await, create(&owner).await.expect(201), status(&app, "::1").await] {
        assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), (None, None), "{answer:?}");
    }
}

#[tokio::test]
async fn every_operation_of_the_api_tells_its_limits() {
    let app = limited(*HIGH).await;
    let person = app.tenant().await.almighty().await;
    let here = address(&app);
    let (mut public, mut secured) = (0, 0);
    for operation in operations(document()).iter().filter(|operation| operation.path.starts_with("/api/")) {
        let path = filled(&operation.path, |_| app.parts.env.uuid().to_string());
        let method: Method = operation.method.parse().unwrap();
        let visitor = app.visitor().call(method.clone(), &path).header(FORWARDED, &here).send().await;
        let of_visitors = match operation.id.as_str() {
            "auth_register" => "register",
            "auth_login" | "auth_token" => "login",
            _ => "anonymous",
        };
        assert_eq!(names(&visitor), [of_visitors], "{}", operation.id);
        if !operation.secured {
            public += 1;
            continue;
        }
        // A new session, because signing out is one of the operations.
        let caller = app.visitor().sign_in(&person.email()).await;
        let answer = caller.call(method.clone(), &path).send().await;
        let of_users = if method == Method::GET { &["user"][..] } else { &["user", "writes"] };
        assert_eq!(names(&answer), of_users, "{}: {answer:?}", operation.id);
        secured += 1;
    }
    let of_api = |is_secured: bool| count(|line| line.path.starts_with("/api/") && line.rights.is_some() == is_secured);
    assert_eq!((public, secured), (of_api(false), of_api(true)));
}

#[tokio::test]
async fn what_an_operator_sets_for_a_tenant_holds_at_the_next_request() {
    let app = limited(*HIGH).await;
    let (home, tenant) = (app.tenant().await, app.tenant().await);
    let (operator, viewer, editor) = (home.operator().await, tenant.viewer().await, tenant.editor().await);
    let key = api_key(&tenant.owner).await;
    let by_key = || app.visitor().get(TASKS).header("x-api-key", &key);
    assert_eq!(counts(&by_key().expect(200).await), ["api-key 1000000/3600: 999999"]);
    assert_eq!(counts(&viewer.get(ME).expect(200).await), ["user 1000000/3600: 999999"]);
    app.clock.advance(Duration::seconds(1)); // the quota is full again
    let path = format!("/api/v1/admin/tenants/{}", tenant.id);
    let lower = json!({"user_requests_per_hour": 2, "api_key_requests_per_hour": 1, "user_writes_per_minute": 1});
    operator.patch(&path).json(&lower).expect(200).await;

    assert_eq!(counts(&viewer.get(ME).expect(200).await), ["user 2/3600: 1"]);
    assert_eq!(counts(&viewer.get(ME).expect(200).await), ["user 2/3600: 0"]);
    assert!((1740..=1800).contains(&wait(&viewer.get(ME).send().await)));
    assert_eq!(counts(&by_key().expect(200).await), ["api-key 1/3600: 0"]);
    wait(&by_key().send().await);
    assert_eq!(counts(&create(&editor).await.expect(201)), ["user 2/3600: 1", "writes 1/60: 0"]);
    wait(&create(&editor).await);
    assert!(counts(&home.owner.get(ME).expect(200).await)[0].starts_with("user 1000000/3600"));

    app.clock.advance(Duration::seconds(1));
    let default =
        json!({"user_requests_per_hour": null, "api_key_requests_per_hour": null, "user_writes_per_minute": null});
    operator.patch(&path).json(&default).expect(200).await;
    assert!(counts(&viewer.get(ME).expect(200).await)[0].starts_with("user 1000000/3600"));
    assert!(counts(&by_key().expect(200).await)[0].starts_with("api-key 1000000/3600"));
    assert!(counts(&create(&editor).await.expect(201))[1].starts_with("writes 1000000/60"));
}

#[tokio::test]
async fn an_admin_lowers_a_users_limit_and_nobody_raises_it_above_the_tenants() {
    let app = limited(*HIGH).await;
    let tenant = app.tenant().await;
    let (operator, admin, viewer) = (app.tenant().await.operator().await, tenant.admin().await, tenant.viewer().await);
    let of_viewer = format!("/api/v1/users/{}", viewer.id());
    let lower = async |limit: Option<i64>| {
        let saved = admin.patch(&of_viewer).json(&json!({"requests_per_hour": limit})).expect(200).await.json();
        assert_eq!(saved["requests_per_hour"], json!(limit));
    };
    lower(Some(3)).await;
    assert_eq!(counts(&viewer.get(ME).expect(200).await), ["user 3/3600: 2"]);
    let raise = json!({"requests_per_hour": 1_000_000});
    viewer.patch("/api/v1/users/me").json(&raise).expect(400).await; // a profile has no such member
    viewer.patch(&of_viewer).json(&raise).expect(403).await;
    wait(&viewer.get(ME).send().await);
    app.clock.advance(Duration::hours(2));

    let of_tenant = format!("/api/v1/admin/tenants/{}", tenant.id);
    operator.patch(&of_tenant).json(&json!({"user_requests_per_hour": 4})).expect(200).await;
    assert_eq!(counts(&viewer.get(ME).expect(200).await), ["user 3/3600: 2"]);
    app.clock.advance(Duration::hours(2));
    lower(Some(1_000_000)).await;
    assert_eq!(counts(&viewer.get(ME).expect(200).await), ["user 4/3600: 3"]);
    lower(None).await;
    assert_eq!(counts(&viewer.get(ME).expect(200).await), ["user 4/3600: 2"]);
    assert!(counts(&tenant.editor().await.get(ME).expect(200).await)[0].starts_with("user 4/3600"));
}
