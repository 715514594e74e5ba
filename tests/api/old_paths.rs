//! Paths of earlier systems: they are served without a redirect, with headers about the new paths. The test harness
//! knows only the contract's paths, so these calls are made without it.
use crate::support::{PASSWORD, Person, TestApp};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const REGISTER: &str = "/api/v1/auth/register";
const ME: &str = "/api/v1/users/me";
const TASKS: &str = "/api/v1/tasks";

/// An answer that is not checked against the contract.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    /// Null if it is empty.
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts that the headers say that the path is old and name the new one.
    #[track_caller]
    fn names(&self, new: &str) {
        let link = format!("<{new}>; rel=\"successor-version\"");
        let told = (self.header("deprecation"), self.header("link"));
        assert_eq!(told, (Some("@1795564800"), Some(link.as_str())), "2026-11-25, in seconds");
    }

    #[track_caller]
    fn is_current(&self) {
        assert_eq!((self.header("deprecation"), self.header("link")), (None, None));
    }
}

/// Calls a path of this server. Null means no body.
async fn ask(app: &TestApp, person: &Person, method: Method, path: &str, body: &Value) -> Reply {
    ask_with(app, person, method, path, body, HeaderMap::new()).await
}

async fn ask_with(
    app: &TestApp,
    person: &Person,
    method: Method,
    path: &str,
    body: &Value,
    headers: HeaderMap,
) -> Reply {
    let mut request = app.http.request(method, app.url(path)).headers(headers);
    if let Some(token) = &person.token {
        request = request.bearer_auth(token);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    Reply { status, headers, body }
}

async fn get(app: &TestApp, person: &Person, path: &str) -> Reply {
    ask(app, person, Method::GET, path, &Value::Null).await
}

fn newcomer(app: &TestApp) -> Value {
    json!({"email": format!("{}@example.com", app.unique()), "password": PASSWORD, "name": "Nora New"})
}

#[tokio::test]
async fn old_paths_answer_as_the_new_ones_do_and_name_them() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (admin, viewer) = (tenant.admin().await, tenant.viewer().await);
    let user = format!("/users/{}", viewer.id());
    let of_users = format!("/api/v1{user}");
    for (old, new, query) in [
        ("/api/v1/health", "/health", ""),
        ("/api/v1/health/", "/health", ""),
        ("/status", "/api/v1/status", ""),
        ("/status/", "/api/v1/status", ""),
        ("/api/v1/users/profile", ME, ""),
        ("/users/profile", ME, ""),
        ("/users/profile/", ME, ""),
        ("/users/me", ME, ""),
        ("/users", "/api/v1/users", "?per_page=1&sort=name"),
        ("/users/", "/api/v1/users", "?q=nobody"),
        (user.as_str(), of_users.as_str(), ""),
        ("/auth/me", "/api/v1/auth/me", ""),
        ("/api/auth/me", "/api/v1/auth/me", ""),
        ("/api/auth/sessions", "/api/v1/auth/sessions", "?page=1"),
    ] {
        let now = get(&app, &admin, &format!("{new}{query}")).await;
        assert_eq!(now.status, 200, "{new}{query}");
        now.is_current();
        let mut told = get(&app, &admin, &format!("{old}{query}")).await;
        told.names(new);
        assert_eq!(told.status, 200, "{old}{query}");
        if told.body.get("uptime_seconds").is_some() {
            told.body["uptime_seconds"] = now.body["uptime_seconds"].clone();
        }
        assert_eq!(told.body, now.body, "{old}{query}");
        assert_eq!(told.header("etag"), now.header("etag"), "{old}{query}");
        let head = ask(&app, &admin, Method::HEAD, &format!("{old}{query}"), &Value::Null).await;
        assert_eq!((head.status, &head.body), (StatusCode::OK, &Value::Null), "{old}");
        head.names(new);
    }
    let faulty = get(&app, &admin, "/users?nope=1").await;
    assert_eq!((faulty.status.as_u16(), &faulty.body["error"]["type"]), (400, &json!("validation_error")));
    faulty.names("/api/v1/users");
}

