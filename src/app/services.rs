//! Builds the layers below `auth` from the configuration: the database, Redis, mail and the storage.
use crate::base::env::Env;
use crate::base::key_ring::KeyRing;
use crate::base::metrics::Metrics;
use crate::config::{Config, DatabaseConfig, MailConfig, StorageConfig, StorageUrl};
use crate::db::audit_chain::CheckpointKey;
use crate::db::connect::Target;
use crate::db::{Db, DbOptions};
use crate::resources::feed::Subscribers;
use crate::services::cache::Cache;
use crate::services::mail::Mailer;
use crate::services::redis::{Redis, RedisOptions};
use crate::services::storage::{S3Options, Storage};
use anyhow::Context;
use secrecy::ExposeSecret;
use std::sync::Arc;

pub struct Services {
    pub env: Env,
    pub metrics: Metrics,
    pub db: Db,
    pub redis: Option<Redis>,
    pub cache: Cache,
    pub mailer: Mailer,
    pub storage: Storage,
    pub checkpoint_key: CheckpointKey,
}

impl Services {
    pub fn new(config: &Config, env: Env) -> anyhow::Result<Self> {
        let Config { database, encryption, .. } = config;
        let metrics = Metrics::default();
        let keys = KeyRing::new(&encryption.active, &encryption.keys, env.clone(), metrics.clone())?;
        let options = DbOptions {
            pool_size: database.pool_size,
            acquire_timeout: database.acquire_timeout,
            // Statements end before the request does. The answer can then say that the statement was too slow, and no
            // statement runs on after the answer.
            statement_timeout: config.server.request_timeout * 9 / 10,
            long_read_timeout: database.long_read_timeout,
        };
        let redis = redis(config)?;
        Ok(Self {
            db: Db::new(target(config)?, options, env.clone(), keys.clone(), Arc::new(Subscribers), &metrics),
            cache: Cache::new(redis.clone(), metrics.clone()),
            mailer: mailer(config)?,
            storage: storage(config).context("storage.url")?,
            checkpoint_key: CheckpointKey::new(keys.derived("audit checkpoints")),
            redis,
            metrics,
            env,
        })
    }
}

/// The database that the settings name.
pub fn target(config: &Config) -> anyhow::Result<Target> {
    let DatabaseConfig { url, pooler, ca_file, .. } = &config.database;
    Ok(Target::parse(url.expose(), ca_file.clone()).context("database.url")?.behind(*pooler))
}

fn redis(config: &Config) -> anyhow::Result<Option<Redis>> {
    let Some(url) = &config.redis.url else { return Ok(None) };
    let options = RedisOptions { pool_size: config.redis.pool_size, timeout: config.redis.timeout };
    Ok(Some(Redis::new(url.expose_secret(), options)?))
}

/// The storage that the settings name.
pub fn storage(config: &Config) -> anyhow::Result<Storage> {
    let StorageConfig { url, endpoint, region, access_key_id, secret_access_key, min_free_bytes, .. } = &config.storage;
    match url.clone() {
        StorageUrl::Folder(path) => Storage::folder(path, *min_free_bytes),
        StorageUrl::S3 { bucket, prefix } => Storage::s3(S3Options {
            bucket,
            prefix,
            endpoint: endpoint.clone(),
            region: region.clone(),
            key: access_key_id.clone().zip(secret_access_key.as_ref().map(|secret| secret.expose_secret().to_owned())),
        }),
    }
}

fn mailer(config: &Config) -> anyhow::Result<Mailer> {
    let MailConfig { smtp_url, from, .. } = &config.mail;
    let url = smtp_url.as_ref().map(|url| url.expose_secret());
    Mailer::new(url, from, config.environment.is_development())
}
