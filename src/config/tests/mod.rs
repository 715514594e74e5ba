//! The loader as a whole: layers, names, files.
mod refused;
mod sections;

use super::*;
use crate::base::key_ring::MasterKey;
use crate::base::pooler::Pooler;
use secrecy::ExposeSecret;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::time::Duration;

const STRONG: &str = "q7vN2xK0mB4tZ8wR5yL1cH6jD9sF3gPa";
const STRONG_TOO: &str = "Zp3Xw8Qa6Lk1Vn9Tr4Yb7Mc2Gd5Hf0Jx";
/// In the form of a private key, and no more than that.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n";
const ENV_EXAMPLE: &str = include_str!("../../../.env.example");

/// The files and the environment of one test.
fn sources(env: &[(&str, &str)], files: &[(&str, &str)]) -> Sources {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let files: BTreeMap<String, String> = files.iter().map(own).collect();
    Sources {
        env: env.iter().map(own).collect(),
        config_file: None,
        read_file: Box::new(move |path| {
            files.get(path.to_str().unwrap()).cloned().ok_or_else(|| Error::from(ErrorKind::NotFound))
        }),
        development_secret: Box::new(|path| Ok(format!("{STRONG} made for {}", path.display()))),
    }
}

fn load(env: &[(&str, &str)], files: &[(&str, &str)]) -> Config {
    Config::load(&sources(env, files)).unwrap().config
}

/// The problems, one a line.
fn refused(env: &[(&str, &str)], files: &[(&str, &str)]) -> String {
    Config::load(&sources(env, files)).unwrap_err().to_string()
}

/// What production needs besides what a test is about.
fn production<'a>(env: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let needed = [("APP_ENV", "production"), ("JWT_SECRET", STRONG), ("CONTRACT_ENCRYPTION_KEY", STRONG_TOO)];
    needed.into_iter().filter(|(name, _)| env.iter().all(|(given, _)| given != name)).chain(env.to_vec()).collect()
}

#[test]
fn the_default_file_holds_exactly_the_defaults() {
    let Config {
        environment,
        data_dir,
        server,
        database,
        auth,
        encryption,
        cors,
        log,
        redis: _,
        rate_limit: _,
        mail: _,
        jobs: _,
        audit: _,
        metrics: _,
    } = load(&[], &[]);
    assert_eq!((environment, data_dir), (Environment::Development, PathBuf::from("./data")));
    assert_eq!(server.address().to_string(), "127.0.0.1:8000");
    assert_eq!((server.max_body_bytes, server.max_connections), (1_048_576, 10_000));
    assert_eq!((server.docs_enabled, server.old_paths_enabled), (true, true));
    assert_eq!(server.header_timeout, Duration::from_secs(10));
    assert_eq!((server.request_timeout, server.drain_timeout), (Duration::from_secs(30), Duration::from_secs(30)));
    assert_eq!(server.trusted_proxies, vec![]);
    assert_eq!((database.url.expose(), database.pool_size), ("sqlite://./data/bizcenter.db", 10));
    assert_eq!((database.acquire_timeout, database.ca_file), (Duration::from_secs(5), None));
    assert_eq!(database.pooler, Pooler::None);
    assert_eq!((auth.issuer.as_str(), auth.audience.as_str()), ("bizcenter", "bizcenter"));
    assert_eq!(auth.access_lifetime, Duration::from_secs(900));
    assert_eq!(auth.refresh_lifetime, Duration::from_secs(1_209_600));
    assert_eq!((auth.refresh_grace, auth.refresh_in_cookie), (Duration::from_secs(10), true));
    assert_eq!((auth.bcrypt_cost, auth.jwt_secret_previous.is_none()), (12, true));
    assert_eq!(auth.jwt_secret.expose_secret(), format!("{STRONG} made for ./data/secrets/jwt_secret"));
    let [MasterKey { id, secret }] = encryption.keys.as_slice() else { panic!("{encryption:?}") };
    assert_eq!((id.as_str(), encryption.active.as_str()), ("default", "default"));
    assert_eq!(secret.expose_secret(), format!("{STRONG} made for ./data/secrets/encryption_key"));
    assert_eq!((cors.origins, log.level, log.format), (Origins::None, "info".to_owned(), LogFormat::Text));
    assert_eq!((auth.jwt_algorithm, auth.session_store), (JwtAlgorithm::Hs256, SessionStoreChoice::Auto));
    assert!(auth.jwt_key.is_none() && auth.jwt_key_previous.is_none());
    assert_eq!((auth.refuse_common_passwords, auth.require_verified_email), (false, false));
    assert_eq!((auth.failures_before_wait, auth.failures_before_wait_per_ip), (5, 50));
    assert_eq!(auth.invitation_lifetime, Duration::from_secs(7 * 86_400));
}

