//! People who call the server, and the answers that they get.
use super::app::TestApp;
use super::contract::CONTRACT;
use bizcenter::auth::Role;
use bizcenter::base::password::Password;
use bizcenter::base::queue::Claimant;
use bizcenter::db::{Email, Origin};
use bizcenter::resources::auth::{AddedBy, Tenancy};
use bizcenter::resources::users::NewUser;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

/// What stands between the parts of an upload.
pub const BOUNDARY: &str = "a-line-between-the-parts";

pub const PASSWORD: &str = "correct horse battery";

/// A tenant of one test, and its owner.
pub struct Tenant {
    pub app: TestApp,
    pub id: Uuid,
    pub slug: String,
    pub owner: Person,
}

impl Tenant {
    /// A tenant with an owner whose address is verified. Only users with a verified address may invite others and
    /// create API keys.
    pub async fn register(app: &TestApp) -> Self {
        Self::register_with(app, true).await
    }

    /// A tenant as it is after registration: the owner's address is not verified.
    pub async fn register_unverified(app: &TestApp) -> Self {
        Self::register_with(app, false).await
    }

    async fn register_with(app: &TestApp, is_verified: bool) -> Self {
        let slug = format!("t-{}", app.parts.env.uuid().simple());
        let email = format!("owner@{slug}.example");
        let input = json!({"email": email, "password": PASSWORD, "name": "Olga Owner", "tenant_id": slug});
        let user = app.visitor().post("/api/v1/auth/register").json(&input).expect(201).await.json();
        let [id, owner] = ["tenant_id", "id"].map(|member| user[member].as_str().unwrap().parse().unwrap());
        if is_verified {
            let verified = "email_verified = TRUE, first_verified_at = created_at";
            app.run(&format!("UPDATE users SET {verified} WHERE id = {}", app.id(owner))).await;
        }
        let owner = app.visitor().sign_in(&email).await;
        Self { app: app.clone(), id, slug, owner }
    }

    /// A new user of this tenant with this role.
    pub async fn person(&self, role: Role) -> Person {
        self.somebody(role, false).await
    }

    /// A new user who is an operator of the server and a viewer in this tenant.
    pub async fn operator(&self) -> Person {
        self.somebody(Role::Viewer, true).await
    }

    /// A new owner who is an operator of the server, too, so that no operation is forbidden to them.
    pub async fn almighty(&self) -> Person {
        self.somebody(Role::Owner, true).await
    }

    async fn somebody(&self, role: Role, is_superuser: bool) -> Person {
        let name = role.name();
        let email = format!("{name}-{}@{}.example", self.app.parts.env.uuid().simple(), self.slug);
        let new = NewUser {
            email: Email::parse(&email).unwrap(),
            username: None,
            name: format!("A {name}"),
            role,
            password_hash: String::new(),
            is_superuser,
            email_verified: true,
        };
        let (credentials, registration) = (self.app.parts.credentials.clone(), self.app.parts.registration.clone());
        let tenancy = Tenancy::Existing(self.id.into(), role);
        let add = async move {
            let password_hash = credentials.hash(Claimant::server(), &Password::new(PASSWORD)).await.unwrap();
            let new = NewUser { password_hash, ..new };
            registration.add_user(tenancy, new, AddedBy::Themselves(Origin::default())).await.unwrap();
        };
        self.app.by_hand(add).await;
        self.app.visitor().sign_in(&email).await
    }

    pub async fn admin(&self) -> Person {
        self.person(Role::Admin).await
    }
    pub async fn editor(&self) -> Person {
        self.person(Role::Editor).await
    }
    pub async fn viewer(&self) -> Person {
        self.person(Role::Viewer).await
    }
}

/// A caller of the server: a visitor, or a user with an access token.
#[derive(Clone)]
pub struct Person {
    app: TestApp,
    pub token: Option<String>,
    /// The answer to the sign-in, with the refresh token. Null for a visitor.
    pub signed_in: Value,
}

impl Person {
    pub fn visitor(app: &TestApp) -> Self {
        Self { app: app.clone(), token: None, signed_in: Value::Null }
    }

    /// Signs in with this address and returns the user.
    pub async fn sign_in(&self, email: &str) -> Self {
        let input = json!({"email": email, "password": PASSWORD, "return_refresh_in_body": true});
        let answer = self.post("/api/v1/auth/login").json(&input).expect(200).await.json();
        self.with_tokens(answer)
    }

