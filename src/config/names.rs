//! Every setting and every name that it goes by, in one table.

/// One setting: its path in the file, and the plain variables that set it (the first is the one we recommend).
#[derive(Debug)]
pub struct Setting {
    pub path: &'static str,
    pub names: &'static [&'static str],
    /// Whether its value must never be shown.
    pub secret: bool,
}

const fn open(path: &'static str, names: &'static [&'static str]) -> Setting {
    Setting { path, names, secret: false }
}

const fn secret(path: &'static str, names: &'static [&'static str]) -> Setting {
    Setting { path, names, secret: true }
}

/// All settings, in the order of `default.toml`.
pub const SETTINGS: &[Setting] = &[
    open("environment", &["APP_ENV", "ENVIRONMENT"]),
    open("data_dir", &["DATA_DIR"]),
    open("server.host", &["HOST"]),
    open("server.port", &["PORT"]),
    open("server.trusted_proxies", &["TRUSTED_PROXIES"]),
    open("server.max_body_bytes", &["MAX_BODY_BYTES"]),
    open("server.header_timeout_seconds", &[]),
    open("server.request_timeout_seconds", &[]),
    open("server.write_timeout_seconds", &[]),
    open("server.drain_timeout_seconds", &[]),
    open("server.max_connections", &[]),
    open("server.max_connections_per_address", &[]),
    open("server.max_unsent_bytes", &[]),
    open("server.max_exports", &[]),
    open("server.docs_enabled", &[]),
    open("server.old_paths_enabled", &[]),
    secret("database.url", &["DATABASE_URL"]),
    open("database.pooler", &["DATABASE_POOLER"]),
    open("database.pool_size", &[]),
    open("database.acquire_timeout_seconds", &[]),
    open("database.long_read_timeout_ms", &[]),
    open("database.ca_file", &[]),
    secret("redis.url", &["REDIS_URL"]),
    open("redis.pool_size", &[]),
    open("redis.timeout_ms", &[]),
    secret("auth.jwt_secret", &["JWT_SECRET", "SECRET_KEY", "JWT_SECRET_KEY"]),
    secret("auth.jwt_secret_previous", &[]),
    open("auth.jwt_algorithm", &["JWT_ALG"]),
    secret("auth.jwt_key", &["JWT_KEY"]),
    secret("auth.jwt_key_previous", &[]),
    open("auth.issuer", &[]),
    open("auth.audience", &[]),
    open("auth.access_minutes", &["ACCESS_MIN", "ACCESS_TOKEN_EXPIRE_MINUTES"]),
    open("auth.refresh_days", &["REFRESH_DAYS", "REFRESH_TOKEN_EXPIRE_DAYS"]),
    open("auth.refresh_grace_seconds", &[]),
    open("auth.refresh_in_cookie", &["REFRESH_IN_COOKIE"]),
    open("auth.session_store", &[]),
    open("auth.bcrypt_cost", &[]),
    open("auth.refuse_common_passwords", &[]),
    open("auth.require_verified_email", &[]),
    open("auth.failures_before_wait", &[]),
    open("auth.failures_before_wait_per_ip", &[]),
    open("auth.invitation_days", &[]),
    open("rate_limit.enabled", &[]),
    open("rate_limit.anonymous_per_hour", &[]),
    open("rate_limit.user_per_hour", &[]),
    open("rate_limit.api_key_per_hour", &[]),
    open("rate_limit.register_per_minute", &[]),
    open("rate_limit.login_per_minute", &[]),
    open("rate_limit.refresh_per_minute", &[]),
    open("rate_limit.writes_per_minute", &[]),
    open("rate_limit.feed_per_hour", &[]),
    open("rate_limit.email_changes_per_hour", &[]),
    open("rate_limit.invitations_per_day", &[]),
    open("rate_limit.invitations_per_day_new_tenant", &[]),
    open("rate_limit.invitations_per_day_per_ip", &[]),
    open("rate_limit.invitations_per_day_in_all", &[]),
    open("rate_limit.username_changes_per_hour", &[]),
    secret("encryption.key", &["CONTRACT_ENCRYPTION_KEY"]),
    secret("encryption.keys", &[]),
    open("encryption.active", &[]),
    open("cors.origins", &["CORS_ORIGINS", "ALLOWED_ORIGINS"]),
    secret("mail.smtp_url", &["SMTP_URL"]),
    open("mail.from", &["MAIL_FROM"]),
    open("mail.app_url", &["APP_URL"]),
    open("mail.per_recipient_per_hour", &[]),
    open("mail.per_mailbox_per_hour", &[]),
    open("jobs.enabled", &[]),
    open("jobs.poll_ms", &[]),
    open("audit.retention_days", &[]),
    open("metrics.address", &["METRICS_ADDR"]),
    open("log.level", &["LOG_LEVEL"]),
    open("log.format", &[]),
];

/// What people bring instead of a database URL. No settings of their own: `database_parts` joins them to one.
pub const DATABASE_PARTS: &[Setting] = &[
    open("database.parts.host", &["DB_HOST"]),
    open("database.parts.port", &["DB_PORT"]),
    open("database.parts.name", &["DB_NAME"]),
    open("database.parts.user", &["DB_USER"]),
    secret("database.parts.password", &["DB_PASSWORD"]),
    open("database.parts.use_sqlite", &["USE_SQLITE"]),
];

/// What people bring instead of `rate_limit.user_per_hour`. No setting of its own: `rate_limit` converts it.
pub const LIMIT_PER_MINUTE: &[Setting] = &[open("rate_limit.parts.user_per_minute", &["RATE_LIMIT_PER_MINUTE"])];

/// All that has names: the settings, and what is made into one.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(DATABASE_PARTS).chain(LIMIT_PER_MINUTE)
}

/// What a name stands for: a setting's value, or (`…_FILE`) the file that holds it.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub setting: &'static Setting,
    pub in_file: bool,
}