#[test]
fn the_default_file_holds_exactly_the_defaults_around_requests() {
    let Config { redis, rate_limit, mail, jobs, audit, metrics, .. } = load(&[], &[]);
    assert!(redis.url.is_none() && mail.smtp_url.is_none() && mail.app_url.is_none());
    assert_eq!((redis.pool_size, redis.timeout), (10, Duration::from_millis(500)));
    assert_eq!(rate_limit, RateLimitConfig { enabled: true, ..RateLimitConfig::for_tests() });
    assert_eq!(
        (rate_limit.anonymous_per_hour, rate_limit.user_per_hour, rate_limit.api_key_per_hour),
        (100, 1000, 1000)
    );
    assert_eq!((rate_limit.register_per_minute, rate_limit.login_per_minute), (5, 20));
    assert_eq!((rate_limit.refresh_per_minute, rate_limit.writes_per_minute), (10, 60));
    assert_eq!((rate_limit.email_changes_per_hour, rate_limit.invitations_per_day), (5, 100));
    assert_eq!(rate_limit.username_changes_per_hour, 5);
    assert_eq!((rate_limit.invitations_per_day_new_tenant, rate_limit.invitations_per_day_per_ip), (20, 50));
    assert_eq!(rate_limit.invitations_per_day_in_all, 1000);
    assert_eq!((mail.from.as_str(), mail.is_set_up()), ("BizCenter <no-reply@localhost>", false));
    assert_eq!((mail.per_recipient_per_hour, mail.per_mailbox_per_hour), (5, 20));
    assert_eq!((jobs.enabled, jobs.poll, audit.retention_days), (true, Duration::from_secs(1), 90));
    assert_eq!(metrics, MetricsConfig { address: None });
}