    pub fn with_tokens(&self, signed_in: Value) -> Self {
        let token = signed_in["access_token"].as_str().map(str::to_owned);
        Self { app: self.app.clone(), token, signed_in }
    }

    /// The same person, as a caller of another server.
    pub fn at(&self, app: &TestApp) -> Self {
        Self { app: app.clone(), ..self.clone() }
    }

    pub fn id(&self) -> Uuid {
        self.signed_in["user"]["id"].as_str().unwrap().parse().unwrap()
    }
    pub fn email(&self) -> String {
        self.signed_in["user"]["email"].as_str().unwrap().to_owned()
    }
    pub fn refresh_token(&self) -> String {
        self.signed_in["refresh_token"].as_str().unwrap().to_owned()
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let mut request = self.app.http.request(method.clone(), self.app.url(path));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        Call { method, path: path.to_owned(), request }
    }
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }
    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }
    pub fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }
    pub fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }
    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Creates a contract and returns it. Required members that are not given have default values.
    pub async fn contract(&self, input: Value) -> Value {
        let mut contract = json!({
            "title": "Managed SOC", "counterparty": "Acme", "start_date": "2026-01-01", "end_date": "2026-12-31",
        });
        contract.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
        self.post("/api/v1/contracts").json(&contract).expect(201).await.json()
    }

    /// Creates an item and returns it.
    pub async fn item(&self, input: Value) -> Value {
        self.post("/api/v1/items").json(&input).expect(201).await.json()
    }

    /// Creates a task and returns it.
    pub async fn task(&self, input: Value) -> Value {
        self.post("/api/v1/tasks").json(&input).expect(201).await.json()
    }

    /// A request that uploads a file with this name and content, and with these further parts.
    pub fn upload(&self, name: &str, content: impl Into<Vec<u8>>, parts: &[(&str, &str)]) -> Call {
        let mut body = vec![];
        for (name, text) in parts {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
            body.extend_from_slice(head.as_bytes());
        }
        let escaped = name.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22"); // as browsers do
        let disposition = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{escaped}\"");
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{disposition}\r\n\r\n").as_bytes());
        body.extend(content.into());
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        self.post("/api/v1/files").body(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// Creates a meeting and returns it. It takes an hour unless other times are given.
    pub async fn meeting(&self, input: Value) -> Value {
        let mut whole =
            json!({"title": "Meeting", "starts_at": "2026-05-18T09:00:00Z", "ends_at": "2026-05-18T10:00:00Z"});
        whole.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
        self.post("/api/v1/meetings").json(&whole).expect(201).await.json()
    }
}

/// A request that has not been sent yet.
#[must_use]
pub struct Call {
    method: Method,
    path: String,
    request: reqwest::RequestBuilder,
}

impl Call {
    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        let body = serde_urlencoded::to_string(pairs).unwrap();
        self.request = self.request.header("content-type", "application/x-www-form-urlencoded").body(body);
        self
    }
    pub fn body(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header("content-type", content_type).body(body);
        self
    }
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sends the request and checks the answer against the contract.
    pub async fn send(self) -> Answer {
        let Self { method, path, request } = self;
        let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}")).to_vec();
        let pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        if let Err(fault) = CONTRACT.check_response(method.as_str(), &path, status.as_u16(), &pairs, &body) {
            panic!("{method} {path} breaks the contract: {fault}\n{}", String::from_utf8_lossy(&body));
        }
        assert!(headers.contains_key("x-request-id"), "{method} {path}: no X-Request-Id");
        Answer { call: format!("{method} {path}"), status, headers, body }
    }

    /// Sends the request and expects this status.
    pub async fn expect(self, status: u16) -> Answer {
        self.send().await.expect(status)
    }
}

/// An answer that matches the contract.
#[derive(Debug)]
pub struct Answer {
    call: String,
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.call, self.text());
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}: {}", self.call, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The error's type, with its status.
    #[track_caller]
    pub fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"]["type"].as_str().unwrap_or("none").to_owned())
    }

    /// The error's detail.
    #[track_caller]
    pub fn detail(&self) -> Value {
        self.json()["error"]["detail"].clone()
    }
}
