//! `[database]`: which one, and how many connections.
use super::reader::{self, Read, Reader};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    pub url: DatabaseUrl,
    /// How many connections may be open at once.
    pub pool_size: u32,
    /// How long a request may wait for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement of a search, an export or a feed may take.
    pub long_read_timeout: Duration,
    /// Certificates (PEM) of the authorities that the database's own must come from.
    pub ca_file: Option<PathBuf>,
}

impl DatabaseConfig {
    pub(super) fn read(reader: &mut Reader, data_dir: &Path) -> Read<Self> {
        let url = url(reader, data_dir);
        let pool_size = reader.number("database.pool_size", 1..=1000);
        let acquire_timeout = reader.seconds("database.acquire_timeout_seconds", 1..=300);
        let long_read_timeout = reader.milliseconds("database.long_read_timeout_ms", 100..=60_000);
        let ca_file = reader.optional_text("database.ca_file");
        Ok(Self {
            url: url?,
            pool_size: pool_size?,
            acquire_timeout: acquire_timeout?,
            long_read_timeout: long_read_timeout?,
            ca_file: ca_file?.map(PathBuf::from),
        })
    }

    pub(super) fn for_tests(url: DatabaseUrl) -> Self {
        let [acquire_timeout, long_read_timeout] = [5, 2].map(Duration::from_secs);
        Self { url, pool_size: 10, acquire_timeout, long_read_timeout, ca_file: None }
    }
}

fn url(reader: &mut Reader, data_dir: &Path) -> Read<DatabaseUrl> {
    let text = reader.text("database.url")?;
    DatabaseUrl::parse(&text, data_dir).map_err(|message| reader.report("database.url", message))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
    /// MySQL's protocol: MariaDB.
    Mysql,
}

/// Where the database is, its password included; `Debug` and [`redacted`](Self::redacted) leave that out.
#[derive(Clone)]
pub struct DatabaseUrl {
    kind: DatabaseKind,
    url: SecretString,
}

impl DatabaseUrl {
    /// Reads a URL; `{data_dir}` in a SQLite path stands for that folder. Errors don't repeat what was given.
    pub fn parse(text: &str, data_dir: &Path) -> Result<Self, String> {
        let expected = "must start with sqlite://, postgres://, postgresql://, mysql:// or mariadb://";
        let (scheme, rest) = text.trim().split_once("://").ok_or(expected)?;
        let scheme = scheme.split('+').next().unwrap_or(scheme).to_ascii_lowercase();
        let (kind, url) = match scheme.as_str() {
            "sqlite" => (DatabaseKind::Sqlite, sqlite(rest, data_dir)?),
            "postgres" | "postgresql" => (DatabaseKind::Postgres, network(&format!("postgres://{rest}"))?.to_string()),
            "mysql" | "mariadb" => (DatabaseKind::Mysql, network(&format!("mysql://{rest}"))?.to_string()),
            _ => return Err(expected.to_owned()),
        };
        Ok(Self { kind, url: url.into() })
    }

    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The URL for the driver, password included: `sqlite://<path>`, `postgres://…` or `mysql://…`.
    pub fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// The file of a SQLite database.
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.expose().strip_prefix("sqlite://").map(Path::new)
    }

    /// The URL for people, `***` instead of passwords.
    pub fn redacted(&self) -> String {
        match (self.kind, Url::parse(self.expose())) {
            (DatabaseKind::Sqlite, _) => self.expose().to_owned(),
            (_, Ok(url)) => without_passwords(url),
            (_, Err(_)) => "***".to_owned(),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseUrl").field(&self.redacted()).finish()
    }
}

// The folder is put in last: its own characters mean nothing.
fn sqlite(path: &str, data_dir: &Path) -> Result<String, String> {
    if path.contains(['?', '#']) {
        return Err("takes no parameters: sqlite:// and the path of a file".to_owned());
    }
    if path.is_empty() || path.contains(":memory:") || path.ends_with('/') {
        return Err("must name a file: sqlite:///absolute.db or sqlite://relative.db".to_owned());
    }
    let data_dir = data_dir.to_string_lossy();
    Ok(format!("sqlite://{}", path.replace("{data_dir}", data_dir.trim_end_matches('/'))))
}

fn network(text: &str) -> Result<Url, String> {
    let url = reader::url(text)?;
    // libpq's way of naming a Unix socket's folder.
    let has_socket = url.scheme() == "postgres" && url.query_pairs().any(|(name, _)| name == "host");
    if url.host_str().is_none_or(str::is_empty) && !has_socket {
        return Err("must name the host".to_owned());
    }
    if url.path().trim_matches('/').is_empty() {
        return Err("must end in the database's name: postgres://user:password@host/name".to_owned());
    }
    Ok(url)
}

fn without_passwords(mut url: Url) -> String {
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    let hidden = |name: &str, value: &str| if name.contains("pass") { "***".to_owned() } else { value.to_owned() };
    let pairs: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.to_string(), hidden(&name, &value))).collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DatabaseUrl, String> {
        DatabaseUrl::parse(text, Path::new("/srv/data"))
    }

    #[test]
    fn all_forms_are_understood() {
        use DatabaseKind::{Mysql, Postgres, Sqlite};
        for (given, kind, url) in [
            ("sqlite:///abs/olute.db", Sqlite, "sqlite:///abs/olute.db"),
            ("sqlite://relative.db", Sqlite, "sqlite://relative.db"),
            ("sqlite+aiosqlite:///abs.db", Sqlite, "sqlite:///abs.db"),
            ("sqlite://{data_dir}/bizcenter.db", Sqlite, "sqlite:///srv/data/bizcenter.db"),
            ("postgres://u:p@h:5433/d", Postgres, "postgres://u:p@h:5433/d"),
            ("postgresql+asyncpg://u:p@h/d", Postgres, "postgres://u:p@h/d"),
            ("PostgreSQL://u:p%40@h/d?sslmode=require", Postgres, "postgres://u:p%40@h/d?sslmode=require"),
            ("postgres:///d?host=/run/postgresql", Postgres, "postgres:///d?host=/run/postgresql"),
            ("mysql+pymysql://u:p@h:3306/d", Mysql, "mysql://u:p@h:3306/d"),
            ("mariadb://u@[::1]/d", Mysql, "mysql://u@[::1]/d"),
        ] {
            let parsed = parse(given).unwrap();
            assert_eq!((parsed.kind(), parsed.expose()), (kind, url));
        }
        assert_eq!(parse("sqlite:///a.db").unwrap().sqlite_path(), Some(Path::new("/a.db")));
        assert_eq!(parse("mysql://h/d").unwrap().sqlite_path(), None);
    }

    #[test]
    fn errors_do_not_repeat_the_password() {
        for wrong in [
            "hunter2",
            "oracle://u:hunter2@h/d",
            "postgres://u:hunter2#@h/d",
            "postgres://u:hunter2/x@h/d",
            "postgres://u:hunter2@h",
            "postgres://u:hunter2@/d",
            "mysql://u:hunter2@h:port/d",
            "sqlite://hunter2?mode=memory",
            "sqlite://:memory:",
            "sqlite://",
            "sqlite:///hunter2/",
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        let url = parse("postgres://user:hunter2@h/d?password=hunter2&sslmode=require").unwrap();
        assert_eq!(url.redacted(), "postgres://user:***@h/d?password=***&sslmode=require");
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}
