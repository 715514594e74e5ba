//! A look at the rows behind the answers, and a hand on them.
use super::app::TestApp;
use super::database::Kind;
use super::people::Answer;
use super::rows::run;
use uuid::Uuid;

impl TestApp {
    /// The rows of all tenants that a query finds, as [`rows`](super::rows::rows) reads them.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.database.rows(sql).await
    }

    /// Runs statements on the rows of all tenants.
    pub async fn run(&self, sql: &str) {
        let result = run(&mut self.database.connect().await, sql).await;
        result.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Has the database refuse a statement (`DELETE`, `UPDATE`) on the rows of a table for which a condition on `old` holds.
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

    /// Lifts [`Self::refuse`].
    pub async fn allow(&self, table: &str) {
        let of = if self.database.kind == Kind::Postgres { format!(" ON {table}") } else { String::new() };
        self.run(&format!("DROP TRIGGER refuse_{table}{of}")).await;
    }

    /// Notes the end of a session that is kept in Redis, wherever this run keeps its own.
    pub async fn note_an_end(&self, tenant: Uuid) {
        let (tenant, session) = (self.id(tenant), self.id(self.parts.env.uuid()));
        let row = format!("({tenant}, {session}, '2099-01-01 00:00:00')");
        self.run(&format!("INSERT INTO ended_sessions (tenant_id, id, expires_at) VALUES {row}")).await;
    }

    /// An id as this database writes it.
    pub fn id(&self, id: Uuid) -> String {
        match self.database.kind {
            Kind::Postgres => format!("'{id}'"),
            Kind::Sqlite | Kind::Mariadb => format!("x'{}'", id.simple()),
        }
    }

    /// A column of ids as text that [`Uuid`] parses.
    pub fn id_column(&self, column: &str) -> String {
        match self.database.kind {
            Kind::Postgres => format!("{column}::text"),
            Kind::Sqlite | Kind::Mariadb => format!("lower(hex({column}))"),
        }
    }

    /// What `/readyz` finds now, rather than what it found within the last second.
    pub async fn readiness(&self) -> Answer {
        // What a look found is good for a second of real time.
        tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
        self.visitor().get("/readyz").send().await
    }

    /// Text that no other test has, for e-mail addresses and names: letters and digits, the first a letter.
    pub fn unique(&self) -> String {
        format!("u{}", self.parts.env.uuid().simple())
    }
}
