//! The loader as a whole: layers, names, files.
mod refused;
mod sections;

use super::*;
use crate::base::key_ring::MasterKey;
use crate::base::pooler::Pooler;
use figment::Figment;
use figment::providers::{Format, Toml};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

const STRONG: &str = "q7vN2xK0mB4tZ8wR5yL1cH6jD9sF3gPa";
const STRONG_TOO: &str = "Zp3Xw8Qa6Lk1Vn9Tr4Yb7Mc2Gd5Hf0Jx";
/// A text in the form of a private key, but without a real key.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n";
const ENV_EXAMPLE: &str = include_str!("../../../.env.example");
const DEFAULT_FILE: &str = include_str!("../default.toml");

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

/// The environment of a test, with the settings that production requires besides.
fn production<'a>(env: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let needed = [("APP_ENV", "production"), ("JWT_SECRET", STRONG), ("CONTRACT_ENCRYPTION_KEY", STRONG_TOO)];
    needed.into_iter().filter(|(name, _)| env.iter().all(|(given, _)| given != name)).chain(env.to_vec()).collect()
}

#[test]
fn what_nobody_sets_has_its_default() {
    let loaded = Config::load(&sources(&[], &[])).unwrap();
    for (setting, effective) in SETTINGS.iter().zip(&loaded.settings) {
        let default = setting.fixed_default().or(setting.default_in(Environment::Development));
        let value = default.map(|value| value.to_string().replace("{data_dir}", "./data"));
        let value = value.or(setting.made_in_development.map(|_| "***".to_owned()));
        assert_eq!((effective.path, &effective.value), (setting.path, &value));
    }
    let set = loaded.settings.iter().filter(|effective| effective.value.is_some()).count();
    assert!(set > SETTINGS.len() / 2, "most settings have a default, and {set} were seen");
}

#[test]
fn values_have_the_types_of_their_fields() {
    let Config { server, database, redis, auth, encryption, log, .. } = load(&[], &[]);
    assert_eq!(server.address().to_string(), "127.0.0.1:8000");
    assert_eq!((server.max_connections, server.max_connections_per_address), (10_000, 2500));
    assert_eq!(load(&[("BIZCENTER_SERVER__MAX_CONNECTIONS", "3")], &[]).server.max_connections_per_address, 1);
    assert_eq!((database.url.expose(), database.ca_file), ("sqlite://./data/bizcenter.db", None));
    assert_eq!((redis.timeout, auth.refresh_grace), (Duration::from_millis(500), Duration::from_secs(10)));
    assert_eq!((auth.access_lifetime.as_secs(), auth.refresh_lifetime.as_secs()), (15 * 60, 14 * 86_400));
    assert_eq!((auth.jwt_algorithm, auth.session_store), (JwtAlgorithm::Hs256, SessionStore::Auto));
    assert_eq!((database.pooler, log.format), (Pooler::None, LogFormat::Text));
    assert_eq!(auth.jwt_secret.expose_secret(), format!("{STRONG} made for ./data/secrets/jwt_secret"));
    assert!(auth.jwt_key.is_none() && auth.jwt_key_previous.is_none() && auth.jwt_secret_previous.is_none());
    let [MasterKey { id, secret }] = encryption.keys.as_slice() else { panic!("{encryption:?}") };
    assert_eq!((id.as_str(), encryption.active.as_str()), ("default", "default"));
    assert_eq!(secret.expose_secret(), format!("{STRONG} made for ./data/secrets/encryption_key"));
}

/// `default.toml` is printed from the declarations. With `UPDATE` set, this writes it.
#[test]
fn default_toml_is_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/default.toml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        written,
        reference(),
        "default.toml is not what the declarations say: UPDATE=1 cargo test --lib default_toml_is_the_reference"
    );
}

#[test]
fn the_reference_holds_every_setting_and_every_name() {
    let reference = reference();
    let toml: String = reference.lines().map(|line| format!("{}\n", uncommented(line))).collect();
    let is_setting = |line: &&str| !line.is_empty() && !line.starts_with(['#', '[']);
    assert_eq!(toml.lines().filter(is_setting).count(), SETTINGS.len(), "each has a line");
    let parsed = Figment::from(Toml::string(&toml));
    for setting in SETTINGS.iter() {
        assert!(parsed.find_value(setting.path).is_ok(), "{} has neither a default nor an example", setting.path);
    }
    for name in names::all().flat_map(|setting| setting.names) {
        assert!(has_word(&reference, name), "the reference lacks {name}");
        assert!(has_word(ENV_EXAMPLE, name), ".env.example lacks {name}");
    }
    for placeholder in ["{range}", "{names}", "{default}"] {
        assert!(!reference.contains(placeholder), "{placeholder} is not filled in");
    }
}

#[test]
fn every_range_is_in_the_reference() {
    let mut with_text = &SETTINGS[0];
    let mut ranges = 0;
    for setting in SETTINGS.iter() {
        if !setting.text.is_empty() {
            with_text = setting;
        }
        let says = |placeholder: &str| with_text.text.iter().any(|line| line.contains(placeholder));
        if setting.range.is_some() {
            assert!(says("{range}"), "the text of {} does not say its {{range}}", setting.path);
            assert_eq!(with_text.range, setting.range, "{} has the text of {}", setting.path, with_text.path);
            ranges += 1;
        }
        let depends = setting.default_in(Environment::Development).is_some();
        assert_eq!(says("{default}"), depends, "{}: the text says {{default}} if that depends", setting.path);
    }
    assert!(ranges > SETTINGS.len() / 3, "only {ranges} ranges were looked at");
}

/// The setting in a line that is commented out. Prose has a space after its `#`.
fn uncommented(line: &str) -> &str {
    line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn every_setting_is_read() {
    for setting in SETTINGS.iter() {
        // A table is no valid value for any setting.
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
fn tests_get_what_is_declared_for_them() {
    let loaded = Config::of(layers::of_tests(|_| None)).unwrap();
    let mut own = 0;
    for (setting, effective) in SETTINGS.iter().zip(&loaded.settings) {
        if let Some(value) = &setting.in_tests {
            let shown = if setting.secret { "***".to_owned() } else { value.to_string() };
            assert_eq!((effective.value.as_ref(), effective.origin.as_deref()), (Some(&shown), Some("tests")));
            own += 1;
        } else {
            assert_ne!(effective.origin.as_deref(), Some("tests"), "{}", setting.path);
        }
    }
    assert!(own > 0, "tests have settings of their own");
    let url = DatabaseUrl::parse("sqlite://t.db", Path::new(".")).unwrap();
    let config = Config::for_tests("data".into(), url).unwrap();
    assert_eq!((config.auth.bcrypt_cost, config.environment), (4, Environment::Development));
    assert_eq!((config.data_dir, config.database.url.expose()), (PathBuf::from("data"), "sqlite://t.db"));
}

#[test]
fn the_highest_limits_are_the_ends_of_their_ranges() {
    let highest = RateLimitConfig::highest().unwrap();
    let limits = SETTINGS.iter().filter(|setting| setting.path.starts_with("rate_limit.") && setting.range.is_some());
    assert!(highest.enabled && highest.feed_per_hour == 1_000_000);
    assert_eq!(format!("{highest:?}").matches("1000000").count(), limits.count());
}
