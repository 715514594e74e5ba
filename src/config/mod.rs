//! The server's settings: one section a file, each validates itself; all problems are found at once.
//!
//! `default.toml` is the reference and the lowest layer, `names.rs` the table of all names. A new setting needs a line
//! in each, a field in its section and the line that reads it; tests notice when one is forgotten.

mod audit;
mod auth;
mod cors;
mod database;
mod database_parts;
mod dotenv;
mod encryption;
mod jobs;
mod layers;
mod log;
mod mail;
mod metrics;
pub mod names;
mod problem;
mod rate_limit;
mod reader;
mod redis;
mod secrets;
mod server;
mod sources;
#[cfg(test)]
mod tests;
mod weak;

pub use audit::AuditConfig;
pub use auth::{AuthConfig, JwtAlgorithm, SessionStoreChoice};
pub use cors::{CorsConfig, Origins};
pub use database::{DatabaseConfig, DatabaseKind, DatabaseUrl};
pub use encryption::EncryptionConfig;
pub use jobs::JobsConfig;
pub use log::{LogConfig, LogFormat};
pub use mail::MailConfig;
pub use metrics::MetricsConfig;
pub use problem::{ConfigError, Problem};
pub use rate_limit::RateLimitConfig;
pub use redis::RedisConfig;
pub use secrets::ensure_development_secret;
pub use server::ServerConfig;
pub use sources::{MissingSecrets, Sources};

use reader::{Read, Reader};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The commented defaults: reference, starting point and lowest layer.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// All settings, valid. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    pub environment: Environment,
    /// The folder of everything that the server keeps on disk.
    pub data_dir: PathBuf,
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub auth: AuthConfig,
    pub rate_limit: RateLimitConfig,
    pub encryption: EncryptionConfig,
    pub cors: CorsConfig,
    pub mail: MailConfig,
    pub jobs: JobsConfig,
    pub audit: AuditConfig,
    pub metrics: MetricsConfig,
    pub log: LogConfig,
}

/// A valid configuration, and how it came about.
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
    /// Its value, `***` for a secret; none where it isn't set.
    pub value: Option<String>,
    /// The variable or the file that set it.
    pub origin: Option<String>,
}

/// How strict the server is with its operator.
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

impl Config {
    /// Reads and validates all settings.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut reader = Reader::new(layers::collect(sources));
        match Self::read(&mut reader) {
            Ok(config) if reader.problems.is_empty() => {
                let settings = names::SETTINGS.iter().map(|setting| config.effective(setting.path, &reader)).collect();
                Ok(Loaded { config, settings })
            }
            _ => Err(ConfigError { problems: reader.problems }),
        }
    }

    fn read(reader: &mut Reader) -> Read<Self> {
        let environment = reader.parsed("environment");
        let data_dir = reader.word("data_dir").map(PathBuf::from);
        let server = ServerConfig::read(reader);
        let database = DatabaseConfig::read(reader, data_dir.as_deref().unwrap_or(Path::new(".")));
        let redis = RedisConfig::read(reader);
        let auth = AuthConfig::read(reader);
        let rate_limit = RateLimitConfig::read(reader);
        let encryption = EncryptionConfig::read(reader);
        if let (Ok(auth), Ok(encryption)) = (&auth, &encryption) {
            encryption.refuse_secrets_of(auth, reader);
        }
        let cors = CorsConfig::read(reader);
        let mail = MailConfig::read(reader);
        let jobs = JobsConfig::read(reader);
        let audit = AuditConfig::read(reader);
        let metrics = MetricsConfig::read(reader);
        let log = LogConfig::read(reader);
        Ok(Self {
            environment: environment?,
            data_dir: data_dir?,
            server: server?,
            database: database?,
            redis: redis?,
            auth: auth?,
            rate_limit: rate_limit?,
            encryption: encryption?,
            cors: cors?,
            mail: mail?,
            jobs: jobs?,
            audit: audit?,
            metrics: metrics?,
            log: log?,
        })
    }

    fn effective(&self, path: &'static str, reader: &Reader) -> EffectiveSetting {
        let value = match path {
            "environment" => Some(format!("\"{}\"", self.environment)),
            "database.url" => Some(format!("{:?}", self.database.url.redacted())),
            _ => reader.shown(path).map(str::to_owned),
        };
        EffectiveSetting { path, value, origin: reader.origin(path) }
    }

    /// The settings of a test's server: development, cheap password hashes, secrets that everybody knows.
    pub fn for_tests(data_dir: PathBuf, database_url: DatabaseUrl) -> Self {
        Self {
            environment: Environment::Development,
            data_dir,
            server: ServerConfig::for_tests(),
            database: DatabaseConfig::for_tests(database_url),
            redis: RedisConfig::for_tests(),
            auth: AuthConfig::for_tests(),
            rate_limit: RateLimitConfig::for_tests(),
            encryption: EncryptionConfig::for_tests(),
            cors: CorsConfig { origins: Origins::None },
            mail: MailConfig::for_tests(),
            jobs: JobsConfig::for_tests(),
            audit: AuditConfig::for_tests(),
            metrics: MetricsConfig::for_tests(),
            log: LogConfig { level: "info".to_owned(), format: LogFormat::Text },
        }
    }
}
