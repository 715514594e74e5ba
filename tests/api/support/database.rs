//! Databases to test on: an empty one for each that asks.
#![expect(clippy::disallowed_methods, reason = "tests look behind the queries")]
use bizcenter::db::AnyConnection;
use bizcenter::db::connect::{Target, establish};
use bizcenter::infra::world::World;
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

/// A database of its own. SQLite's goes with its folder; the servers' go with the servers.
pub struct TestDatabase {
    pub kind: Kind,
    pub url: String,
    /// For whatever else needs a place on disk.
    pub folder: TempDir,
}

impl TestDatabase {
    pub async fn create() -> Self {
        Self::create_with("").await
    }

    /// As [`Self::create`], with these words after `CREATE DATABASE` where there is a server.
    pub async fn create_with(options: &str) -> Self {
        let (kind, folder) = (Kind::of_this_run(), tempfile::tempdir().unwrap());
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}/test.db", folder.path().display()),
            Kind::Postgres => create_on("TEST_POSTGRES_URL", options).await,
            Kind::Mariadb => create_on("TEST_MARIADB_URL", options).await,
        };
        Self { kind, url, folder }
    }

    pub fn target(&self) -> Target {
        Target::parse(&self.url, None).unwrap()
    }

    /// A connection that belongs to no tenant and sees all rows.
    pub async fn connect(&self) -> AnyConnection {
        let mut conn = establish(&self.target()).await.unwrap();
        if let AnyConnection::Pg(conn) = &mut conn {
            conn.batch_execute("SET app.system = 'on'").await.unwrap();
        }
        conn
    }
}

/// Makes a database beside the one that the variable names.
async fn create_on(variable: &str, options: &str) -> String {
    let server = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test"));
    let name = format!("bizcenter_{}", World::real().uuid().simple());
    let mut conn = establish(&Target::parse(&server, None).unwrap()).await.unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}
