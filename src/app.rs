//! What is wired to what, once: one file a layer below this one.
pub mod access;
mod api;
mod auth;
pub mod check;
mod edge;
mod jobs;
mod services;
mod start;

pub use api::{derived_document, operations};
pub use edge::{serve_options, server};
pub use services::target;

use crate::api::{Records, Verification};
use crate::auth::access_token::AccessTokens;
use crate::auth::mail_cap::MailCap;
use crate::auth::mails::EmailTemplates;
use crate::auth::sessions::Sessions;
use crate::auth::{Authenticator, Credentials};
use crate::base::env::Env;
use crate::base::metrics::Metrics;
use crate::config::Config;
use crate::db::Db;
use crate::db::audit_chain::CheckpointKey;
use crate::db::key_checks::KeyWatch;
use crate::resources::RECORDS;
use crate::resources::auth::{Registration, TokenIssuer};
use crate::resources::files::uploads::{UploadLimits, Uploads};
use crate::resources::server::ReadinessProbe;
use crate::services::cache::Cache;
use crate::services::jobs::Jobs;
use crate::services::redis::Redis;
use crate::services::storage::Storage;
use auth::Auth;
use chrono::{DateTime, Duration, Utc};
use services::Services;

/// The parts of a server. Each API takes those that it needs, by their names here: see `app/api.rs`.
#[derive(Clone)]
pub struct Parts {
    pub env: Env,
    pub metrics: Metrics,
    pub db: Db,
    pub redis: Option<Redis>,
    pub cache: Cache,
    pub checkpoint_key: CheckpointKey,
    pub sessions: Sessions,
    pub access_tokens: AccessTokens,
    pub credentials: Credentials,
    pub tokens: TokenIssuer,
    pub registration: Registration,
    pub authenticator: Authenticator,
    pub mail_cap: MailCap,
    pub templates: EmailTemplates,
    /// Asks callers for a verified address, where they need one.
    pub verification: Verification,
    /// How long an invitation is good.
    pub invitation_lifetime: Duration,
    pub storage: Storage,
    pub uploads: Uploads,
    pub readiness: ReadinessProbe,
    /// What is held about people, and where records are found by their ids.
    pub records: Records,
    /// `development`, `staging`, `production`.
    pub environment: String,
    pub started_at: DateTime<Utc>,
    pub jobs: Jobs,
}

/// Makes all parts from the settings. Nothing is connected to yet.
pub async fn connect(config: &Config, env: Env) -> anyhow::Result<Parts> {
    let services = Services::new(config, env)?;
    let auth = Auth::new(config, &services)?;
    let jobs = jobs::jobs(jobs::Needs::new(config, &services, &auth));
    let Services { env, metrics, db, redis, cache, mailer: _, storage, checkpoint_key } = services;
    let Auth { sessions, access_tokens, credentials, tokens, authenticator, mail_cap, templates } = auth;
    let needs_redis = sessions.are_in_redis();
    let looks = metrics.readiness_looks.clone();
    Ok(Parts {
        registration: Registration { db: db.clone(), credentials: credentials.clone() },
        verification: Verification::new(db.clone(), config.mail.is_set_up()),
        invitation_lifetime: Duration::from_std(config.auth.invitation_lifetime)?,
        uploads: Uploads {
            db: db.clone(),
            storage: storage.clone(),
            limits: UploadLimits {
                file_bytes: config.storage.max_upload_bytes,
                tenant_bytes: config.storage.tenant_quota_bytes,
            },
        },
        storage,
        records: RECORDS,
        readiness: ReadinessProbe::new(db.clone(), redis.clone(), needs_redis, KeyWatch::new(db.clone()), looks),
        environment: config.environment.to_string(),
        started_at: env.now(),
        env,
        metrics,
        db,
        redis,
        cache,
        checkpoint_key,
        sessions,
        access_tokens,
        credentials,
        tokens,
        authenticator,
        mail_cap,
        templates,
        jobs,
    })
}
