//! Databases to test on: an empty one for each that asks.
#![expect(clippy::disallowed_methods, reason = "tests look behind the queries")]
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
    /// The one that this run is about.
    pub fn of_this_run() -> Self {
        match std::env::var("TEST_DATABASE").as_deref() {
            Err(_) | Ok("sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok("mariadb") => Self::Mariadb,
            Ok(other) => panic!("unknown TEST_DATABASE {other}"),
        }
    }
}

/// What stands between the servers of this run and their databases: `scripts/prove pooler` puts PgBouncer there.
fn pooler() -> Pooler {
    match std::env::var("TEST_POOLER") {
        Err(_) => Pooler::None,
        Ok(pooler) => pooler.parse().unwrap(),
    }
}

/// Whether the servers of this run share a pooler's few sessions, so that a test has nothing to show. It says then why.
#[track_caller]
pub fn is_pooled(why: &str) -> bool {
    let is_pooled = pooler() == Pooler::Transaction;
    if is_pooled {
        not_for_this_run(why);
    }
    is_pooled
}

/// The database server of this run, as the servers of tests reach it; none with SQLite, which has none.
pub fn database_server() -> Option<String> {
    let variable = match (Kind::of_this_run(), pooler()) {
        (Kind::Sqlite, _) => return None,
        (Kind::Postgres, Pooler::None) => "TEST_POSTGRES_URL",
        (Kind::Postgres, Pooler::Transaction) => "TEST_PGBOUNCER_URL",
        (Kind::Mariadb, _) => "TEST_MARIADB_URL",
    };
    Some(variable_of_this_run(variable))
}

/// A database of its own. SQLite's goes with its folder; the servers' go with the servers.
pub struct TestDatabase {
    pub kind: Kind,
    /// Where servers find it.
    pub url: String,
    /// What they find there.
    pub pooler: Pooler,
    /// Where it is itself, for tests that keep something in a session.
    direct: String,
    /// For whatever else needs a place on disk.
    pub folder: TempDir,
}

impl TestDatabase {
    pub async fn create() -> Self {
        Self::create_behind(pooler(), "").await
    }

    /// As [`Self::create`], with these words after `CREATE DATABASE` where there is a server.
    pub async fn create_with(options: &str) -> Self {
        Self::create_behind(pooler(), options).await
    }

    /// One of PostgreSQL's that servers reach through such a pooler, whatever the others of this run are behind.
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
            // For the commands that are run in this folder, which are told the URL.
            std::fs::write(folder.path().join("bizcenter.toml"), "[database]\npooler = 'transaction'\n").unwrap();
        }
        Self { kind, url, pooler, direct, folder }
    }

    pub fn target(&self) -> Target {
        Target::parse(&self.url, None).unwrap().behind(self.pooler)
    }

    /// A connection as the servers have them where no pooler is, before it is bound to a tenant.
    pub async fn connect_unbound(&self) -> AnyConnection {
        establish(&Target::parse(&self.direct, None).unwrap()).await.unwrap()
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

/// Makes a database beside the one that the variable names.
async fn create_on(variable: &str, options: &str) -> String {
    let server = variable_of_this_run(variable);
    let name = format!("bizcenter_{}", Env::real().uuid().simple());
    let mut conn = establish(&Target::parse(&server, None).unwrap()).await.unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.unwrap();
    beside(&server, &name)
}

/// Another database of the same server.
fn beside(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

fn variable_of_this_run(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"))
}