/// A browser that calls only the old paths would not send a cookie that is for the new paths.
#[tokio::test]
async fn the_cookie_of_sign_in_is_for_the_old_paths_too() {
    let app = TestApp::start().await;
    let visitor = app.visitor();
    let input = newcomer(&app);
    ask(&app, &visitor, Method::POST, "/auth/signup", &input).await;
    let credentials = json!({"email": input["email"], "password": PASSWORD});
    for beginning in ["/auth", "/api/auth"] {
        let cookies = |told: &Reply| -> Vec<(String, String)> {
            let all = told.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
            let parts = all.map(|cookie| cookie.split("; ").collect::<Vec<_>>());
            let path = |parts: &[&str]| parts.iter().find_map(|part| part.strip_prefix("Path=")).unwrap().to_owned();
            parts.map(|parts| (path(&parts), parts[0].to_owned())).collect()
        };
        let mut told = ask(&app, &visitor, Method::POST, &format!("{beginning}/login"), &credentials).await;
        for _ in 0..2 {
            assert_eq!(told.status, 200, "{beginning}: {}", told.body);
            let [now, old] = cookies(&told).try_into().unwrap();
            assert_eq!((now.0.as_str(), old.0.as_str()), ("/api/v1/auth", beginning));
            assert_eq!(now.1, old.1);
            let headers = HeaderMap::from_iter([(header::COOKIE, old.1.parse().unwrap())]);
            let path = format!("{beginning}/refresh");
            told = ask_with(&app, &visitor, Method::POST, &path, &Value::Null, headers).await;
        }
        let person = visitor.with_tokens(told.body);
        let out = ask(&app, &person, Method::POST, &format!("{beginning}/logout"), &Value::Null).await;
        let taken_back: Vec<_> = cookies(&out).into_iter().map(|(path, value)| (path, value.len())).collect();
        let empty = "refresh_token=".len();
        assert_eq!(taken_back, [("/api/v1/auth".to_owned(), empty), (beginning.to_owned(), empty)]);
    }
    let now = ask(&app, &visitor, Method::POST, "/api/v1/auth/login", &credentials).await;
    assert_eq!(now.headers.get_all("set-cookie").iter().count(), 1);
}

#[tokio::test]
async fn people_register_sign_in_and_go_by_old_paths() {
    let app = TestApp::start().await;
    let visitor = app.visitor();
    let signups = ["/api/v1/auth/signup", "/api/auth/signup", "/auth/signup", "/auth/signup/", "/auth/register"];
    let logins = ["/auth/login", "/api/auth/login", "/auth/login/", "/api/auth/login/", "/api/auth/login"];
    for (signup, login) in signups.into_iter().zip(logins) {
        let input = newcomer(&app);
        let made = ask(&app, &visitor, Method::POST, signup, &input).await;
        assert_eq!((made.status.as_u16(), &made.body["email"]), (201, &input["email"]), "{signup}");
        made.names(REGISTER);
        let credentials = json!({"email": input["email"], "password": PASSWORD, "return_refresh_in_body": true});
        let told = ask(&app, &visitor, Method::POST, login, &credentials).await;
        assert_eq!(told.status, 200, "{login}: {}", told.body);
        told.names("/api/v1/auth/login");
        let person = visitor.with_tokens(told.body);
        assert_eq!(get(&app, &person, "/users/profile").await.body, made.body);

        let whole = json!({"name": "Nora Renamed", "email": input["email"]});
        for (method, body) in [(Method::PATCH, json!({"name": "Nora"})), (Method::PUT, whole)] {
            let saved = ask(&app, &person, method.clone(), "/users/profile", &body).await;
            assert_eq!((saved.status.as_u16(), &saved.body["name"]), (200, &body["name"]), "{method}");
            saved.names(ME);
        }
        let out = ask(&app, &person, Method::POST, "/auth/logout", &Value::Null).await;
        assert_eq!(out.status, 204);
        let over = get(&app, &person, "/users/profile").await;
        assert_eq!((over.status.as_u16(), &over.body["error"]["type"]), (401, &json!("invalid_token")));
        over.names(ME);
    }
    let faulty = ask(&app, &visitor, Method::POST, "/auth/signup", &json!({"role": "owner"})).await;
    assert_eq!((faulty.status.as_u16(), &faulty.body["error"]["type"]), (400, &json!("validation_error")));
    faulty.names(REGISTER);
}

async fn send(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let request = app.http.request(method, app.url(path)).body(body.to_owned());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    Reply { status, headers, body }
}

