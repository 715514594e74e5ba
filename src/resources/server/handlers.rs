//! Probes and status over HTTP. They need no sign-in and count against no limit.
use crate::app::Tag;
use crate::db::Db;
use crate::error::{Detail, Error, Result};
use crate::http::Told;
use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object, OpenApi};

pub struct ServerApi {
    pub db: Db,
    /// `development`, `staging`, `production`.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum State {
    Up,
    Down,
}

/// Whether the server can do its work, part by part.
#[derive(Debug, Object)]
struct Readiness {
    status: State,
    database: State,
    migrations: State,
}

#[OpenApi(tag = "Tag::Server")]
impl ServerApi {
    /// Get the server's name
    #[oai(path = "/", method = "get", operation_id = "server_welcome")]
    async fn welcome(&self) -> Result<Told<Welcome>> {
        Ok(Told(Welcome {
            status: "ready".into(),
            name: "BizCenter".into(),
            version: VERSION.into(),
            docs: "/docs".into(),
            health: "/health".into(),
        }))
    }

    /// Get the server's health
    #[oai(path = "/health", method = "get", operation_id = "server_health")]
    async fn health(&self) -> Result<Told<Health>> {
        Ok(Told(Health {
            status: "healthy".into(),
            app: "BizCenter".into(),
            version: VERSION.into(),
            api_version: "v1".into(),
            environment: self.environment.clone(),
        }))
    }

    /// Check that the server lives
    #[oai(path = "/livez", method = "get", operation_id = "server_live")]
    async fn live(&self) -> Result<Told<Liveness>> {
        Ok(Told(Liveness { status: "alive".into() }))
    }

    /// Check that the server can work
    #[oai(path = "/readyz", method = "get", operation_id = "server_ready")]
    async fn ready(&self) -> Result<Told<Readiness>> {
        let mut problems = Detail::default();
        match self.db.is_migrated().await {
            Ok(true) => return Ok(Told(Readiness { status: State::Up, database: State::Up, migrations: State::Up })),
            Ok(false) => problems.add("migrations", "are not all applied"),
            Err(error) => {
                tracing::warn!(?error, "The database is not ready");
                problems.add("database", "does not answer");
            }
        }
        Err(Error::NotReady(problems))
    }

    /// Get the status
    #[oai(path = "/api/v1/status", method = "get", operation_id = "server_status")]
    async fn status(&self) -> Result<Told<Status>> {
        let uptime = self.db.world().now() - self.started_at;
        Ok(Told(Status { version: VERSION.into(), uptime_seconds: uptime.num_seconds() }))
    }
}
