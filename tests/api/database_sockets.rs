//! Databases that are reached by a Unix socket, in all forms of such a URL.
//!
//! SQLite has no server, so these tests do not apply to it.
use crate::cli::{bizcenter, run};
use crate::support::rows::text;
use crate::support::{Kind, TestDatabase, is_for, is_pooled, not_for_this_run};
use bizcenter::config::DatabaseUrl;
use bizcenter::db::AnyConnection;
use bizcenter::db::connect::{Target, establish};
use std::path::Path;
use url::Url;

/// A database of this run and its socket. `None` for SQLite.
struct Socket {
    database: TestDatabase,
    /// The folder of PostgreSQL's sockets, or the file of MariaDB's socket.
    path: String,
    /// The URL of the database over TCP.
    url: Url,
}

impl Socket {
    async fn of_this_run() -> Option<Self> {
        if is_pooled("the pooler of this run listens on TCP alone, and refuses startup parameters") {
            return None;
        }
        let variable = match Kind::of_this_run() {
            Kind::Sqlite => {
                not_for_this_run("SQLite has no server");
                return None;
            }
            Kind::Postgres => "TEST_POSTGRES_SOCKET_DIR",
            Kind::Mariadb => "TEST_MARIADB_SOCKET",
        };
        let path = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test"));
        let database = TestDatabase::create().await;
        let url = Url::parse(&database.url).unwrap();
        Some(Self { database, path, url })
    }

    fn user(&self) -> &str {
        self.url.username()
    }
    fn password(&self) -> &str {
        self.url.password().unwrap()
    }
    fn name(&self) -> &str {
        self.url.path().trim_start_matches('/')
    }
    fn port(&self) -> u16 {
        self.url.port().unwrap()
    }
    fn encoded_path(&self) -> String {
        self.path.replace('/', "%2F")
    }
}

/// Connects as the server does, after the setting was checked.
async fn connect(url: &str) -> AnyConnection {
    let url = DatabaseUrl::parse(url, Path::new("/")).unwrap_or_else(|problem| panic!("{problem}"));
    let target = Target::parse(url.expose(), None).unwrap();
    establish(&target).await.unwrap_or_else(|error| panic!("{error:?}"))
}

#[tokio::test]
async fn a_socket_may_be_named_in_the_url() {
    let Some(socket) = Socket::of_this_run().await else { return };
    let (path, encoded, user, password) = (&socket.path, socket.encoded_path(), socket.user(), socket.password());
    let (name, port) = (socket.name(), socket.port());
    let (urls, over_socket, expected) = match socket.database.kind {
        Kind::Postgres => (
            vec![
                format!("postgres://{user}:{password}@/{name}?host={path}&port={port}"),
                format!("postgresql://{user}:{password}@:{port}/{name}?host={encoded}"),
                format!("postgres://{user}:{password}@{encoded}:{port}/{name}"),
                format!("postgres:///{name}?host={path}&port={port}&user={user}&password={password}"),
                format!("postgres://{user}:{password}@/{name}?host={path}&port={port}&sslmode=verify-full"),
            ],
            "SELECT (inet_server_addr() IS NULL)::text",
            "true".to_owned(),
        ),
        _ => (
            vec![
                format!("mysql://{user}:{password}@/{name}?socket={path}"),
                format!("mariadb://{user}:{password}@localhost/{name}?unix_socket={encoded}"),
                format!("mysql+pymysql://{user}:{password}@{encoded}/{name}?charset=utf8mb4"),
                format!("mysql://{user}:{password}@/{name}?socket={path}&ssl-mode=REQUIRED"),
            ],
            "SELECT user()", // over TCP this would contain an address
            format!("{user}@localhost"),
        ),
    };
    for url in urls {
        assert_eq!(text(&mut connect(&url).await, over_socket).await, expected);
    }
}

#[tokio::test]
async fn what_libpq_takes_besides_reaches_the_server() {
    let Some(socket) = Socket::of_this_run().await else { return };
    if !is_for(Kind::Postgres, "these are libpq's") {
        return;
    }
    let url = format!(
        "{}?application_name=my%20app&options=-c%20geqo%3Doff&connect_timeout=4&target_session_attrs=read-write",
        socket.database.url
    );
    let mut conn = connect(&url).await;
    assert_eq!(text(&mut conn, "SELECT current_setting('application_name')").await, "my app");
    assert_eq!(text(&mut conn, "SELECT current_setting('geqo')").await, "off");
    let mut conn = connect(&socket.database.url).await;
    assert_eq!(text(&mut conn, "SELECT current_setting('application_name')").await, "bizcenter");
}

#[tokio::test]
async fn a_socket_may_be_the_host_of_the_parts() {
    let Some(socket) = Socket::of_this_run().await else { return };
    let port = if socket.database.kind == Kind::Postgres { socket.port() } else { 3306 };
    let mut command = bizcenter(socket.database.folder.path(), &["migrate", "up"]);
    command
        .env("DB_HOST", &socket.path)
        .env("DB_PORT", port.to_string())
        .env("DB_NAME", socket.name())
        .env("DB_USER", socket.user())
        .env("DB_PASSWORD", socket.password());
    let (code, out, error) = run(&mut command).await;
    assert!(code == 0 && out.contains("applied") && !out.contains("missing"), "{out}{error}");
}

#[tokio::test]
async fn what_can_not_be_reached_is_refused_by_its_true_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (url, reason) in [
        (
            "postgres://u:hidden-word@/d",
            "database.url (from DATABASE_URL): must name the host, or the folder of a socket",
        ),
        ("postgres://u:hidden-word@h/d?sslcert=c", "has the parameter sslcert, which is not supported"),
        ("mariadb://u:hidden-word@h/d?require_sll=true", "has an unknown parameter: require_sll"),
        ("sqlite:///a.db?mode=ro", "takes no parameters, and so not mode"),
    ] {
        let mut command = bizcenter(folder.path(), &["config", "check"]);
        let (code, out, error) = run(command.env("DATABASE_URL", url)).await;
        assert!(code == 2 && error.contains(reason), "{url}: {out}{error}");
        assert!(!error.contains("hidden-word") && !error.contains("percent-encoded"), "{error}");
    }
}