#[tokio::test]
async fn a_form_at_the_old_login_gets_a_token() {
    const TOKEN: &str = "/api/v1/auth/token";
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let sign_in = serde_urlencoded::to_string([("username", &*tenant.owner.email()), ("password", PASSWORD)]).unwrap();
    for path in ["/auth/login", "/api/auth/login", "/auth/login/"] {
        for with_grant in [sign_in.clone(), format!("grant_type=password&{sign_in}&client_id=x")] {
            let told = send(&app, Method::POST, path, &[form], &with_grant).await;
            assert_eq!(told.status, 200, "{path}: {}", told.body);
            told.names(TOKEN);
            assert!(told.body["refresh_token"].is_string() && told.header("set-cookie").is_none(), "{path}");
            assert_eq!(get(&app, &app.visitor().with_tokens(told.body), ME).await.status, 200);
        }
        let wrong = send(&app, Method::POST, path, &[form], "username=nobody&password=wrong").await;
        assert_eq!((wrong.status.as_u16(), &wrong.body["error"]["type"]), (401, &json!("invalid_credentials")));
        wrong.names(TOKEN);
    }
    let strict = send(&app, Method::POST, TOKEN, &[form], &sign_in).await;
    assert_eq!((strict.status.as_u16(), strict.body["error"]["detail"].get("grant_type").is_some()), (400, true));
    let current = send(&app, Method::POST, "/api/v1/auth/login", &[form], &sign_in).await;
    assert_eq!((current.status.as_u16(), &current.body["error"]["type"]), (415, &json!("unsupported_media_type")));
    current.is_current();
}

#[tokio::test]
async fn sign_out_by_get_is_an_old_path() {
    const LOGOUT: &str = "/api/v1/auth/logout";
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    for path in [LOGOUT, "/api/v1/auth/logout/", "/auth/logout", "/api/auth/logout"] {
        let [by_token, by_cookie] =
            [app.visitor().sign_in(&tenant.owner.email()).await, app.visitor().sign_in(&tenant.owner.email()).await];
        let ahead = HeaderMap::from_iter([("sec-purpose".parse().unwrap(), "prefetch".parse().unwrap())]);
        let not_asked = ask_with(&app, &by_token, Method::GET, path, &Value::Null, ahead).await;
        assert_eq!(not_asked.status, 405, "a browser that fetches ahead signs nobody out");
        let head = ask(&app, &by_token, Method::HEAD, path, &Value::Null).await;
        assert_eq!(head.status, 405);
        assert_eq!(get(&app, &by_token, ME).await.status, 200);
        let out = get(&app, &by_token, path).await;
        assert_eq!(out.status, 204, "{path}: {}", out.body);
        out.names(LOGOUT);
        assert!(out.header("set-cookie").unwrap().starts_with("refresh_token=;"));
        let cookie = format!("refresh_token={}", by_cookie.refresh_token());
        let out = send(&app, Method::GET, path, &[("cookie", &cookie)], "").await;
        assert_eq!(out.status, 204, "{path}: {}", out.body);
        out.names(LOGOUT);
        for person in [&by_token, &by_cookie] {
            assert_eq!(get(&app, person, ME).await.status, 401, "{path}");
        }
        let nobody = send(&app, Method::GET, path, &[], "").await;
        assert_eq!((nobody.status.as_u16(), &nobody.body["error"]["type"]), (401, &json!("unauthenticated")));
        assert!(nobody.header("set-cookie").unwrap().starts_with("refresh_token=;"));
        nobody.names(LOGOUT);
    }
}

#[tokio::test]
async fn the_methods_of_an_old_path_are_those_of_the_new_one() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    for (old, new, wrong, allowed) in [
        ("/auth/signup", REGISTER, Method::GET, "OPTIONS, POST"),
        ("/api/auth/login", "/api/v1/auth/login", Method::DELETE, "OPTIONS, POST"),
        ("/users/profile", ME, Method::POST, "GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/api/v1/health", "/health", Method::POST, "GET, HEAD, OPTIONS"),
        ("/status/", "/api/v1/status", Method::PUT, "GET, HEAD, OPTIONS"),
    ] {
        let told = ask(&app, &owner, wrong, old, &Value::Null).await;
        assert_eq!((told.status.as_u16(), told.header("allow")), (405, Some(allowed)), "{old}");
        assert_eq!(told.body["error"]["type"], "method_not_allowed", "{old}");
        told.names(new);
        let options = ask(&app, &owner, Method::OPTIONS, old, &Value::Null).await;
        assert_eq!((options.status.as_u16(), options.header("allow")), (204, Some(allowed)), "{old}");
        options.names(new);
    }
    let unknown = get(&app, &owner, "/auth/nothing").await;
    assert_eq!((unknown.status.as_u16(), &unknown.body["error"]["type"]), (404, &json!("not_found")));
    for path in ["/authors", "/usersx/profile", "/api/authx/login", "/statuses", "/profile", "//users", "/users//"] {
        let told = get(&app, &owner, path).await;
        assert_eq!((told.status.as_u16(), &told.body["error"]["type"]), (404, &json!("not_found")), "{path}");
        told.is_current();
    }
}

