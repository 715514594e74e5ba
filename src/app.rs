//! What is wired to what, once.
use crate::auth::Authenticator;
use crate::auth::access_token::AccessTokens;
use crate::auth::passwords::Passwords;
use crate::auth::refresh_token::RefreshTokens;
use crate::config::{self, Config, DatabaseConfig};
use crate::contract::pages::pages;
use crate::db::connect::Target;
use crate::db::{Db, DbOptions};
use crate::http::Guarded;
use crate::http::cors::Origins;
use crate::http::edge::{EdgeOptions, edge};
use crate::http::guard::{self, OperationLine};
use crate::http::paths::Paths;
use crate::infra::crypto::{Sealer, derive_key};
use crate::infra::world::World;
use crate::resources::auth::{AuthApi, SignIn, SignInOptions};
use crate::resources::server::ServerApi;
use crate::resources::tasks::TasksApi;
use anyhow::Context;
use chrono::Duration;
use poem::{Endpoint, EndpointExt, Response, Route};
use poem_openapi::{OpenApiService, Tags};
use secrecy::ExposeSecret;
use std::sync::Arc;

#[derive(Tags)]
#[oai(rename_all = "lowercase")]
pub enum Tag {
    Auth,
    Server,
    Tasks,
}

/// All operations. Tuples stop at sixteen: nest them.
type Api = (ServerApi, AuthApi, TasksApi);

/// What people open in a browser; these are not in the API contract.
const PAGES: [&str; 5] = ["/openapi.json", "/openapi.yaml", "/docs", "/redoc", "/scalar"];

/// What the operations need.
#[derive(Clone)]
pub struct Parts {
    pub db: Db,
    pub sign_in: SignIn,
    /// `development`, `staging`, `production`.
    pub environment: String,
    pub world: World,
}

/// The database that the settings name.
pub fn target(config: &Config) -> anyhow::Result<Target> {
    let DatabaseConfig { url, ca_file, .. } = &config.database;
    Target::parse(url.expose(), ca_file.clone()).context("database.url")
}

/// Makes all parts from the settings. Nothing is connected to yet.
pub async fn connect(config: &Config, world: World) -> anyhow::Result<Parts> {
    let Config { auth, database, encryption, environment, .. } = config;
    let key = derive_key(encryption.key.expose_secret().as_bytes(), "stored answers");
    let sealer = Sealer::new(&key, world.clone());
    let options = DbOptions { pool_size: database.pool_size, acquire_timeout: database.acquire_timeout };
    let db = Db::new(target(config)?, options, world.clone(), sealer);
    let secret = auth.jwt_secret.expose_secret().as_bytes();
    let previous = auth.jwt_secret_previous.as_ref().map(|secret| secret.expose_secret().as_bytes());
    let lifetime = Duration::from_std(auth.access_lifetime)?;
    let sign_in = SignIn {
        db: db.clone(),
        passwords: Passwords::new(auth.bcrypt_cost, world.clone()),
        access: AccessTokens::new(secret, previous, &auth.issuer, &auth.audience, lifetime),
        refresh: RefreshTokens::new(secret, previous),
        options: SignInOptions {
            session_lifetime: Duration::from_std(auth.refresh_lifetime)?,
            refresh_grace: Duration::from_std(auth.refresh_grace)?,
            refresh_in_cookie: auth.refresh_in_cookie,
            secure_cookie: !environment.is_development(),
        },
    };
    Ok(Parts { db, sign_in, environment: environment.to_string(), world })
}

impl Parts {
    /// Row-level security is the third wall between tenants on PostgreSQL: say so if it does not stand.
    pub async fn warn_of_powerful_role(&self) {
        match self.db.bypasses_row_security().await {
            Ok(false) => {}
            Ok(true) => tracing::warn!("The database role is a superuser or has BYPASSRLS: row-level security is off"),
            Err(error) => tracing::warn!(?error, "The database role can't be looked at"),
        }
    }
}

fn service(parts: &Parts) -> OpenApiService<Guarded<Api>, ()> {
    let Parts { db, sign_in, environment, world } = parts;
    let server = ServerApi { db: db.clone(), environment: environment.clone(), started_at: world.now() };
    let auth = AuthApi { sign_in: sign_in.clone() };
    let tasks = TasksApi { db: db.clone() };
    OpenApiService::new(Guarded((server, auth, tasks)), "BizCenter", env!("CARGO_PKG_VERSION")).server("/")
}

/// The whole server: every operation behind its guard, the pages, and the edge around them.
pub fn server(parts: &Parts, config: &Config) -> impl Endpoint<Output = Response> + 'static {
    let authenticator = Authenticator { db: parts.db.clone(), tokens: parts.sign_in.access.clone() };
    let api = service(parts).data(authenticator);
    let mut methods = guard::allowed_methods::<Api>();
    let route = if config.server.docs_enabled {
        methods.extend(PAGES.map(|path| (path.to_owned(), "GET, HEAD, OPTIONS".to_owned())));
        pages()
    } else {
        Route::new()
    };
    let paths = Paths::new(methods);
    let ids = parts.world.clone();
    let options = EdgeOptions {
        trusted_proxies: config.server.trusted_proxies.clone(),
        max_body_bytes: config.server.max_body_bytes as u64,
        request_timeout: config.server.request_timeout,
        cors: match &config.cors.origins {
            config::Origins::None => Origins::None,
            config::Origins::Any => Origins::Any,
            config::Origins::List(origins) => Origins::List(origins.clone()),
        },
        hsts: !config.environment.is_development(),
        ids: Arc::new(move || ids.uuid().to_string()),
        allow: Arc::new(move |path| paths.allowed(path)),
    };
    edge(route.nest("/", api), options)
}

/// The document that the code makes of itself; the checks hold it against `openapi/`.
pub fn derived_document(parts: &Parts) -> String {
    service(parts).spec()
}

/// Operation, method, path and permission of everything in the API.
pub fn operations() -> Vec<OperationLine> {
    guard::operations::<Api>()
}
