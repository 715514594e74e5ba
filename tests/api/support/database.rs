//! Creates empty databases for tests.
#![expect(clippy::disallowed_methods, reason = "tests look behind the queries")]
use super::rows::rows;
use super::skips::not_for_this_run;
use bizcenter::base::env::Env;
use bizcenter::base::pooler::Pooler;
use bizcenter::db::AnyConnection;
use bizcenter::db::connect::{Target, establish};
use diesel_async::SimpleAsyncConnection;
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

impl Kind {
    /// The kind of database that this run tests.
    pub fn of_this_run() -> Self {
        match std::env::var("TEST_DATABASE").as_deref() {
            Err(_) | Ok("sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok("mariadb") => Self::Mariadb,
            Ok(other) => panic!("unknown TEST_DATABASE {other}"),
        }
    }
}

/// The pooler between the servers of this run and their databases. `scripts/prove pooler` puts PgBouncer there.
fn pooler() -> Pooler {
    match std::env::var("TEST_POOLER") {
        Err(_) => Pooler::None,
        Ok(pooler) => pooler.parse().unwrap(),
    }
}

/// Whether the servers of this run share the few sessions of a pooler. If so, reports why the test does not apply to
/// this run.
#[track_caller]
pub fn is_pooled(why: &str) -> bool {
    let is_pooled = pooler() == Pooler::Transaction;
    if is_pooled {
        not_for_this_run(why);
    }
    is_pooled
}

/// The URL by which the servers of tests reach the database server of this run. `None` for SQLite, which has no server.
pub fn database_server() -> Option<String> {
    let variable = match (Kind::of_this_run(), pooler()) {
        (Kind::Sqlite, _) => return None,
        (Kind::Postgres, Pooler::None) => "TEST_POSTGRES_URL",
        (Kind::Postgres, Pooler::Transaction) => "TEST_PGBOUNCER_URL",
        (Kind::Mariadb, _) => "TEST_MARIADB_URL",
    };
    Some(variable_of_this_run(variable))
}

/// A database for one test. A file of SQLite is deleted with its folder. A database on a server stays until that server
/// is removed.
pub struct TestDatabase {
    pub kind: Kind,
    /// The URL by which the servers of tests connect to it.
    pub url: String,
    /// The pooler that servers reach at `url`.
    pub pooler: Pooler,
    /// The URL of the database itself, without a pooler, for tests that keep something in a session.
    direct: String,
    /// The folder for SQLite's file and for other files of the test.
    pub folder: TempDir,
}

impl TestDatabase {
    pub async fn create() -> Self {
        Self::create_behind(pooler(), "").await
    }

    /// Like [`Self::create`], but with these options after `CREATE DATABASE` if there is a database server.
    pub async fn create_with(options: &str) -> Self {
        Self::create_behind(pooler(), options).await
    }

    /// A database that servers reach through this pooler, whatever the other databases of this run use. A pooler needs
    /// PostgreSQL.
    pub async fn create_behind(pooler: Pooler, options: &str) -> Self {
        let (kind, folder) = (Kind::of_this_run(), tempfile::tempdir().unwrap());
        let direct = match kind {
            Kind::Sqlite => format!("sqlite://{}/test.db", folder.path().display()),
            Kind::Postgres => create_on("TEST_POSTGRES_URL", options).await,
            Kind::Mariadb => create_on("TEST_MARIADB_URL", options).await,
        };
        let mut url = direct.clone();
        if pooler == Pooler::Transaction {
            url = beside(&variable_of_this_run("TEST_PGBOUNCER_URL"), direct.rsplit('/').next().unwrap());
            // Commands that run in this folder get the URL from the test, and read the pooler from this file.
            std::fs::write(folder.path().join("bizcenter.toml"), "[database]\npooler = 'transaction'\n").unwrap();
        }
        Self { kind, url, pooler, direct, folder }
    }

    pub fn target(&self) -> Target {
        Target::parse(&self.url, None).unwrap().behind(self.pooler)
    }

    /// The name of the database on its server.
    pub fn name(&self) -> &str {
        self.direct.rsplit('/').next().unwrap()
    }

    /// A direct connection that is not bound to a tenant, such as servers without a pooler have before they bind it.
    pub async fn connect_unbound(&self) -> AnyConnection {
        open(&self.direct).await
    }

    /// The result of a query on the rows of all tenants, as [`rows`] reads it.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        rows(&mut self.connect().await, sql).await
    }

    /// A connection that belongs to no tenant and sees all rows.
    pub async fn connect(&self) -> AnyConnection {
        let mut conn = self.connect_unbound().await;
        if let AnyConnection::Pg(conn) = &mut conn {
            conn.batch_execute("SET app.system = 'on'").await.unwrap();
        }
        conn
    }
}

/// A connection that may write outside of a lease, which those of servers may not.
async fn open(url: &str) -> AnyConnection {
    let mut conn = establish(&Target::parse(url, None).unwrap()).await.unwrap();
    if let AnyConnection::Pg(conn) = &mut conn {
        conn.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    }
    conn
}

/// Creates a database on the server that the environment variable names. Returns its URL.
async fn create_on(variable: &str, options: &str) -> String {
    let server = variable_of_this_run(variable);
    let name = format!("bizcenter_{}", Env::real().uuid().simple());
    let mut conn = open(&server).await;
    conn.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.unwrap();
    beside(&server, &name)
}

/// The URL of another database on the same server.
fn beside(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

pub fn variable_of_this_run(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"))
}
