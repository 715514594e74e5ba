//! The server's settings. Each section has a file of its own and validates itself. All problems are found at once.
//!
//! A setting is declared in one place: as a field of its section, with its text, type, names and default
//! (`declare.rs`). The reference of all settings, `default.toml`, is printed from the declarations.

mod audit;
mod auth;
mod cors;
mod database;
mod database_parts;
mod declare;
mod dotenv;
mod encryption;
mod jobs;
mod layers;
mod log;
mod mail;
mod metrics;
mod names;
mod problem;
mod rate_limit;
mod reader;
mod redis;
mod reference;
mod secrets;
mod server;
mod sources;
mod storage;
#[cfg(test)]
mod tests;
mod types;
mod weak;

pub use crate::base::origins::Origins;
pub use audit::AuditConfig;
pub use auth::{AuthConfig, JwtAlgorithm, SessionStore};
pub use cors::CorsConfig;
pub use database::{DatabaseConfig, DatabaseKind, DatabaseUrl};
pub use encryption::EncryptionConfig;
pub use jobs::JobsConfig;
pub use log::{LogConfig, LogFormat};
pub use mail::MailConfig;
pub use metrics::MetricsConfig;
pub use problem::{ConfigError, Problem};
pub use rate_limit::RateLimitConfig;
pub use redis::RedisConfig;
pub use reference::reference;
pub use secrets::ensure_development_secret;
pub use server::ServerConfig;
pub use sources::{MissingSecrets, Sources};
pub use storage::{StorageConfig, StorageUrl};

use declare::{Section, section, setting, settings};
use layers::Layers;
use names::SETTINGS;
use reader::{Read, Reader};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;
use types::{Choice, NonEmptyText, ValueType};

settings! {
    /// All settings, valid. Its `Debug` shows no secret.
    #[derive(Debug, Clone)]
    pub struct Config {
        /// development, staging or production; dev and prod are understood. Development is forgiving: it makes its own
        /// secrets, reads .env, and may be told to allow CORS from anywhere (cors.origins).
        pub environment: Environment = setting("environment", NameOfEnvironment)
            .named(&["APP_ENV", "ENVIRONMENT"])
            .default("development"),

        /// The folder of the SQLite database, stored files and development's secrets: 0700 where the server makes it, with
        /// files of 0600.
        pub data_dir: PathBuf = setting("data_dir", NonEmptyText).named(&["DATA_DIR"]).default("./data"),

        pub server: ServerConfig = section(),
        pub database: DatabaseConfig = section(),
        pub redis: RedisConfig = section(),
        pub storage: StorageConfig = section(),
        pub auth: AuthConfig = section(),
        pub rate_limit: RateLimitConfig = section(),
        pub encryption: EncryptionConfig = section(),
        pub cors: CorsConfig = section(),
        pub mail: MailConfig = section(),
        pub jobs: JobsConfig = section(),
        pub audit: AuditConfig = section(),
        pub metrics: MetricsConfig = section(),
        pub log: LogConfig = section(),
    }
}

/// A valid configuration, and the origin of each setting.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Every setting, in the order of `default.toml`.
    pub settings: Vec<EffectiveSetting>,
}

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    pub path: &'static str,
    /// Its value, with `***` for a secret. `None` if it isn't set.
    pub value: Option<String>,
    /// The variable or the file that set it.
    pub origin: Option<String>,
}

/// The kind of installation. Outside development, the server is stricter with settings and secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Development,
    Staging,
    Production,
}

impl Environment {
    pub fn is_development(self) -> bool {
        self == Self::Development
    }
}

impl FromStr for Environment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "development" | "dev" => Ok(Self::Development),
            "staging" => Ok(Self::Staging),
            "production" | "prod" => Ok(Self::Production),
            _ => Err("must be development, staging or production"),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        })
    }
}

/// An environment. It is shown by its full name.
struct NameOfEnvironment;

impl ValueType<Environment> for NameOfEnvironment {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<Environment> {
        let environment: Environment = Choice.read(reader, path)?;
        reader.show_instead(path, format!("\"{environment}\""));
        Ok(environment)
    }
}

impl Config {
    /// Reads and validates all settings.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        Self::of(layers::collect(sources))
    }

    fn of(layers: Layers) -> Result<Loaded, ConfigError> {
        let mut reader = Reader::new(layers);
        match Self::read(&mut reader) {
            Ok(config) if reader.problems.is_empty() => {
                let settings = SETTINGS.iter().map(|setting| reader.effective(setting.path)).collect();
                Ok(Loaded { config, settings })
            }
            _ => Err(ConfigError { problems: reader.problems }),
        }
    }

    /// The settings of a test's server, as they are declared for tests: development, cheap password hashes, and secrets
    /// that everybody knows.
    pub fn for_tests(data_dir: PathBuf, database_url: DatabaseUrl) -> Result<Self, ConfigError> {
        // They are read once in a process, because hundreds of tests start servers.
        static DECLARED: LazyLock<Result<Config, ConfigError>> =
            LazyLock::new(|| Ok(Config::of(layers::of_tests(|_| None))?.config));
        let mut config = DECLARED.clone()?;
        config.storage.url = StorageUrl::Folder(data_dir.join("files"));
        config.data_dir = data_dir;
        config.database.url = database_url;
        Ok(config)
    }
}
