//! What is wired to what, once.
pub mod access;
pub mod check;

use crate::api::guard::OperationLine;
use crate::api::pages::pages;
use crate::api::verified::SendVerification;
use crate::api::{Guarded, Verification, guard};
use crate::auth::Authenticator;
use crate::auth::access_token::AccessTokens;
use crate::auth::attempts::Attempts;
use crate::auth::export_slots::ExportSlots;
use crate::auth::limits::Limits;
use crate::auth::mail_cap::{MailCap, MailKind};
use crate::auth::passwords::Passwords;
use crate::auth::refresh_token::RefreshTokens;
use crate::auth::sessions::{RedisSessions, RevokeSessions, Sessions};
use crate::auth::signing::SigningKeys;
use crate::base::env::Env;
use crate::base::key_ring::KeyRing;
use crate::base::metrics::Metrics;
use crate::base::queue::FairQueue;
use crate::config::{
    AuditConfig, AuthConfig, Config, DatabaseConfig, JwtAlgorithm, MailConfig, ServerConfig, SessionStore,
};
use crate::contract;
use crate::db::audit_chain::{CheckpointKey, PruneAudit, SealAudit};
use crate::db::connect::Target;
use crate::db::key_checks::KeyWatch;
use crate::db::removal::{RemoveExpired, RemoveTenant};
use crate::db::{Db, DbOptions};
use crate::resources::admin::AdminApi;
use crate::resources::api_keys::ApiKeysApi;
use crate::resources::audit_logs::AuditApi;
use crate::resources::auth::{AuthApi, EmailTemplates, MAX_CONCURRENT_LOGIN_AUDITS, SendReset, SignIn, SignInOptions};
use crate::resources::contracts::history::HistoryApi;
use crate::resources::contracts::{ContractsApi, ExpireContracts, expire_all};
use crate::resources::feed::Subscribers;
use crate::resources::invitations::InvitationsApi;
use crate::resources::items::ItemsApi;
use crate::resources::meetings;
use crate::resources::records::RECORDS;
use crate::resources::server::{ReadinessProbe, ServerApi};
use crate::resources::tasks::TasksApi;
use crate::resources::tasks::comments::TaskCommentsApi;
use crate::resources::tenant::TenantApi;
use crate::resources::users::UsersApi;
use crate::server::cors::exposed_headers;
use crate::server::edge::{EdgeOptions, Ids, edge, refusal};
use crate::server::paths::Paths;
use crate::server::serve::ServeOptions;
use crate::server::unsent::Unsent;
use crate::services::cache::Cache;
use crate::services::jobs::Jobs;
use crate::services::mail::{Mail, Mailer, SecurityEmail};
use crate::services::redis::{Redis, RedisOptions};
use anyhow::Context;
use chrono::Duration;
use poem::{Endpoint, EndpointExt, Response, Route};
use poem_openapi::OpenApiService;
use secrecy::ExposeSecret;
use std::sync::Arc;

/// All operations. Tuples stop at sixteen: nest them.
type Api = (
    ServerApi,
    AuthApi,
    UsersApi,
    TenantApi,
    InvitationsApi,
    ApiKeysApi,
    AdminApi,
    AuditApi,
    ItemsApi,
    TasksApi,
    (ContractsApi, HistoryApi),
    TaskCommentsApi,
    meetings::Apis,
);

/// What people open in a browser; these are not in the API contract.
const PAGES: [&str; 5] = ["/openapi.json", "/openapi.yaml", "/docs", "/redoc", "/scalar"];

/// What the operations need.
#[derive(Clone)]
pub struct Parts {
    pub db: Db,
    pub sign_in: SignIn,
    pub limits: Limits,
    pub redis: Option<Redis>,
    pub cache: Cache,
    pub jobs: Jobs,
    pub checkpoint_key: CheckpointKey,
    pub metrics: Metrics,
    /// `development`, `staging`, `production`.
    pub environment: String,
    /// What a caller needs a verified address for.
    pub verification: Verification,
    /// How long an invitation is good.
    pub invitation_lifetime: Duration,
    pub env: Env,
}

/// The database that the settings name.
pub fn target(config: &Config) -> anyhow::Result<Target> {
    let DatabaseConfig { url, pooler, ca_file, .. } = &config.database;
    Ok(Target::parse(url.expose(), ca_file.clone()).context("database.url")?.behind(*pooler))
}