#[test]
fn the_default_file_holds_every_setting() {
    let mut section = String::new();
    let mut found = vec![];
    for line in DEFAULT_FILE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            found.push(format!("{section}{key}"));
        }
    }
    let all: Vec<&str> = names::SETTINGS.iter().map(|setting| setting.path).collect();
    let sorted = |paths: Vec<String>| paths.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(found.clone()), sorted(all.into_iter().map(str::to_owned).collect()));
    assert_eq!(found.len(), names::SETTINGS.len(), "none twice");
    for name in names::all().flat_map(|setting| setting.names) {
        assert!(has_word(DEFAULT_FILE, name) && has_word(ENV_EXAMPLE, name), "{name}");
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn every_setting_is_read() {
    for setting in names::SETTINGS {
        // A table fits no setting.
        let (section, key) = setting.path.rsplit_once('.').map_or((None, setting.path), |(s, k)| (Some(s), k));
        let header = section.map(|section| format!("[{section}]\n")).unwrap_or_default();
        let toml = format!("{header}{key} = {{ unfit = true }}");
        let problems = refused(&[], &[("bizcenter.toml", &toml)]);
        assert!(problems.contains(&format!("{} (from bizcenter.toml): must be", setting.path)), "{problems}");
    }
}

#[test]
fn later_layers_win() {
    let toml = ("bizcenter.toml", "[server]\nport = 1\nmax_connections = 1\n[database]\npool_size = 1\n");
    let dotenv = (".env", "PORT=2\nBIZCENTER_DATABASE__POOL_SIZE=2\n");
    let config = load(&[("PORT", "3")], &[toml, dotenv]);
    assert_eq!((config.server.port, config.database.pool_size, config.server.max_connections), (3, 2, 1));
}

#[test]
fn only_development_reads_dotenv() {
    let dotenv = (".env", "PORT=2\nnot a variable");
    assert_eq!(load(&production(&[]), &[dotenv]).server.port, 8000);
    let problems = refused(&[], &[(".env", "APP_ENV=production\nPORT=2\nnot a variable")]);
    assert!(problems.contains(".env: line 3 is not NAME=value"), "{problems}");
    assert!(problems.contains("environment (from APP_ENV in .env): only development reads .env"), "{problems}");
}

#[test]
fn the_file_may_be_chosen() {
    let file = ("/etc/bizcenter.toml", "[server]\nport = 1\n");
    let mut chosen = sources(&[], &[file]);
    chosen.config_file = Some("/etc/bizcenter.toml".into());
    assert_eq!(Config::load(&chosen).unwrap().config.server.port, 1);
    chosen.config_file = Some("/etc/missing.toml".into());
    assert_eq!(Config::load(&chosen).unwrap_err().to_string(), "/etc/missing.toml: cannot be read: entity not found");
}

#[test]
fn names_from_elsewhere_are_understood() {
    let config = load(
        &[
            ("SECRET_KEY", STRONG),
            ("ENVIRONMENT", "prod"),
            ("CONTRACT_ENCRYPTION_KEY", STRONG_TOO),
            ("ACCESS_TOKEN_EXPIRE_MINUTES", "5"),
            ("REFRESH_TOKEN_EXPIRE_DAYS", "3"),
            ("ALLOWED_ORIGINS", "[\"https://A.example\", \"https://b.example/\"]"),
            ("TRUSTED_PROXIES", "10.0.0.1, 192.168.0.0/16"),
            ("REFRESH_IN_COOKIE", "no"),
            ("BIZCENTER_LOG__FORMAT", "text"),
        ],
        &[],
    );
    assert_eq!((config.environment, config.server.host.to_string()), (Environment::Production, "0.0.0.0".to_owned()));
    assert_eq!(config.auth.jwt_secret.expose_secret(), STRONG);
    assert_eq!(config.auth.access_lifetime, Duration::from_secs(300));
    assert_eq!((config.auth.refresh_lifetime.as_secs(), config.auth.refresh_in_cookie), (3 * 86_400, false));
    assert_eq!(config.cors.origins, Origins::List(vec!["https://a.example".into(), "https://b.example".into()]));
    assert_eq!(config.server.trusted_proxies, ["10.0.0.1/32".parse().unwrap(), "192.168.0.0/16".parse().unwrap()]);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn values_may_be_in_files() {
    let files = [("/run/jwt", "q7vN2xK0mB4tZ8wR5yL1cH6jD9sF3gPa\n"), ("/run/port", "9"), ("/run/key", STRONG_TOO)];
    let env = [("JWT_SECRET_FILE", "/run/jwt"), ("BIZCENTER_SERVER__PORT_FILE", "/run/port")];
    let toml = ("bizcenter.toml", "[encryption]\nkey_file = '/run/key'\n");
    let config = load(&env, &[files[0], files[1], files[2], toml]);
    assert_eq!((config.auth.jwt_secret.expose_secret(), config.server.port), (STRONG, 9));
    assert_eq!(config.encryption.keys[0].secret.expose_secret(), STRONG_TOO);
}

#[test]
fn an_empty_variable_is_not_set() {
    let config = load(&[("PORT", ""), ("JWT_SECRET", ""), ("BIZCENTER_LOG__LEVEL", "")], &[]);
    assert_eq!((config.server.port, config.log.level.as_str()), (8000, "info"));
}

#[test]
fn secrets_are_made_in_development_only_and_only_where_needed() {
    let mut sources = sources(&production(&[]), &[]);
    sources.development_secret = Box::new(|path| panic!("asked for {}", path.display()));
    assert!(Config::load(&sources).is_ok());
    sources.env = BTreeMap::from([("JWT_SECRET".to_owned(), STRONG.to_owned())]);
    sources.development_secret = Box::new(|_| Err(Error::from(ErrorKind::PermissionDenied)));
    assert_eq!(
        Config::load(&sources).unwrap_err().to_string(),
        "encryption.key (from ./data/secrets/encryption_key): cannot be read or made: permission denied"
    );
}

#[test]
fn database_parts_make_a_url() {
    let parts = [("DB_HOST", "db"), ("DB_NAME", "biz"), ("DB_USER", "me"), ("DB_PASSWORD", "p@ss/w#rd%")];
    assert_eq!(load(&parts, &[]).database.url.expose(), "postgres://me:p%40ss%2Fw%23rd%25@db/biz");
    let mariadb = [("DB_HOST", "::1"), ("DB_PORT", "3306"), ("DB_NAME", "biz"), ("USE_SQLITE", "false")];
    assert_eq!(load(&mariadb, &[]).database.url.expose(), "mysql://[::1]:3306/biz");
    let socket = [("DB_HOST", "/run/pg"), ("DB_PORT", "5433"), parts[1], parts[2], parts[3]];
    let url = "postgres://me:p%40ss%2Fw%23rd%25@:5433/biz?host=%2Frun%2Fpg";
    assert_eq!(load(&socket, &[]).database.url.expose(), url);
    for (host, port) in [("/run/mysqld.sock", ""), ("/cloudsql/one", "3306")] {
        let encoded = host.replace('/', "%2F").replace('.', "%2E");
        let config = load(&[("DB_HOST", host), ("DB_PORT", port), parts[1], ("DB_USER", "me")], &[]);
        assert_eq!(config.database.url.expose(), format!("mysql://me@/biz?socket={encoded}"));
    }
    let toml = ("bizcenter.toml", "data_dir = '/srv'\n[database]\nurl = 'postgres://h/d'\n");
    assert_eq!(load(&[parts[0], ("USE_SQLITE", "1")], &[toml]).database.url.expose(), "sqlite:///srv/bizcenter.db");
    assert_eq!(load(&[("USE_SQLITE", "false")], &[toml]).database.url.expose(), "postgres://h/d");
    let url = ("DATABASE_URL", "sqlite:///own.db");
    assert_eq!(load(&[url, ("USE_SQLITE", "true")], &[]).database.url.expose(), "sqlite:///own.db");
}

#[test]
fn database_parts_override_each_other_one_by_one() {
    let dotenv = (".env", "DB_HOST=db\nDB_NAME=biz\nDB_USER=me\nDB_PASSWORD=old\n");
    let secret = ("/run/password", "new\n");
    let config = load(&[("DB_PASSWORD_FILE", "/run/password")], &[dotenv, secret]);
    assert_eq!(config.database.url.expose(), "postgres://me:new@db/biz");
    assert_eq!(load(&[("DATABASE_URL", "mysql://h/d")], &[dotenv]).database.url.expose(), "mysql://h/d");
}

#[test]
fn effective_settings_name_their_origin() {
    let toml = ("/etc/b.toml", "[server]\nmax_connections = 5\n");
    let mut sources = sources(&[("PORT", "1")], &[toml, (".env", "LOG_LEVEL=debug")]);
    sources.config_file = Some("/etc/b.toml".into());
    let settings = Config::load(&sources).unwrap().settings;
    let of = |path: &str| {
        let setting = settings.iter().find(|setting| setting.path == path).unwrap();
        format!("{} from {}", setting.value.as_deref().unwrap_or("-"), setting.origin.as_deref().unwrap_or("-"))
    };
    assert_eq!(of("server.port"), "1 from PORT");
    assert_eq!(of("server.max_connections"), "5 from /etc/b.toml");
    assert_eq!(of("log.level"), "\"debug\" from LOG_LEVEL in .env");
    assert_eq!(of("log.format"), "\"text\" from default in development");
    assert_eq!(of("auth.access_minutes"), "15 from default");
    assert_eq!(of("auth.jwt_secret"), "*** from ./data/secrets/jwt_secret");
    assert_eq!(of("database.ca_file"), "- from -");
}

#[test]
fn the_config_of_tests_is_cheap() {
    let url = DatabaseUrl::parse("sqlite://t.db", Path::new(".")).unwrap();
    let config = Config::for_tests("data".into(), url);
    assert_eq!((config.auth.bcrypt_cost, config.environment), (4, Environment::Development));
}
