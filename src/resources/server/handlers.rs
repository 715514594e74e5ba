//! The HTTP endpoints of probes, public keys and status. They need no sign-in. Only the status counts against a rate
//! limit.
use super::Tag;
use super::readiness::{ReadinessProbe, State};
use crate::api::visitor::Anonymous;
use crate::api::{Answer, Visitor};
use crate::auth::access_token::AccessTokens;
use crate::auth::signing::{PublicKey, PublicParts};
use crate::base::env::Env;
use crate::base::error::{Error, Result};
use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi};

pub struct ServerApi {
    pub readiness: ReadinessProbe,
    pub env: Env,
    pub access_tokens: AccessTokens,
    /// `development`, `staging` or `production`.
    pub environment: String,
    pub started_at: DateTime<Utc>,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Object)]
struct Welcome {
    status: String,
    name: String,
    version: String,
    docs: String,
    health: String,
}

#[derive(Debug, Object)]
struct Health {
    status: String,
    app: String,
    version: String,
    api_version: String,
    environment: String,
}

#[derive(Debug, Object)]
struct Liveness {
    status: String,
}

#[derive(Debug, Object)]
struct Status {
    version: String,
    /// Whole seconds since the start.
    uptime_seconds: i64,
}

/// Whether the server and each of its parts can work.
#[derive(Debug, Object)]
struct Readiness {
    status: State,
    database: State,
    cache: State,
    migrations: State,
    encryption: State,
}

/// The keys with which access tokens are verified (RFC 7517).
#[derive(Debug, Object)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Jwk {
    kty: String,
    #[oai(rename = "use")]
    usage: String,
    alg: String,
    kid: String,
    crv: Option<String>,
    x: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl From<&PublicKey> for Jwk {
    fn from(PublicKey { kid, algorithm, parts }: &PublicKey) -> Self {
        let key = |kty: &str| Self {
            kty: kty.into(),
            usage: "sig".into(),
            alg: (*algorithm).into(),
            kid: kid.clone(),
            crv: None,
            x: None,
            n: None,
            e: None,
        };
        match parts.clone() {
            PublicParts::Ed25519 { x } => Self { crv: Some("Ed25519".into()), x: Some(x), ..key("OKP") },
            PublicParts::Rsa { n, e } => Self { n: Some(n), e: Some(e), ..key("RSA") },
        }
    }
}

#[OpenApi(tag = "Tag::Server")]
impl ServerApi {
    /// Get the server's name
    #[oai(path = "/", method = "get", operation_id = "server_welcome")]
    async fn welcome(&self) -> Result<Answer<Welcome>> {
        Ok(Answer(Welcome {
            status: "ready".into(),
            name: "BizCenter".into(),
            version: VERSION.into(),
            docs: "/docs".into(),
            health: "/health".into(),
        }))
    }

    /// Get the server's health
    #[oai(path = "/health", method = "get", operation_id = "server_health")]
    async fn health(&self) -> Result<Answer<Health>> {
        Ok(Answer(Health {
            status: "healthy".into(),
            app: "BizCenter".into(),
            version: VERSION.into(),
            api_version: "v1".into(),
            environment: self.environment.clone(),
        }))
    }

    /// Check that the process is alive
    #[oai(path = "/livez", method = "get", operation_id = "server_live")]
    async fn live(&self) -> Result<Answer<Liveness>> {
        Ok(Answer(Liveness { status: "alive".into() }))
    }

    /// Check that the server is ready
    #[oai(path = "/readyz", method = "get", operation_id = "server_ready")]
    async fn ready(&self) -> Result<Answer<Readiness>> {
        let found = self.readiness.look().await?;
        let (database, migrations, encryption, cache) = (State::Up, State::Up, State::Up, found.cache);
        match found.problems.is_empty() {
            true => Ok(Answer(Readiness { status: State::Up, database, cache, migrations, encryption })),
            false => Err(Error::NotReady(found.problems)),
        }
    }

    /// Get the keys of tokens
    #[oai(path = "/.well-known/jwks.json", method = "get", operation_id = "server_jwks")]
    async fn jwks(&self) -> Result<Answer<JwkSet>> {
        Ok(Answer(JwkSet { keys: self.access_tokens.public_keys().map(Jwk::from).collect() }))
    }

    /// Get the status
    #[oai(path = "/api/v1/status", method = "get", operation_id = "server_status")]
    async fn status(&self, _visitor: Visitor<Anonymous>) -> Result<Answer<Status>> {
        let uptime = self.env.now() - self.started_at;
        Ok(Answer(Status { version: VERSION.into(), uptime_seconds: uptime.num_seconds() }))
    }
}
