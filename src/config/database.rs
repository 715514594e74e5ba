//! `[database]`: which one, and how many connections.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{Checked, Choice, Number, Optional, Text, ValueType, milliseconds, seconds};
use crate::base::database_url::{self, NetworkUrl};
use crate::base::pooler::Pooler;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

settings! {
    /// `[database]`: which one, and how many connections.
    #[derive(Debug, Clone)]
    pub struct DatabaseConfig {
        /// sqlite:///absolute.db, sqlite://relative.db, postgres://…, postgresql://…, mysql://… or mariadb://…; a +driver
        /// after the scheme is ignored, {data_dir} in a SQLite path is the folder above. Special characters in a password
        /// must be percent-encoded. Also: {names}; or DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD (MariaDB when the port
        /// is 3306, PostgreSQL otherwise); or USE_SQLITE=true.
        ///
        /// TLS: ?sslmode=disable, prefer, require, verify-ca or verify-full (ssl-mode=VERIFY_IDENTITY, require_ssl=true,
        /// verify_ca=true and verify_identity=true are understood, too). Only verify-ca (with ca_file) and verify-full make
        /// sure that the right server answers; with MariaDB, verify-ca checks the name as well. Without a mode, PostgreSQL is
        /// asked for TLS and MariaDB is not, unless there is a ca_file: then it is verify-full.
        ///
        /// Sockets: postgres://user:password@/name?host=/run/postgresql&port=5432 or DB_HOST=/run/postgresql names
        /// PostgreSQL's folder, mysql://user:password@/name?socket=/run/mysqld/mysqld.sock or
        /// DB_HOST=/run/mysqld/mysqld.sock MariaDB's file. There is no TLS on a socket, whatever the mode.
        ///
        /// PostgreSQL's URLs may also hold user, password, dbname, host, port, application_name, connect_timeout, options,
        /// target_session_attrs, sslrootcert, keepalives… and tcp_user_timeout, as libpq has them; any other parameter is
        /// refused.
        pub url: DatabaseUrl = setting("database.url", UrlOfDatabase)
            .named(&["DATABASE_URL"])
            .default("sqlite://{data_dir}/bizcenter.db"),

        /// What stands between the server and PostgreSQL: none; or transaction, for a pooler that lends out the database's
        /// sessions for one transaction at a time, as PgBouncer does with pool_mode = transaction. Nothing is then set,
        /// locked or prepared beyond a transaction. It costs a second round trip for each statement, as all are prepared anew
        /// in each transaction.
        pub pooler: Pooler = setting("database.pooler", Checked(Choice, is_before_postgres))
            .named(&["DATABASE_POOLER"])
            .default("none"),

        /// How many connections to the database requests may have at once ({range}, but 2 at least are opened); jobs have two
        /// more, and SQLite's writer has one. One quarter is for searches, exports and feeds; no tenant gets more than half of
        /// that quarter, nor more than three quarters of the others.
        pub pool_size: u32 = setting("database.pool_size", Number(1..=1000)).default(10),

        /// For how many seconds a request may wait for a connection ({range}).
        pub acquire_timeout: Duration = setting("database.acquire_timeout_seconds", seconds(1..=300)).default(5),

        /// How many milliseconds a statement of a list, a search, an export or a feed may take ({range}). What takes longer is
        /// answered with 503; a search then says what to narrow.
        pub long_read_timeout: Duration =
            setting("database.long_read_timeout_ms", milliseconds(100..=60_000)).default(2000),

        /// Certificates (PEM) of the authorities that the database's own must come from; in the URL: sslrootcert or ssl-ca.
        pub ca_file: Option<PathBuf> = setting("database.ca_file", Optional(Text))
            .example("/etc/ssl/certs/database-ca.pem"),
    }
}

/// The URL of a database, in which `{data_dir}` is replaced with that folder. It is shown without its password.
struct UrlOfDatabase;

impl ValueType<DatabaseUrl> for UrlOfDatabase {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<DatabaseUrl> {
        let text = reader.text(path)?;
        let data_dir = reader.peek("data_dir").unwrap_or_else(|| PathBuf::from("."));
        let url = DatabaseUrl::parse(&text, &data_dir).map_err(|message| reader.report(path, message))?;
        reader.show_instead(path, format!("{:?}", url.redacted()));
        Ok(url)
    }

    fn is_secret(&self) -> bool {
        true
    }
}

fn is_before_postgres(pooler: &Pooler, reader: &Reader) -> Result<(), &'static str> {
    let url = reader.peek::<String>("database.url").and_then(|url| DatabaseUrl::parse(&url, Path::new(".")).ok());
    if *pooler != Pooler::None && url.is_some_and(|url| url.kind() != DatabaseKind::Postgres) {
        return Err("is for PostgreSQL alone: leave it at none with this database.url");
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
    /// MariaDB, which speaks MySQL's protocol.
    Mysql,
}

