//! Helps tests of races to wait: for a lock that another transaction holds, or for any other condition.
use super::app::TestApp;
use super::database::{Kind, TestDatabase, variable_of_this_run};
use super::rows::{run, text};
use bizcenter::db::AnyConnection;
use bizcenter::db::connect::{Target, establish};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The longest wait. Nothing that tests wait for takes so long, even on a machine that is busy with other work.
const LONG: Duration = Duration::from_secs(60);

/// Checks a condition repeatedly until it is true. Panics after `LONG`.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < LONG, "after {LONG:?} it is still not so that {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A transaction that a test keeps open, as another program might. It keeps its locks until it ends.
pub struct OpenTransaction(AnyConnection);

impl OpenTransaction {
    pub async fn commit(mut self) {
        run(&mut self.0, "COMMIT").await.unwrap();
    }
    pub async fn roll_back(mut self) {
        run(&mut self.0, "ROLLBACK").await.unwrap();
    }
}

impl TestApp {
    /// Runs a statement on the rows of all tenants in a transaction that stays open.
    pub async fn begin(&self, sql: &str) -> OpenTransaction {
        let mut conn = self.database.connect().await;
        let begin = if self.database.kind == Kind::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        run(&mut conn, &format!("{begin}; {sql}")).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        OpenTransaction(conn)
    }

    /// Locks a row against changes. With SQLite, locks the whole file.
    pub async fn lock_row(&self, table: &str, id: Uuid) -> OpenTransaction {
        self.begin(&match self.database.kind {
            Kind::Sqlite => String::new(),
            Kind::Postgres | Kind::Mariadb => format!("SELECT 1 FROM {table} WHERE id = {} FOR UPDATE", self.id(id)),
        })
        .await
    }

    /// How many statements wait for a lock in this server's database. With SQLite, counts this server's changes that
    /// have the turn of the only writer or wait for it, while another program holds the file.
    async fn lock_waits(&self) -> usize {
        match self.database.kind {
            Kind::Sqlite => {
                let writer = self.parts.metrics.queue("writer");
                usize::try_from(writer.taken.get() + writer.waiting.get()).unwrap()
            }
            Kind::Postgres | Kind::Mariadb => self.database.lock_waits().await,
        }
    }

    /// Waits until this many statements wait for a lock that an [`OpenTransaction`] holds.
    pub async fn until_waiting_for_lock(&self, count: usize) {
        until(&format!("{count} wait for a lock"), async || self.lock_waits().await >= count).await;
    }

    /// Waits until no statement waits for a lock.
    pub async fn until_nothing_waits_for_lock(&self) {
        until("nothing waits for a lock", async || self.lock_waits().await == 0).await;
    }
}

impl TestDatabase {
    /// How many statements wait for a lock in this database. Panics for SQLite, which does not show the statements that
    /// wait for its file.
    pub async fn lock_waits(&self) -> usize {
        let count = match self.kind {
            Kind::Sqlite => panic!("SQLite has no catalogue of locks"),
            Kind::Postgres => {
                let sql = "SELECT count(*)::text FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
                text(&mut self.connect().await, sql).await
            }
            Kind::Mariadb => self.lock_waits_of_mariadb().await,
        };
        count.parse().unwrap()
    }

    async fn lock_waits_of_mariadb(&self) -> String {
        static LOOK: Mutex<()> = Mutex::const_new(());
        // Only the user in this URL may see other transactions. InnoDB repeats its last result until nobody has asked
        // for a tenth of a second. Queries therefore run one at a time, each after a pause.
        let watcher = Target::parse(&variable_of_this_run("TEST_MARIADB_WATCHER_URL"), None).unwrap();
        let mut conn = establish(&watcher).await.unwrap();
        let _look = LOOK.lock().await;
        sleep(Duration::from_millis(120)).await;
        let sql = format!(
            "SELECT CAST(count(*) AS CHAR) FROM information_schema.processlist p
             LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id
             WHERE p.db = '{}' AND (t.trx_state = 'LOCK WAIT' OR p.state = 'User lock' OR p.state LIKE 'Waiting for%lock')",
            self.name()
        );
        text(&mut conn, &sql).await
    }
}