/// Makes all parts from the settings. Nothing is connected to yet.
pub async fn connect(config: &Config, env: Env) -> anyhow::Result<Parts> {
    let Config { auth, database, encryption, environment, .. } = config;
    let metrics = Metrics::default();
    let keys = KeyRing::new(&encryption.active, &encryption.keys, env.clone(), metrics.clone())?;
    let options = DbOptions {
        pool_size: database.pool_size,
        acquire_timeout: database.acquire_timeout,
        // Less than the request has: its answer then is that the statement was too slow, and nothing runs on after it.
        statement_timeout: config.server.request_timeout * 9 / 10,
        long_read_timeout: database.long_read_timeout,
    };
    let feed = Arc::new(Subscribers);
    let db = Db::new(target(config)?, options, env.clone(), keys.clone(), feed, &metrics);
    let redis = redis(config)?;
    let cache = Cache::new(redis.clone(), metrics.clone());
    let limits = Limits::new(config.rate_limit, redis.clone(), env.clone());
    let thresholds = (auth.failures_before_wait, auth.failures_before_wait_per_ip);
    let secret = auth.jwt_secret.expose_secret().as_bytes();
    let previous = auth.jwt_secret_previous.as_ref().map(|secret| secret.expose_secret().as_bytes());
    let lifetime = Duration::from_std(auth.access_lifetime)?;
    let sign_in = SignIn {
        db: db.clone(),
        passwords: Passwords::new(auth.bcrypt_cost, env.clone(), metrics.queue("passwords")),
        access: AccessTokens::new(signing_keys(auth)?, &auth.issuer, &auth.audience, lifetime),
        refresh: RefreshTokens::new(secret, previous),
        sessions: sessions(config, &db, &redis, &env)?,
        attempts: Attempts::new(config.rate_limit.enabled.then_some(thresholds), redis.clone(), env.clone()),
        notes: FairQueue::new(
            MAX_CONCURRENT_LOGIN_AUDITS,
            MAX_CONCURRENT_LOGIN_AUDITS,
            metrics.queue("failed_sign_ins"),
        ),
        mail_cap: MailCap::new(limits.clone(), &config.mail),
        templates: EmailTemplates { app_url: config.mail.app_url.clone() },
        options: SignInOptions {
            session_lifetime: Duration::from_std(auth.refresh_lifetime)?,
            refresh_grace: Duration::from_std(auth.refresh_grace)?,
            refresh_in_cookie: auth.refresh_in_cookie,
            secure_cookie: !environment.is_development(),
            refuse_common_passwords: auth.refuse_common_passwords,
            require_verified_email: auth.require_verified_email,
        },
    };
    let checkpoint_key = CheckpointKey::new(keys.derived("audit checkpoints"));
    let jobs = jobs(config, &sign_in, &checkpoint_key)?;
    let invitation_lifetime = Duration::from_std(auth.invitation_lifetime)?;
    let environment = environment.to_string();
    let verification = Verification::new(db.clone(), config.mail.is_set_up());
    Ok(Parts {
        db,
        sign_in,
        limits,
        redis,
        cache,
        jobs,
        checkpoint_key,
        metrics,
        environment,
        verification,
        invitation_lifetime,
        env,
    })
}

/// Sessions in the place that the settings name. A server without Redis keeps them in the database.
fn sessions(config: &Config, db: &Db, redis: &Option<Redis>, env: &Env) -> anyhow::Result<Sessions> {
    let redis = match config.auth.session_store {
        SessionStore::Auto | SessionStore::Redis => redis.clone(),
        SessionStore::Database => None,
    };
    let request_timeout = Duration::from_std(config.server.request_timeout)?;
    let in_redis = |redis| RedisSessions::new(redis, env.clone(), request_timeout);
    Ok(Sessions::new(db.clone(), redis.map(in_redis)))
}

fn redis(config: &Config) -> anyhow::Result<Option<Redis>> {
    let Some(url) = &config.redis.url else { return Ok(None) };
    let options = RedisOptions { pool_size: config.redis.pool_size, timeout: config.redis.timeout };
    Ok(Some(Redis::new(url.expose_secret(), options)?))
}

fn signing_keys(auth: &AuthConfig) -> anyhow::Result<SigningKeys> {
    let previous = auth.jwt_key_previous.as_ref().map(|key| key.expose_secret());
    match key_pairs(auth.jwt_algorithm) {
        Some(read) => {
            let pem = auth.jwt_key.as_ref().context("auth.jwt_key is missing")?;
            read(pem.expose_secret(), previous).context("auth.jwt_key or auth.jwt_key_previous")
        }
        None => {
            let previous = auth.jwt_secret_previous.as_ref().map(|secret| secret.expose_secret().as_bytes());
            Ok(SigningKeys::hs256(auth.jwt_secret.expose_secret().as_bytes(), previous))
        }
    }
}

/// Reads the private key in PEM, and the one before it.
type ReadKeys = fn(&str, Option<&str>) -> anyhow::Result<SigningKeys>;

