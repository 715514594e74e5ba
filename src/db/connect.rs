//! Opens connections, with the driver and the session settings that each database needs.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::{AnyConnection, AsyncSqliteConnection};
use super::deadline::Deadline;
use super::pg::PgConnection;
use super::tls::{self, Verification};
use super::{pooler, sql, sqlite_files};
use crate::base::database_url::{Host, NetworkUrl, PostgresOptions, SessionAttributes, TlsMode};
use crate::base::pooler::Pooler;
use anyhow::Context;
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{AsyncConnection, AsyncMysqlConnection, SimpleAsyncConnection};
use secrecy::ExposeSecret;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::TargetSessionAttrs;

/// How long a transaction may be idle. The limit for a statement is set by each lease.
pub(super) const IDLE_TIMEOUT: &str = "30s";

/// How long the server tries to cancel a statement.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A database and how to connect to it. [`NetworkUrl`] describes the parameters of its URL. From the TLS mode `require`
/// on, every connection uses TLS. The server's certificate is checked with `verify-ca` and `verify-full`, and always if
/// `ca_file` is given.
#[derive(Clone)]
pub struct Target(Arc<Inner>, Pooler);

enum Inner {
    Postgres {
        config: Box<tokio_postgres::Config>,
        tls: Option<Arc<rustls::ClientConfig>>,
    },
    /// The second options are without TLS, for a server that does not support it. They are `None` if TLS is required or
    /// off.
    Mysql(mysql_async::Opts, Option<mysql_async::Opts>),
    Sqlite(PathBuf),
}

impl Target {
    /// Parses the URL of a setting. Its scheme is one of `sqlite`, `postgres`, `postgresql`, `mysql`, `mariadb`.
    pub fn parse(url: &str, ca_file: Option<PathBuf>) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").context("the database URL has no scheme")?;
        let inner = match scheme {
            "sqlite" => Inner::Sqlite(rest.into()),
            "postgres" | "postgresql" => postgres(rest, ca_file)?,
            "mysql" | "mariadb" => mysql(rest, ca_file)?,
            other => anyhow::bail!("unknown database scheme {other:?}"),
        };
        Ok(Self(Arc::new(inner), Pooler::None))
    }

    /// The same database behind this kind of pooler. Only PostgreSQL can have one.
    #[must_use]
    pub fn behind(self, pooler: Pooler) -> Self {
        Self(self.0, pooler)
    }

    pub(super) fn pooler(&self) -> Pooler {
        self.1
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(*self.0, Inner::Sqlite(_))
    }

    /// Asks PostgreSQL to cancel the running statement of a connection. If the statement has already ended, nothing is
    /// cancelled, which is fine.
    pub async fn cancel(&self, token: tokio_postgres::CancelToken) {
        let Inner::Postgres { config, tls } = &*self.0 else { return };
        if self.pooler() == Pooler::Transaction {
            let asked = pooler::cancel(config, tls.as_deref().cloned(), token);
            if let Ok(Err(error)) = tokio::time::timeout(CANCEL_TIMEOUT, asked).await {
                tracing::debug!(?error, "A statement can't be cancelled");
            }
            return;
        }
        let asked = match tls {
            Some(tls) => {
                let tls = tokio_postgres_rustls::MakeRustlsConnect::new(rustls::ClientConfig::clone(tls));
                tokio::time::timeout(CANCEL_TIMEOUT, token.cancel_query(tls)).await
            }
            None => tokio::time::timeout(CANCEL_TIMEOUT, token.cancel_query(tokio_postgres::NoTls)).await,
        };
        if let Ok(Err(error)) = asked {
            tracing::debug!(%error, "A statement can't be cancelled");
        }
    }

    /// The name of the database product, for messages.
    pub fn kind(&self) -> &'static str {
        match *self.0 {
            Inner::Postgres { .. } => "PostgreSQL",
            Inner::Mysql(..) => "MariaDB",
            Inner::Sqlite(_) => "SQLite",
        }
    }
}

/// The file with the trusted certificate authorities. The setting and the URL may both name it, but not two different
/// files.
fn authorities(setting: Option<PathBuf>, url: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    match (setting, url) {
        (Some(setting), Some(url)) if setting != url => {
            anyhow::bail!("database.ca_file and the database URL name different files of authorities: keep one")
        }
        (setting, url) => Ok(setting.or(url)),
    }
}

/// How the server's certificate is checked: not at all, unless the mode or `ca_file` asks for it. If no file of
/// authorities is given, `verify-ca` checks the name too, because otherwise any certificate of a public authority would
/// be accepted.
fn verification(mode: TlsMode, ca_file: Option<&PathBuf>) -> Verification {
    match (mode, ca_file) {
        (TlsMode::VerifyCa, Some(_)) => Verification::Authority,
        (TlsMode::VerifyCa | TlsMode::VerifyFull, _) | (_, Some(_)) => Verification::Name,
        (_, None) => Verification::None,
    }
}