/// The URL of the database with its password. `Debug` and [`redacted`](Self::redacted) leave the password out.
#[derive(Clone)]
pub struct DatabaseUrl {
    kind: DatabaseKind,
    url: SecretString,
}

impl DatabaseUrl {
    /// Parses a URL and replaces `{data_dir}` in a SQLite path with that folder. Errors don't repeat the given text,
    /// because it may contain a password.
    pub fn parse(text: &str, data_dir: &Path) -> Result<Self, String> {
        let expected = "must start with sqlite://, postgres://, postgresql://, mysql:// or mariadb://";
        let (scheme, rest) = text.trim().split_once("://").ok_or(expected)?;
        let scheme = scheme.split('+').next().unwrap_or(scheme).to_ascii_lowercase();
        let (kind, url) = match scheme.as_str() {
            "sqlite" => (DatabaseKind::Sqlite, sqlite(rest, data_dir)?),
            "postgres" | "postgresql" => {
                NetworkUrl::postgres(rest)?;
                (DatabaseKind::Postgres, format!("postgres://{rest}"))
            }
            "mysql" | "mariadb" => {
                NetworkUrl::mysql(rest)?;
                (DatabaseKind::Mysql, format!("mysql://{rest}"))
            }
            _ => return Err(expected.to_owned()),
        };
        Ok(Self { kind, url: url.into() })
    }

    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The URL for the driver, with its password: `sqlite://<path>`, `postgres://…` or `mysql://…`.
    pub fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// The file of a SQLite database.
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.expose().strip_prefix("sqlite://").map(Path::new)
    }

    /// The URL for people, with `***` instead of passwords.
    pub fn redacted(&self) -> String {
        match self.kind {
            DatabaseKind::Sqlite => self.expose().to_owned(),
            DatabaseKind::Postgres | DatabaseKind::Mysql => database_url::redacted(self.expose()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseUrl").field(&self.redacted()).finish()
    }
}

// `{data_dir}` is replaced last, so that no character of the folder's name has a special meaning.
fn sqlite(path: &str, data_dir: &Path) -> Result<String, String> {
    if let Some((_, parameters)) = path.split_once('?') {
        let name = parameters.split(['=', '&']).next().unwrap_or_default();
        let is_name =
            !name.is_empty() && name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let name = if is_name { format!(", and so not {name}") } else { String::new() };
        return Err(format!("takes no parameters{name}: sqlite:// and the path of a file"));
    }
    if path.contains('#') {
        return Err("must have no # in the path of the file".to_owned());
    }
    if path.is_empty() || path.contains(":memory:") || path.ends_with('/') {
        return Err("must name a file: sqlite:///absolute.db or sqlite://relative.db".to_owned());
    }
    let data_dir = data_dir.to_string_lossy();
    Ok(format!("sqlite://{}", path.replace("{data_dir}", data_dir.trim_end_matches('/'))))
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
            ("postgres://u:p@/d?host=/run/pg&port=5433", Postgres, "postgres://u:p@/d?host=/run/pg&port=5433"),
            ("postgresql://u:p@%2Frun%2Fpg/d", Postgres, "postgres://u:p@%2Frun%2Fpg/d"),
            ("mariadb://u:p@/d?socket=/run/mysqld.sock", Mysql, "mysql://u:p@/d?socket=/run/mysqld.sock"),
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
            "postgres://u:1/?hunter2@h/d",
            "postgres://u:1/d?hunter2=1@h/d",
            "postgres://u:p@h/d?sslmode=hunter2",
            "postgres://u:p@h/d?connect_timeout=hunter2",
            "mysql://u:p@h/d?require_ssl=hunter2",
            "mysql://u:p@h,hunter2/d",
            "sqlite://:memory:",
            "sqlite://",
            "sqlite:///hunter2/",
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn unknown_parameters_are_refused_by_name() {
        for (wrong, message) in [
            ("postgres://h/d?pizza=1", "has an unknown parameter: pizza"),
            ("postgres://h/d?verify_sa=true", "has an unknown parameter: verify_sa"),
            ("mysql://h/d?require_sll=true", "has an unknown parameter: require_sll"),
            ("mysql://h/d?sslmode=require&pool_min=1", "has an unknown parameter: pool_min"),
            ("sqlite:///a.db?mode=ro", "takes no parameters, and so not mode: sqlite:// and the path of a file"),
        ] {
            assert_eq!(parse(wrong).unwrap_err(), message, "{wrong}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        let url = parse("postgres://user@h/d?password=hunter2&sslmode=require").unwrap();
        assert_eq!(url.redacted(), "postgres://user@h/d?password=***&sslmode=require");
        assert!(!format!("{url:?}").contains("hunter2"));
        let by_socket = parse("postgres://user:hunter2@/d?host=/run/postgresql").unwrap();
        assert_eq!(by_socket.redacted(), "postgres://user:***@/d?host=/run/postgresql");
    }
}
