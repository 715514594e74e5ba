//! Migrations. They are embedded in the binary, and only one server runs them at a time.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::connect::{Target, establish};
use super::pg::PgConnection;
use super::scope::System;
use super::{AnyConnection, Db, ReadTx, pooler};
use crate::base::error::{Error, Result};
use crate::base::pooler::Pooler;
use anyhow::{Context, anyhow, ensure};
use diesel::QueryDsl;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::migration::{Migration, MigrationSource};
use diesel::sql_types::{Integer, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel_async::{AsyncMigrationHarness, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::fmt::Display;

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const MYSQL: EmbeddedMigrations = embed_migrations!("migrations/mysql");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// One migration, and whether it is applied to this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    pub applied: bool,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Up,
    Down,
    Status,
}

/// Brings the schema up to date.
pub async fn up(target: &Target) -> anyhow::Result<Vec<Step>> {
    run(target, Task::Up).await
}

/// Reverts the newest migration. All data in the tables and columns that it added is lost.
pub async fn down(target: &Target) -> anyhow::Result<Vec<Step>> {
    run(target, Task::Down).await
}

pub async fn status(target: &Target) -> anyhow::Result<Vec<Step>> {
    run(target, Task::Status).await
}

/// Runs the task and returns all migrations. A lock in the database keeps other servers out meanwhile. The lock ends
/// with the transaction or the connection, so that a killed server leaves none behind.
async fn run(target: &Target, task: Task) -> anyhow::Result<Vec<Step>> {
    // The session of PostgreSQL is treated as borrowed from a pooler, whatever `database.pooler` says. A pooler that is
    // not configured there would otherwise pass the settings below on to other clients.
    let target = target.clone().behind(Pooler::Transaction);
    match establish(&target).await.with_context(|| format!("{} can't be reached", target.kind()))? {
        AnyConnection::Pg(conn) => in_one_transaction(conn, task).await,
        AnyConnection::Mysql(mut conn) => {
            conn.batch_execute("SET SESSION max_statement_time = 0").await?;
            let lock = sql::<Nullable<Integer>>("GET_LOCK('bizcenter.migrations', 600)");
            let locked: Option<i32> = diesel::select(lock).get_result(&mut conn).await?;
            ensure!(locked == Some(1), "another server has been migrating for 10 minutes");
            tokio::task::spawn_blocking(move || perform(&mut AsyncMigrationHarness::new(conn), || MYSQL, task)).await?
        }
        AnyConnection::Sqlite(mut conn, _) => {
            conn.spawn_blocking(move |conn| Ok(under_file_lock(conn, |conn| perform(conn, || SQLITE, task)))).await?
        }
    }
}

/// Runs the whole task as one transaction, so that all of it happens or nothing. PostgreSQL allows changes to the
/// schema in a transaction. The lock and the settings end with it.
async fn in_one_transaction(mut conn: PgConnection, task: Task) -> anyhow::Result<Vec<Step>> {
    // Once the lock is taken, the migrations that other servers have applied meanwhile must be visible.
    let mode = "ISOLATION LEVEL READ COMMITTED READ WRITE";
    // The timeout is turned off first, because another server's migrations may keep the lock for longer.
    let settings =
        "SET LOCAL statement_timeout = 0; SET LOCAL app.system = 'on'; SELECT pg_advisory_xact_lock(20261121)";
    pooler::begin(&mut conn, mode, settings).await?;
    let work = move || {
        let mut harness = AsyncMigrationHarness::new(conn);
        let result = perform(&mut harness, || POSTGRES, task);
        (harness.into_inner(), result)
    };
    let (mut conn, result) = tokio::task::spawn_blocking(work).await?;
    match result {
        Ok(steps) => {
            pooler::commit(&mut conn).await?;
            Ok(steps)
        }
        Err(error) => {
            let _ = pooler::rollback(&mut conn).await; // if it fails, the connection and the transaction are lost
            Err(error)
        }
    }
}

/// Runs the whole task as one transaction, because SQLite has no lock that outlives a transaction. So all of it happens
/// or nothing.
fn under_file_lock<R>(
    conn: &mut diesel::SqliteConnection,
    work: impl FnOnce(&mut diesel::SqliteConnection) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    // A migration rebuilds a table by dropping it, which must not delete the rows that refer to it. Within a
    // transaction the pragma has no effect, so it comes before. The connection is not used for anything else.
    conn.batch_execute("PRAGMA foreign_keys = OFF")?;
    let done = |conn: &mut diesel::SqliteConnection| {
        let result = work(conn)?;
        let broken: Vec<BrokenKey> = diesel::RunQueryDsl::load(diesel::sql_query("PRAGMA foreign_key_check"), conn)?;
        ensure!(broken.is_empty(), "rows are left that refer to nothing, in {:?}", broken[0].table);
        Ok(result)
    };
    conn.immediate_transaction(|conn| done(conn).map_err(Failed)).map_err(|Failed(error)| error)
}

#[derive(diesel::QueryableByName)]
struct BrokenKey {
    #[diesel(sql_type = Text)]
    table: String,
}

struct Failed(anyhow::Error);

impl From<diesel::result::Error> for Failed {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}

diesel::table! {
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}

impl Db {
    /// Whether every migration that this binary knows is applied to the database.
    pub async fn is_migrated(&self) -> Result<bool> {
        let applied = __diesel_schema_migrations::table.select(__diesel_schema_migrations::version);
        let query = async |tx: &mut ReadTx| Ok(super::RunQueryDsl::load(applied, tx).await?);
        let applied: Vec<String> = match self.read(&System::probe(), query).await {
            Err(Error::Internal(cause)) => {
                // The database answers, but refuses this query: the table of migrations does not exist yet.
                tracing::warn!(error = ?cause, "The migrations can't be read");
                return Ok(false);
            }
            applied => applied?,
        };
        // The three databases have the same migrations, which a test checks.
        let known = MigrationSource::<Sqlite>::migrations(&SQLITE).map_err(|error| Error::Internal(failed(error)))?;
        Ok(known.iter().all(|step| applied.contains(&step.name().version().to_string())))
    }
}

fn perform<DB, H>(harness: &mut H, source: fn() -> EmbeddedMigrations, task: Task) -> anyhow::Result<Vec<Step>>
where
    DB: diesel::backend::Backend,
    H: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    match task {
        Task::Up => {
            harness.run_pending_migrations(source()).map_err(failed)?;
        }
        Task::Down => {
            harness.revert_last_migration(source()).map_err(failed)?;
        }
        Task::Status => {}
    }
    let applied = harness.applied_migrations().map_err(failed)?;
    let known: Vec<Box<dyn Migration<DB>>> = source().migrations().map_err(failed)?;
    let mut steps: Vec<_> = known
        .iter()
        .map(|step| Step { name: step.name().to_string(), applied: applied.contains(&step.name().version()) })
        .collect();
    steps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(steps)
}

fn failed(error: impl Display) -> anyhow::Error {
    anyhow!("a migration failed: {error}")
}