fn unreadable(problem: String) -> anyhow::Error {
    anyhow::anyhow!("the database URL {problem}")
}

fn postgres(rest: &str, ca_file: Option<PathBuf>) -> anyhow::Result<Inner> {
    let url = NetworkUrl::postgres(rest).map_err(unreadable)?;
    let ca_file = authorities(ca_file, url.ca_file.clone())?;
    let mode = match url.tls {
        _ if url.has_sockets() => TlsMode::Disable, // as in libpq: PostgreSQL has no TLS on Unix sockets
        Some(mode) => mode,
        None if ca_file.is_some() => TlsMode::VerifyFull,
        None => TlsMode::Prefer,
    };
    let NetworkUrl { hosts, user, password, database, postgres: options, .. } = url;
    let mut config = tokio_postgres::Config::new();
    for (host, port) in hosts {
        match host {
            Host::Network(name) => config.host(name),
            Host::Socket(folder) => config.host_path(folder),
        };
        config.port(port.unwrap_or(5432));
    }
    config.dbname(database).ssl_mode(match mode {
        TlsMode::Disable => tokio_postgres::config::SslMode::Disable,
        TlsMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => tokio_postgres::config::SslMode::Require,
    });
    if let Some(user) = user {
        config.user(user);
    }
    if let Some(password) = password {
        config.password(password.expose_secret());
    }
    set_options(&mut config, options);
    let tls = match mode {
        TlsMode::Disable => None,
        _ => Some(Arc::new(tls::client_config(verification(mode, ca_file.as_ref()), ca_file.as_deref())?)),
    };
    Ok(Inner::Postgres { config: Box::new(config), tls })
}

fn set_options(config: &mut tokio_postgres::Config, options: PostgresOptions) {
    let PostgresOptions {
        application_name,
        connect_timeout,
        options,
        session_attributes,
        keepalives,
        keepalives_idle,
        keepalives_interval,
        keepalives_count,
        tcp_user_timeout,
    } = options;
    config.application_name(application_name.as_deref().unwrap_or("bizcenter"));
    config.connect_timeout(connect_timeout.unwrap_or(Duration::from_secs(5)));
    config.keepalives(keepalives.unwrap_or(true));
    config.keepalives_idle(keepalives_idle.unwrap_or(Duration::from_secs(30)));
    if let Some(interval) = keepalives_interval {
        config.keepalives_interval(interval);
    }
    if let Some(count) = keepalives_count {
        config.keepalives_retries(count);
    }
    if let Some(timeout) = tcp_user_timeout {
        config.tcp_user_timeout(timeout);
    }
    if let Some(options) = options {
        config.options(options);
    }
    config.target_session_attrs(match session_attributes {
        None | Some(SessionAttributes::Any) => TargetSessionAttrs::Any,
        Some(SessionAttributes::ReadWrite) => TargetSessionAttrs::ReadWrite,
        Some(SessionAttributes::ReadOnly) => TargetSessionAttrs::ReadOnly,
    });
}

fn mysql(rest: &str, ca_file: Option<PathBuf>) -> anyhow::Result<Inner> {
    let url = NetworkUrl::mysql(rest).map_err(unreadable)?;
    let ca_file = authorities(ca_file, url.ca_file.clone())?;
    let mode = match url.tls {
        _ if url.has_sockets() => TlsMode::Disable, // a Unix socket does not leave the machine
        Some(mode) => mode,
        None if ca_file.is_some() => TlsMode::VerifyFull,
        None => TlsMode::Disable, // the traditional default of MariaDB's own clients
    };
    let NetworkUrl { hosts, user, password, database, .. } = url;
    let mut builder = mysql_async::OptsBuilder::default()
        .user(user)
        .pass(password.as_ref().map(|password| password.expose_secret()))
        .db_name(Some(database));
    for (host, port) in hosts {
        builder = match host {
            Host::Network(name) => builder.ip_or_hostname(name).tcp_port(port.unwrap_or(3306)),
            Host::Socket(path) => builder.socket(Some(path.to_string_lossy())),
        };
    }
    // diesel-async caches the prepared statements. A second cache in the driver would close statements that
    // diesel-async still uses, so it is off. With `client_found_rows`, an update that changes nothing counts the rows
    // that it found, as on the other databases.
    let builder = builder.prefer_socket(false).stmt_cache_size(0).client_found_rows(true);
    let plain = builder.clone();
    let tls = match mode {
        TlsMode::Disable => None,
        _ => Some(tls::mysql_options(verification(mode, ca_file.as_ref()), ca_file)),
    };
    Ok(Inner::Mysql(builder.ssl_opts(tls).into(), (mode == TlsMode::Prefer).then(|| plain.into())))
}

