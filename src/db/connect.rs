//! Opens connections, of the kind and with the settings that each database needs.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::{AnyConnection, AsyncSqliteConnection};
use super::deadline::Deadline;
use super::{sql, sqlite_files};
use anyhow::Context;
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, SimpleAsyncConnection};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a transaction may idle. How long a statement may take, each lease says for itself.
const IDLE_TIMEOUT: &str = "30s";

/// How long we try to stop a statement.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A database and how to reach it. The URL's query may hold `sslmode=disable|prefer|require|verify-full`
/// (libpq's names; `ssl-mode` too): with a mode from `require` on there is no connection without TLS. The server's
/// certificate is checked with `verify-full`, and always where `ca_file` is given.
#[derive(Clone)]
pub struct Target(Arc<Inner>);

enum Inner {
    Postgres { config: Box<tokio_postgres::Config>, tls: Option<Arc<rustls::ClientConfig>> },
    Mysql(mysql_async::Opts),
    Sqlite(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyFull,
}

impl Target {
    /// Reads the URL of a setting; its scheme is one of `sqlite`, `postgres`, `postgresql`, `mysql`, `mariadb`.
    pub fn parse(url: &str, ca_file: Option<PathBuf>) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").context("the database URL has no scheme")?;
        let inner = match scheme {
            "sqlite" => Inner::Sqlite(rest.into()),
            "postgres" | "postgresql" => postgres(url, ca_file)?,
            "mysql" | "mariadb" => mysql(&format!("mysql://{rest}"), ca_file)?,
            other => anyhow::bail!("unknown database scheme {other:?}"),
        };
        Ok(Self(Arc::new(inner)))
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(*self.0, Inner::Sqlite(_))
    }

    /// Asks PostgreSQL to stop what a connection of ours is doing. It may be over by then: that is as good.
    pub async fn cancel(&self, token: tokio_postgres::CancelToken) {
        let Inner::Postgres { tls, .. } = &*self.0 else { return };
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

    /// The name that people know it by.
    pub fn kind(&self) -> &'static str {
        match *self.0 {
            Inner::Postgres { .. } => "PostgreSQL",
            Inner::Mysql(_) => "MariaDB",
            Inner::Sqlite(_) => "SQLite",
        }
    }
}

/// Takes the TLS mode out of the URL: the drivers know other names for it, or none.
fn without_tls_mode(url: &str) -> anyhow::Result<(url::Url, Option<TlsMode>)> {
    let mut url = url::Url::parse(url).context("the database URL can't be read")?;
    let mut mode = None;
    let mut others = vec![];
    for (name, value) in url.query_pairs() {
        if !matches!(&*name, "sslmode" | "ssl-mode") {
            others.push((name.into_owned(), value.into_owned()));
            continue;
        }
        mode = Some(match value.to_ascii_lowercase().replace('_', "-").as_str() {
            "disable" | "disabled" => TlsMode::Disable,
            "allow" | "prefer" | "preferred" => TlsMode::Prefer,
            "require" | "required" => TlsMode::Require,
            "verify-ca" | "verify-full" | "verify-identity" => TlsMode::VerifyFull,
            other => anyhow::bail!("unknown sslmode {other:?} in the database URL"),
        });
    }
    url.set_query(None);
    if !others.is_empty() {
        url.query_pairs_mut().extend_pairs(others);
    }
    Ok((url, mode))
}

fn postgres(url: &str, ca_file: Option<PathBuf>) -> anyhow::Result<Inner> {
    let (url, mode) = without_tls_mode(url)?;
    let mode = mode.unwrap_or(if ca_file.is_some() { TlsMode::VerifyFull } else { TlsMode::Prefer });
    let mut config: tokio_postgres::Config = url.as_str().parse().context("the database URL can't be read")?;
    config.ssl_mode(match mode {
        TlsMode::Disable => tokio_postgres::config::SslMode::Disable,
        TlsMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyFull => tokio_postgres::config::SslMode::Require,
    });
    config.application_name("bizcenter").connect_timeout(Duration::from_secs(5));
    config.keepalives_idle(Duration::from_secs(30));
    let verified = mode == TlsMode::VerifyFull || ca_file.is_some();
    let tls = match mode {
        TlsMode::Disable => None,
        _ => Some(Arc::new(tls_config(verified, ca_file)?)),
    };
    Ok(Inner::Postgres { config: Box::new(config), tls })
}

