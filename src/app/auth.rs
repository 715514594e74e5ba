//! Builds what sign-in needs from the configuration: passwords, tokens, sessions and limits.
use super::services::Services;
use crate::auth::access_token::AccessTokens;
use crate::auth::attempts::Attempts;
use crate::auth::credentials::PasswordOptions;
use crate::auth::limits::Limits;
use crate::auth::mail_cap::MailCap;
use crate::auth::mails::EmailTemplates;
use crate::auth::passwords::Passwords;
use crate::auth::refresh_token::RefreshTokens;
use crate::auth::sessions::{RedisSessions, Sessions};
use crate::auth::signing::SigningKeys;
use crate::auth::slots::AllSlots;
use crate::auth::{Authenticator, Credentials};
use crate::config::{AuthConfig, Config, JwtAlgorithm, SessionStore};
use crate::resources::auth::{TokenIssuer, TokenOptions};
use anyhow::Context;
use chrono::Duration;
use secrecy::ExposeSecret;

pub struct Auth {
    pub sessions: Sessions,
    pub access_tokens: AccessTokens,
    pub credentials: Credentials,
    pub tokens: TokenIssuer,
    pub authenticator: Authenticator,
    pub mail_cap: MailCap,
    pub templates: EmailTemplates,
}

impl Auth {
    pub fn new(config: &Config, services: &Services) -> anyhow::Result<Self> {
        let (Config { auth, .. }, Services { env, db, redis, .. }) = (config, services);
        let limits = Limits::new(config.rate_limit, redis.clone(), env.clone());
        let sessions = sessions(config, services)?;
        let lifetime = Duration::from_std(auth.access_lifetime)?;
        let access_tokens = AccessTokens::new(signing_keys(auth)?, &auth.issuer, &auth.audience, lifetime);
        let storage = &config.storage;
        let slots = AllSlots::new(config.server.max_exports, storage.max_uploads, storage.max_downloads);
        Ok(Self {
            credentials: credentials(config, services),
            tokens: TokenIssuer {
                db: db.clone(),
                access: access_tokens.clone(),
                refresh: refresh_tokens(auth),
                sessions: sessions.clone(),
                options: TokenOptions {
                    session_lifetime: Duration::from_std(auth.refresh_lifetime)?,
                    refresh_grace: Duration::from_std(auth.refresh_grace)?,
                    refresh_in_cookie: auth.refresh_in_cookie,
                    secure_cookie: !config.environment.is_development(),
                },
            },
            authenticator: Authenticator::new(
                db.clone(),
                access_tokens.clone(),
                sessions.clone(),
                limits.clone(),
                slots,
            ),
            mail_cap: MailCap::new(limits, &config.mail),
            templates: EmailTemplates { app_url: config.mail.app_url.clone() },
            sessions,
            access_tokens,
        })
    }
}

fn credentials(config: &Config, services: &Services) -> Credentials {
    let (Config { auth, .. }, Services { env, metrics, db, redis, .. }) = (config, services);
    let thresholds = (auth.failures_before_wait, auth.failures_before_wait_per_ip);
    Credentials::new(
        db.clone(),
        Passwords::new(auth.bcrypt_cost, env.clone(), metrics.queue("passwords")),
        Attempts::new(config.rate_limit.enabled.then_some(thresholds), redis.clone(), env.clone()),
        metrics.queue("failed_sign_ins"),
        PasswordOptions {
            refuse_common: auth.refuse_common_passwords,
            require_verified_email: auth.require_verified_email,
        },
    )
}

/// Builds the session store that `auth.session_store` selects. A server without Redis keeps sessions in the database.
fn sessions(config: &Config, Services { env, db, redis, .. }: &Services) -> anyhow::Result<Sessions> {
    let redis = match config.auth.session_store {
        SessionStore::Auto | SessionStore::Redis => redis.clone(),
        SessionStore::Database => None,
    };
    let request_timeout = Duration::from_std(config.server.request_timeout)?;
    let in_redis = |redis| RedisSessions::new(redis, env.clone(), request_timeout);
    Ok(Sessions::new(db.clone(), redis.map(in_redis)))
}

fn refresh_tokens(auth: &AuthConfig) -> RefreshTokens {
    let previous = auth.jwt_secret_previous.as_ref().map(|secret| secret.expose_secret().as_bytes());
    RefreshTokens::new(auth.jwt_secret.expose_secret().as_bytes(), previous)
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

/// A function that reads the private key and, during a rotation, the previous key. Both are in PEM.
pub(super) type ReadKeys = fn(&str, Option<&str>) -> anyhow::Result<SigningKeys>;

/// Returns the function that reads the key pairs of an algorithm. `None` for HS256, which has a secret and no key pair.
pub(super) fn key_pairs(algorithm: JwtAlgorithm) -> Option<ReadKeys> {
    match algorithm {
        JwtAlgorithm::Hs256 => None,
        JwtAlgorithm::EdDsa => Some(SigningKeys::eddsa),
        JwtAlgorithm::Rs256 => Some(SigningKeys::rs256),
    }
}
