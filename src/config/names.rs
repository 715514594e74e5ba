//! The names of settings: their paths in the file, and the variables that set them.
use super::Config;
use super::database_parts::DATABASE_PARTS;
use super::declare::{Section, Setting};
use super::rate_limit::LIMIT_PER_MINUTE;
use std::sync::LazyLock;

/// All settings, in the order of their declarations.
pub(super) static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(Config::list);

/// Everything that has names: the settings, and the parts that are converted into settings.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(&DATABASE_PARTS).chain([&LIMIT_PER_MINUTE])
}

/// The setting that a name refers to. The value is given directly or (`…_FILE`) in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub setting: &'static Setting,
    pub in_file: bool,
}

/// The setting with this path, such as `server.port`.
pub(super) fn find(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// Finds the setting for a path of the file, such as `auth.jwt_secret` or `auth.jwt_secret_file`.
pub(super) fn find_path(path: &str) -> Option<Found> {
    with_file_suffix(path, "_file", find)
}

/// Finds the setting for a variable, such as `PORT`, `PORT_FILE`, `BIZCENTER_SERVER__PORT` or
/// `BIZCENTER_SERVER__PORT_FILE`.
pub(super) fn find_variable(name: &str) -> Option<Found> {
    with_file_suffix(name, "_FILE", |name| match nested_path(name) {
        Some(path) => find(&path),
        None => all().find(|setting| setting.names.contains(&name)),
    })
}

// The exact name is tried first, because `database.ca_file` is a setting and not the file of `database.ca`.
fn with_file_suffix(name: &str, suffix: &str, find: impl Fn(&str) -> Option<&'static Setting>) -> Option<Found> {
    if let Some(setting) = find(name) {
        return Some(Found { setting, in_file: false });
    }
    let setting = find(name.strip_suffix(suffix)?)?;
    Some(Found { setting, in_file: true })
}

/// The path for a `BIZCENTER_…` variable, or `None` for other variables.
pub(super) fn nested_path(variable: &str) -> Option<String> {
    Some(variable.strip_prefix("BIZCENTER_")?.to_lowercase().replace("__", "."))
}

/// The `BIZCENTER_…` variable of a path.
pub(super) fn nested_variable(path: &str) -> String {
    format!("BIZCENTER_{}", path.to_uppercase().replace('.', "__"))
}

/// The known path that the author of this unknown one most likely meant.
pub(super) fn nearest_path(unknown: &str) -> Option<&'static str> {
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

/// Whether Kubernetes made this variable for a service with a name such as `bizcenter` or `db`
/// (`BIZCENTER_SERVICE_HOST`, `DB_PORT=tcp://10.0.0.7:5432`, `BIZCENTER_PORT_8000_TCP_ADDR`). Kubernetes sets such
/// variables in every pod of the namespace by default.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
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
    fn no_name_is_declared_twice() {
        let names: Vec<&str> = all().flat_map(|setting| setting.names).copied().collect();
        let paths: Vec<&str> = all().map(|setting| setting.path).collect();
        assert!(paths.contains(&"log.format") && names.contains(&"DB_HOST"), "this test sees all of them");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
    }

    #[test]
    fn no_file_form_is_another_settings_name() {
        for setting in SETTINGS.iter() {
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