fn mysql(url: &str, ca_file: Option<PathBuf>) -> anyhow::Result<Inner> {
    let (url, mode) = without_tls_mode(url)?;
    let mode = mode.unwrap_or(if ca_file.is_some() { TlsMode::VerifyFull } else { TlsMode::Disable });
    let options = mysql_async::Opts::from_url(url.as_str()).context("the database URL can't be read")?;
    // diesel-async keeps the prepared statements: a second cache in the driver would close them behind its back. And an
    // update that changes nothing still counts the rows that it found, as on the other databases.
    let builder =
        mysql_async::OptsBuilder::from_opts(options).prefer_socket(false).stmt_cache_size(0).client_found_rows(true);
    let verified = mode == TlsMode::VerifyFull || ca_file.is_some();
    let tls = mysql_async::SslOpts::default()
        .with_root_certs(ca_file.into_iter().map(Into::into).collect())
        .with_danger_accept_invalid_certs(!verified)
        .with_danger_skip_domain_validation(!verified);
    // The driver can't fall back to plain text: `prefer` is plain, as it has always been with MariaDB's own clients.
    let tls = matches!(mode, TlsMode::Require | TlsMode::VerifyFull).then_some(tls);
    Ok(Inner::Mysql(builder.ssl_opts(tls).into()))
}

fn tls_config(verified: bool, ca_file: Option<PathBuf>) -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS can't be set up")?;
    if !verified {
        let unverified = Arc::new(tls_unverified::AnyCertificate(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(unverified).with_no_client_auth());
    }
    let mut roots = rustls::RootCertStore::empty();
    match &ca_file {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file)
                .with_context(|| format!("database.ca_file: {} can't be read", file.display()))?
            {
                roots.add(certificate.context("database.ca_file holds no certificate")?)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What libpq's `require` and `prefer` mean: the line is encrypted, but nobody proves who is at its other end.
mod tls_unverified {
    use rustls::DigitallySignedStruct;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use std::sync::Arc;

    #[derive(Debug)]
    pub struct AnyCertificate(pub Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

/// Opens one connection, ready for use.
pub async fn establish(target: &Target) -> ConnectionResult<AnyConnection> {
    match &*target.0 {
        Inner::Postgres { config, tls } => {
            establish_postgres(config, tls.as_deref().cloned()).await.map(AnyConnection::Pg)
        }
        Inner::Mysql(options) => {
            let conn = mysql_async::Conn::new(options.clone()).await.map_err(bad_connection)?;
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

/// With its causes: tokio-postgres alone says no more than "error performing TLS handshake".
fn bad_connection(error: impl Into<anyhow::Error>) -> ConnectionError {
    ConnectionError::BadConnection(format!("{:#}", error.into()))
}

async fn establish_postgres(
    config: &tokio_postgres::Config,
    tls: Option<rustls::ClientConfig>,
) -> ConnectionResult<AsyncPgConnection> {
    let mut conn = match tls {
        Some(tls) => {
            let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
            let (client, connection) = config.connect(tls).await.map_err(bad_connection)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await?
        }
        None => {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(bad_connection)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await?
        }
    };
    let sql = format!("SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'; SET TIME ZONE 'UTC'");
    conn.batch_execute(&sql).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// Readers then don't wait for the writer. A new file is switched once, and the file remembers it. The switch does not
/// keep to `busy_timeout` where others do it at the same moment: it is tried again.
fn switch_to_wal(conn: &mut diesel::SqliteConnection) -> diesel::QueryResult<()> {
    use diesel::connection::SimpleConnection;
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 1..TRIES {
        match conn.batch_execute("PRAGMA journal_mode = WAL;") {
            Err(diesel::result::Error::DatabaseError(_, info)) if info.message().contains("locked") => {
                std::thread::sleep(PAUSE); // on a thread for blocking work
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