#[tokio::test]
async fn an_old_page_leads_to_the_new_one() {
    let app = TestApp::start().await;
    for path in ["/api/docs", "/api/docs/"] {
        let told = get(&app, &app.visitor(), path).await;
        assert_eq!((told.status.as_u16(), told.header("location")), (308, Some("/docs")), "{path}");
    }
    let page = get(&app, &app.visitor(), "/docs").await;
    assert_eq!(page.status, 200);
    page.is_current();
}

#[tokio::test]
async fn a_slash_at_the_end_is_dropped_and_makes_no_path_old() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let made = owner.task(json!({"title": "Once"})).await;
    let path = format!("{TASKS}/{}", made["id"].as_str().unwrap());
    let patched = ask(&app, &owner, Method::PATCH, &format!("{path}/"), &json!({"title": "Twice"})).await;
    assert_eq!((patched.status.as_u16(), &patched.body["title"]), (200, &json!("Twice")));
    patched.is_current();
    let listed = get(&app, &owner, &format!("{TASKS}/?q=twice")).await;
    assert_eq!((listed.status.as_u16(), &listed.body["meta"]["total"]), (200, &json!(1)));
    listed.is_current();
    let login = ask(&app, &app.visitor(), Method::POST, "/api/v1/auth/login/", &json!({})).await;
    assert_eq!(login.status, 400);
    login.is_current();
}

/// A path with a slash at its end counts as the same request.
#[tokio::test]
async fn a_repeat_with_a_slash_gets_the_first_answer() {
    let app = TestApp::start().await;
    let owner = app.tenant().await.owner;
    let key: HeaderMap = [("idempotency-key".parse().unwrap(), "k".parse().unwrap())].into_iter().collect();
    let input = json!({"title": "By key"});
    let first = ask_with(&app, &owner, Method::POST, TASKS, &input, key.clone()).await;
    assert_eq!(first.status, 201);
    let again = ask_with(&app, &owner, Method::POST, &format!("{TASKS}/"), &input, key).await;
    assert_eq!((again.status.as_u16(), &again.body), (201, &first.body), "{}", again.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn turned_off_old_paths_lead_nowhere() {
    let app = TestApp::with(|config| config.server.old_paths_enabled = false).await;
    let owner = app.tenant().await.owner;
    let (signup, login) = (newcomer(&app), json!({"email": owner.email(), "password": PASSWORD}));
    for (method, path, body) in [
        (Method::POST, "/api/v1/auth/signup", &signup),
        (Method::POST, "/api/auth/signup", &signup),
        (Method::POST, "/auth/register", &signup),
        (Method::POST, "/auth/login", &login),
        (Method::POST, "/api/auth/login", &login),
        (Method::GET, "/auth/me", &Value::Null),
        (Method::GET, "/users", &Value::Null),
        (Method::GET, "/users/me", &Value::Null),
        (Method::GET, "/users/profile", &Value::Null),
        (Method::GET, "/status", &Value::Null),
        (Method::GET, "/status/", &Value::Null),
        (Method::GET, "/auth/logout", &Value::Null),
        (Method::GET, "/api/v1/health", &Value::Null),
        (Method::GET, "/api/docs", &Value::Null),
    ] {
        let told = ask(&app, &owner, method, path, body).await;
        assert_eq!((told.status.as_u16(), &told.body["error"]["type"]), (404, &json!("not_found")), "{path}");
        told.is_current();
    }
    assert_eq!(get(&app, &owner, "/api/v1/auth/logout").await.status, 405);
    for path in ["/health", "/api/v1/status", ME, "/docs"] {
        let told = get(&app, &owner, path).await;
        assert_eq!(told.status, 200, "{path}");
        told.is_current();
    }
    app.visitor().post(REGISTER).json(&signup).expect(201).await;
}