/// Connects to MariaDB. If the server does not support TLS, tries again with the options `plain`, if there are any.
async fn connect_mysql(
    options: &mysql_async::Opts,
    plain: Option<&mysql_async::Opts>,
) -> ConnectionResult<mysql_async::Conn> {
    use mysql_async::{Conn, DriverError, Error};
    match (Conn::new(options.clone()).await, plain) {
        (Err(Error::Driver(DriverError::NoClientSslFlagFromServer)), Some(plain)) => {
            Conn::new(plain.clone()).await.map_err(bad_connection)
        }
        (conn, _) => conn.map_err(bad_connection),
    }
}

/// Opens a connection and makes its session settings.
pub async fn establish(target: &Target) -> ConnectionResult<AnyConnection> {
    match &*target.0 {
        Inner::Postgres { config, tls } => {
            establish_postgres(config, tls.as_deref().cloned(), target.pooler()).await.map(AnyConnection::Pg)
        }
        Inner::Mysql(options, plain) => {
            let conn = connect_mysql(options, plain.as_ref()).await?;
            let mut conn = AsyncMysqlConnection::try_from(conn).await?;
            conn.batch_execute(
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'; \
                 SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION time_zone = '+00:00';",
            )
            .await
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(AnyConnection::Mysql(conn))
        }
        Inner::Sqlite(path) => establish_sqlite(path).await,
    }
}

/// Includes the causes of the error, because tokio-postgres itself says no more than "error performing TLS handshake".
pub(super) fn bad_connection(error: impl Into<anyhow::Error>) -> ConnectionError {
    ConnectionError::BadConnection(format!("{:#}", error.into()))
}

async fn establish_postgres(
    config: &tokio_postgres::Config,
    tls: Option<rustls::ClientConfig>,
    pooler: Pooler,
) -> ConnectionResult<PgConnection> {
    match tls {
        Some(tls) => {
            let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
            let (client, line) = config.connect(tls).await.map_err(bad_connection)?;
            set_up_postgres(client, line, pooler).await
        }
        None => {
            let (client, line) = config.connect(tokio_postgres::NoTls).await.map_err(bad_connection)?;
            set_up_postgres(client, line, pooler).await
        }
    }
}

async fn set_up_postgres<T>(
    client: tokio_postgres::Client,
    line: tokio_postgres::Connection<tokio_postgres::Socket, T>,
    pooler: Pooler,
) -> ConnectionResult<PgConnection>
where
    T: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let mut conn = PgConnection::new(client, line, pooler);
    if pooler == Pooler::Transaction {
        return Ok(conn); // no setting may stay in the session
    }
    // A statement that runs outside of the transaction of a lease, by whatever accident, can change nothing. Until the
    // first lease tells its own, statements have a timeout too. Compiling a statement takes longer than any of ours runs.
    let sql = format!(
        "SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'; SET statement_timeout = '{IDLE_TIMEOUT}'; \
         SET default_transaction_read_only = on; SET TIME ZONE 'UTC'; SET jit = off"
    );
    conn.batch_execute(&sql).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// Switches to write-ahead logging, so that readers do not wait for the writer. The file stores the mode, so that only
/// a new file is really switched. The switch does not respect `busy_timeout` if other connections switch at the same
/// moment, and is therefore tried several times.
fn switch_to_wal(conn: &mut diesel::SqliteConnection) -> diesel::QueryResult<()> {
    use diesel::connection::SimpleConnection;
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 1..TRIES {
        match conn.batch_execute("PRAGMA journal_mode = WAL;") {
            Err(diesel::result::Error::DatabaseError(_, info)) if info.message().contains("locked") => {
                std::thread::sleep(PAUSE); // this function runs on a thread for blocking work
            }
            result => return result,
        }
    }
    conn.batch_execute("PRAGMA journal_mode = WAL;")
}

async fn establish_sqlite(path: &std::path::Path) -> ConnectionResult<AnyConnection> {
    let file = path.to_owned();
    let prepared = tokio::task::spawn_blocking(move || sqlite_files::prepare(&file)).await.map_err(bad_connection)?;
    prepared.map_err(bad_connection)?;
    let mut conn = AsyncSqliteConnection::establish(&path.to_string_lossy()).await?;
    let deadline = Deadline::default();
    let (of_rows, of_texts) = (deadline.clone(), deadline.clone());
    conn.spawn_blocking(move |conn| {
        use diesel::connection::SimpleConnection;
        conn.batch_execute("PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL;")?;
        switch_to_wal(conn)?;
        super::deadline::in_time_utils::register_nondeterministic_impl(conn, move || of_rows.check(true))?;
        sql::lower_utils::register_impl(conn, move |text: String| of_texts.check(sql::lowered(&text)))
    })
    .await
    .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(AnyConnection::Sqlite(conn, deadline))
}