/// The setting with this path.
pub fn setting(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// Finds what a path of the file stands for: `auth.jwt_secret`, `auth.jwt_secret_file`.
pub fn find_path(path: &str) -> Option<Found> {
    with_file_suffix(path, "_file", setting)
}

/// Finds what a variable stands for: `PORT`, `PORT_FILE`, `BIZCENTER_SERVER__PORT`, `BIZCENTER_SERVER__PORT_FILE`.
pub fn find_variable(name: &str) -> Option<Found> {
    with_file_suffix(name, "_FILE", |name| match nested_path(name) {
        Some(path) => setting(&path),
        None => all().find(|setting| setting.names.contains(&name)),
    })
}

// The exact name first: `database.ca_file` is a setting, not the file of `database.ca`.
fn with_file_suffix(name: &str, suffix: &str, find: impl Fn(&str) -> Option<&'static Setting>) -> Option<Found> {
    if let Some(setting) = find(name) {
        return Some(Found { setting, in_file: false });
    }
    let setting = find(name.strip_suffix(suffix)?)?;
    Some(Found { setting, in_file: true })
}

/// The path that a `BIZCENTER_…` variable means; none for other variables.
pub fn nested_path(variable: &str) -> Option<String> {
    Some(variable.strip_prefix("BIZCENTER_")?.to_lowercase().replace("__", "."))
}

/// The `BIZCENTER_…` variable of a path.
pub fn nested_variable(path: &str) -> String {
    format!("BIZCENTER_{}", path.to_uppercase().replace('.', "__"))
}

/// The known path that somebody who wrote this one most likely meant.
pub fn nearest_path(unknown: &str) -> Option<&'static str> {
    let paths = || SETTINGS.iter().map(|setting| setting.path);
    let key = unknown.rsplit('.').next().unwrap_or(unknown);
    let in_another_section = || paths().find(|path| path.rsplit('.').next() == Some(key));
    let allowed = 1 + unknown.len() / 5;
    paths()
        .map(|path| (strsim::osa_distance(unknown, path), path))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, path)| path)
        .or_else(in_another_section)
}

/// Whether Kubernetes made this variable for a service called, say, `bizcenter` or `db` (`BIZCENTER_SERVICE_HOST`,
/// `DB_PORT=tcp://10.0.0.7:5432`, `BIZCENTER_PORT_8000_TCP_ADDR`). It does so unasked, in every pod of the namespace.
pub fn is_service_link(name: &str, value: &str) -> bool {
    let is_port = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split("_PORT_").skip(1).any(is_port)
        || (name.ends_with("_PORT") && value.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_is_in_the_table_twice() {
        let names: Vec<&str> = all().flat_map(|setting| setting.names).copied().collect();
        let paths: Vec<&str> = all().map(|setting| setting.path).collect();
        assert_eq!((SETTINGS.len(), names.len()), (73, 35), "the table has grown: this test sees all of it");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
    }

    #[test]
    fn no_file_form_is_another_settings_name() {
        for setting in SETTINGS {
            assert!(find_path(&format!("{}_file", setting.path)).is_some_and(|found| found.in_file), "{setting:?}");
            let found = find_variable(&nested_variable(setting.path)).unwrap();
            assert_eq!((found.setting.path, found.in_file), (setting.path, false));
            for name in setting.names {
                assert!(find_variable(&format!("{name}_FILE")).is_some_and(|found| found.in_file), "{name}");
            }
        }
    }

    #[test]
    fn a_ca_file_is_a_setting() {
        let found = find_variable("BIZCENTER_DATABASE__CA_FILE").unwrap();
        assert_eq!((found.setting.path, found.in_file), ("database.ca_file", false));
    }

    #[test]
    fn near_misses_are_understood() {
        assert_eq!(nearest_path("server.prot"), Some("server.port"));
        assert_eq!(nearest_path("database_pool_size"), Some("database.pool_size"));
        assert_eq!(nearest_path("port"), Some("server.port"));
        assert_eq!(nearest_path("jwt_secret"), Some("auth.jwt_secret"));
        assert_eq!(nearest_path("pizza.topping"), None);
    }

    #[test]
    fn variables_of_kubernetes_are_told_apart() {
        assert!(is_service_link("BIZCENTER_SERVICE_HOST", "10.0.0.7"));
        assert!(is_service_link("BIZCENTER_SERVICE_PORT_HTTP", "8000"));
        assert!(is_service_link("BIZCENTER_API_PORT_8000_TCP_ADDR", "10.0.0.7"));
        assert!(is_service_link("DB_PORT", "tcp://10.0.0.7:5432"));
        assert!(!is_service_link("DB_PORT", "5432"));
        assert!(!is_service_link("BIZCENTER_PORT", "8000"));
        assert!(!is_service_link("BIZCENTER_SERVER__PORT", "8000"));
    }
}