/// What reads the key pairs of an algorithm; none where it has a secret.
fn key_pairs(algorithm: JwtAlgorithm) -> Option<ReadKeys> {
    match algorithm {
        JwtAlgorithm::Hs256 => None,
        JwtAlgorithm::EdDsa => Some(SigningKeys::eddsa),
        JwtAlgorithm::Rs256 => Some(SigningKeys::rs256),
    }
}

/// What is done besides answering requests.
fn jobs(config: &Config, sign_in: &SignIn, checkpoint_key: &CheckpointKey) -> anyhow::Result<Jobs> {
    let MailConfig { smtp_url, from, .. } = &config.mail;
    let url = smtp_url.as_ref().map(|url| url.expose_secret());
    let mailer = Mailer::new(url, from, config.environment.is_development())?;
    let AuditConfig { retention_days } = config.audit;
    let kept = Duration::days(i64::from(retention_days));
    let (db, templates) = (sign_in.db.clone(), sign_in.templates.clone());
    let with_db = || db.clone();
    let (sealing, pruning, removing, expiring) = (with_db(), with_db(), with_db(), with_db());
    let over = with_db();
    let (sessions, revoking) = (sign_in.sessions.clone(), sign_in.sessions.clone());
    let (reset, verification, key) = (sign_in.clone(), sign_in.clone(), checkpoint_key.clone());
    let (reset_by, verify_by, reset_letters) = (mailer.clone(), mailer.clone(), templates.clone());
    let (security_by, mail_cap) = (mailer.clone(), sign_in.mail_cap.clone());
    Ok(Jobs::new(db)
        .on(move |of, mail: Mail| {
            let mailer = mailer.clone();
            async move { mailer.send(of, mail).await }
        })
        .on(move |of, SecurityEmail { mail, is_verified }| {
            let (mailer, mail_cap) = (security_by.clone(), mail_cap.clone());
            async move {
                match of.is_repeat || mail_cap.allows(MailKind::SecurityEmail, mail.to(), is_verified).await? {
                    true => mailer.send(of, mail).await,
                    false => Ok(()),
                }
            }
        })
        .on(move |of, job: SendReset| {
            let (sign_in, mailer, templates) = (reset.clone(), reset_by.clone(), reset_letters.clone());
            async move { sign_in.send_reset(of, job, mailer, templates).await }
        })
        .on(move |of, job: SendVerification| {
            let (sign_in, mailer, templates) = (verification.clone(), verify_by.clone(), templates.clone());
            async move { sign_in.send_verification(of, job, mailer, templates).await }
        })
        .on(move |of, RevokeSessions { user }: RevokeSessions| {
            let sessions = revoking.clone();
            async move {
                match of.tenant {
                    Some(tenant) => sessions.revoke_user(tenant, user).await,
                    None => Ok(()),
                }
            }
        })
        .on(move |of, _: RemoveTenant| {
            let (db, sessions) = (removing.clone(), sessions.clone());
            async move {
                let Some(tenant) = of.tenant else { return Ok(()) };
                sessions.revoke_tenant(tenant).await?;
                db.remove_tenant(tenant).await
            }
        })
        .every(Duration::seconds(2), move |_, _: SealAudit| {
            let db = sealing.clone();
            async move { db.seal_audit().await }
        })
        .every(Duration::hours(1), move |_, _: PruneAudit| {
            let (db, key) = (pruning.clone(), key.clone());
            async move { db.prune_audit(kept, &key).await }
        })
        .every(Duration::hours(1), move |_, _: RemoveExpired| {
            let db = expiring.clone();
            async move { db.remove_expired().await }
        })
        .every(Duration::hours(1), move |_, _: ExpireContracts| expire_all(over.clone())))
}

impl Parts {
    /// Refuses master keys that don't open what is in the database, before anything is encrypted under them; see
    /// [`crate::db::key_checks`].
    pub async fn verify_keys(&self) -> anyhow::Result<()> {
        let found = self.db.verify_keys().await.context("the encryption keys can't be verified")?;
        check::refuse_wrong_keys(&found)?;
        let ids = found.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
        tracing::info!(key.ids = ids, "The encryption keys are those of this database");
        Ok(())
    }

    /// Says in the log what is unusual about how the database searches.
    pub async fn probe_search(&self) {
        if let Err(error) = self.db.folding().await {
            tracing::warn!(?error, "The database can't be asked how it folds letters");
        }
    }

    /// Row-level security is the third wall between tenants on PostgreSQL: say so if it does not stand.
    pub async fn warn_of_powerful_role(&self) {
        match self.db.bypasses_row_security().await {
            Ok(false) => {}
            Ok(true) => tracing::warn!("The database role is a superuser or has BYPASSRLS: row-level security is off"),
            Err(error) => tracing::warn!(?error, "The database role can't be looked at"),
        }
    }

