//! Reads and changes the database directly, to check and to prepare what the API does not show.
use super::app::TestApp;
use super::database::Kind;
use super::people::Answer;
use super::rows::run;
use uuid::Uuid;

impl TestApp {
    /// The result of a query on the rows of all tenants, as [`rows`](super::rows::rows) reads it.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.database.rows(sql).await
    }

    /// Runs statements on the rows of all tenants.
    pub async fn run(&self, sql: &str) {
        let result = run(&mut self.database.connect().await, sql).await;
        result.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Makes the database refuse a statement (`DELETE`, `UPDATE`) on those rows of a table that fulfil a condition on
    /// `old`.
    pub async fn refuse(&self, statement: &str, table: &str, condition: &str) {
        let (before, when) = match self.database.kind {
            Kind::Sqlite => ("", format!("WHEN {condition} BEGIN SELECT RAISE(ABORT, 'refused'); END")),
            Kind::Mariadb => ("", format!("IF {condition} THEN SIGNAL SQLSTATE '45000'; END IF")),
            Kind::Postgres => (
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN RAISE 'refused'; END $$; ",
                format!("WHEN ({condition}) EXECUTE FUNCTION refuse()"),
            ),
        };
        let trigger = format!("CREATE TRIGGER refuse_{table} BEFORE {statement} ON {table} FOR EACH ROW {when}");
        self.run(&format!("{before}{trigger}")).await;
    }

    /// Removes the trigger that [`Self::refuse`] created.
    pub async fn allow(&self, table: &str) {
        let of = if self.database.kind == Kind::Postgres { format!(" ON {table}") } else { String::new() };
        self.run(&format!("DROP TRIGGER refuse_{table}{of}")).await;
    }

    /// Inserts the row that records the end of a session in Redis. It does so in all runs, even if this run keeps
    /// sessions elsewhere.
    pub async fn note_an_end(&self, tenant: Uuid) {
        let (tenant, session) = (self.id(tenant), self.id(self.parts.env.uuid()));
        let row = format!("({tenant}, {session}, '2099-01-01 00:00:00')");
        self.run(&format!("INSERT INTO ended_sessions (tenant_id, id, expires_at) VALUES {row}")).await;
    }

    /// An id as an SQL literal of this database.
    pub fn id(&self, id: Uuid) -> String {
        match self.database.kind {
            Kind::Postgres => format!("'{id}'"),
            Kind::Sqlite | Kind::Mariadb => format!("x'{}'", id.simple()),
        }
    }

    /// An SQL expression that reads a column of ids as text that [`Uuid`] parses.
    pub fn id_column(&self, column: &str) -> String {
        match self.database.kind {
            Kind::Postgres => format!("{column}::text"),
            Kind::Sqlite | Kind::Mariadb => format!("lower(hex({column}))"),
        }
    }

    /// The answer of `/readyz` as of now. Waits first, because the server may repeat the result of the last second.
    pub async fn readiness(&self) -> Answer {
        // The server keeps the result of a check for a second of real time.
        tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
        self.visitor().get("/readyz").send().await
    }

    /// Unique text for e-mail addresses and names. It consists of letters and digits and starts with a letter.
    pub fn unique(&self) -> String {
        format!("u{}", self.parts.env.uuid().simple())
    }
}