    /// A server whose Redis user may not do what it needs goes on by itself, which nobody would notice. `/readyz` says so too.
    pub async fn warn_of_missing_rights(&self) {
        let Some(redis) = &self.redis else { return };
        if let Ok(Some(rights)) = redis.missing_rights().await {
            tracing::warn!(redis.missing_rights = rights, "The Redis user has not all rights that the server needs");
        }
    }
}

fn service(parts: &Parts) -> OpenApiService<Guarded<Api>, ()> {
    let Parts { db, sign_in, redis, cache, environment, env, .. } = parts;
    let (sessions, templates, verification) = (&sign_in.sessions, &sign_in.templates, &parts.verification);
    let lifetime = parts.invitation_lifetime;
    let server = ServerApi {
        readiness: ReadinessProbe::new(
            db.clone(),
            redis.clone(),
            sessions.are_in_redis(),
            KeyWatch::new(db.clone()),
            parts.metrics.readiness_looks.clone(),
        ),
        env: env.clone(),
        tokens: sign_in.access.clone(),
        environment: environment.clone(),
        started_at: env.now(),
    };
    let api: Api = (
        server,
        AuthApi { sign_in: sign_in.clone() },
        UsersApi { sign_in: sign_in.clone(), records: RECORDS },
        TenantApi { db: db.clone(), sessions: sessions.clone(), verification: verification.clone() },
        InvitationsApi {
            db: db.clone(),
            verification: verification.clone(),
            mail_cap: sign_in.mail_cap.clone(),
            templates: templates.clone(),
            lifetime,
        },
        ApiKeysApi { db: db.clone(), sessions: sessions.clone(), verification: verification.clone() },
        AdminApi { db: db.clone(), sessions: sessions.clone(), templates: templates.clone(), lifetime },
        AuditApi { db: db.clone() },
        ItemsApi { db: db.clone(), cache: cache.clone() },
        TasksApi { db: db.clone() },
        (ContractsApi { db: db.clone() }, HistoryApi { db: db.clone() }),
        TaskCommentsApi { db: db.clone() },
        meetings::apis(db),
    );
    OpenApiService::new(Guarded(api), "BizCenter", env!("CARGO_PKG_VERSION")).server("/")
}

/// The whole server: every operation behind its guard, the pages, and the edge around them.
pub fn server(parts: &Parts, config: &Config) -> impl Endpoint<Output = Response> + 'static {
    let SignIn { access, sessions, .. } = &parts.sign_in;
    let authenticator = Authenticator::new(
        parts.db.clone(),
        access.clone(),
        sessions.clone(),
        parts.limits.clone(),
        ExportSlots::new(config.server.max_exports),
    );
    let api = service(parts).data(authenticator);
    let mut methods = guard::allowed_methods::<Api>();
    let route = if config.server.docs_enabled {
        methods.extend(PAGES.map(|path| (path.to_owned(), "GET, HEAD, OPTIONS".to_owned())));
        pages()
    } else {
        Route::new()
    };
    let paths = Paths::new(methods);
    let options = EdgeOptions {
        trusted_proxies: config.server.trusted_proxies.clone(),
        max_body_bytes: config.server.max_body_bytes as u64,
        request_timeout: config.server.request_timeout,
        cors: config.cors.origins.clone(),
        exposed_headers: exposed_headers(contract::response_headers(contract::document())),
        hsts: !config.environment.is_development(),
        ids: request_ids(parts),
        allow: Arc::new(move |path| paths.allowed(path)),
        old_paths: config.server.old_paths_enabled,
        unsent: Unsent::new(config.server.max_unsent_bytes),
    };
    edge(route.nest("/", api), options)
}

/// How connections are served.
pub fn serve_options(parts: &Parts, config: &ServerConfig) -> ServeOptions {
    ServeOptions {
        header_timeout: config.header_timeout,
        write_timeout: config.write_timeout,
        drain_timeout: config.drain_timeout,
        max_connections: config.max_connections,
        max_connections_per_address: config.max_connections_per_address,
        trusted_proxies: config.trusted_proxies.clone(),
        refusal: refusal(request_ids(parts)),
    }
}

fn request_ids(parts: &Parts) -> Ids {
    let env = parts.env.clone();
    Arc::new(move || env.uuid().to_string())
}

/// The document that the code makes of itself; the checks hold it against `openapi/`.
pub fn derived_document(parts: &Parts) -> String {
    service(parts).spec()
}

/// Operation, method, path and permission of everything in the API.
pub fn operations() -> Vec<OperationLine> {
    guard::operations::<Api>()
}
