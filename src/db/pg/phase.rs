//! What a connection has been told, and what it still has to be told before the next statement.
use diesel::QueryResult;
use diesel::result::Error;
use std::time::Duration;
use uuid::Uuid;

/// How the statements of a lease hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Exactly one statement, which reads.
    One,
    /// Statements that read one snapshot.
    Snapshot,
    /// Statements that may write.
    Write,
}

/// A lease that has not begun.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub tenant: Uuid,
    /// How long each statement may take.
    pub timeout: Duration,
    pub mode: Mode,
    /// Whether each statement is planned for its values. PostgreSQL would else keep a plan for the average tenant, and
    /// sort all rows of one that has many.
    pub plans_anew: bool,
}

/// What the connection may do now.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// It has had no lease: it is being set up, or the transactions are begun and ended by SQL.
    #[default]
    Open,
    /// It is between two leases. Nothing may run, because the session still has the tenant of the last one.
    Idle,
    /// A lease waits for its first statement.
    Waiting(Lease),
    /// The transaction of a lease.
    Begun,
    /// The one statement of a lease has run.
    Spent,
    /// The beginning of a lease is on its way. If it fails or is cut off, this remains, and nothing more may run: it
    /// would run outside of the lease.
    Beginning(Mode),
    /// The end of a lease is on its way. The same goes for it.
    Ending,
}

/// What the session has been told, so far as PostgreSQL has confirmed it.
#[derive(Debug, Default)]
pub(super) struct Session {
    told: Option<Settings>,
    /// Is told with the messages that are on their way.
    telling: Option<Settings>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    tenant: Uuid,
    timeout: u128,
}

impl Session {
    /// The SQL that tells the session what a lease needs that reads. `None` if it knows.
    fn tell(&mut self, lease: &Lease) -> Option<String> {
        let (tenant, timeout) = (lease.tenant, lease.timeout.as_millis());
        let wanted = Settings { tenant, timeout };
        if lease.mode == Mode::Write || self.told == Some(wanted) {
            return None;
        }
        (self.told, self.telling) = (None, Some(wanted));
        Some(format!("SET app.tenant_id = '{tenant}'; SET statement_timeout = {timeout}"))
    }

    /// PostgreSQL has confirmed what it was told.
    pub fn confirm(&mut self) {
        if let Some(telling) = self.telling.take() {
            self.told = Some(telling);
        }
    }
}

impl Phase {
    /// Fails if no statement may run.
    pub fn check(&self) -> QueryResult<()> {
        match self {
            Self::Open | Self::Waiting(_) | Self::Begun => Ok(()),
            Self::Idle | Self::Beginning(_) | Self::Spent | Self::Ending => Err(Error::BrokenTransactionManager),
        }
    }

    /// The messages that begin the lease, if it still waits. If there are any, [`Self::has_begun`] is to be called when
    /// PostgreSQL has confirmed them.
    pub fn begin(&mut self, session: &mut Session) -> QueryResult<Vec<String>> {
        self.check()?;
        let Self::Waiting(lease) = *self else { return Ok(Vec::new()) };
        *self = Self::Beginning(lease.mode);
        // A message of its own, which a rollback of the transaction does not undo.
        let mut messages: Vec<String> = session.tell(&lease).into_iter().collect();
        match lease.mode {
            Mode::One => {}
            Mode::Snapshot => {
                let plans = if lease.plans_anew { "; SET LOCAL plan_cache_mode = force_custom_plan" } else { "" };
                messages.push(format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{plans}"));
            }
            Mode::Write => {
                // `BEGIN` alone can't be refused. If the mode is, the transaction is open and refuses what follows.
                let (tenant, timeout) = (lease.tenant, lease.timeout.as_millis());
                messages.push(format!(
                    "BEGIN; SET TRANSACTION READ WRITE; SET LOCAL app.tenant_id = '{tenant}'; \
                     SET LOCAL statement_timeout = {timeout}"
                ));
            }
        }
        if messages.is_empty() {
            self.has_begun();
        }
        Ok(messages)
    }

    pub fn has_begun(&mut self) {
        if let Self::Beginning(mode) = *self {
            *self = if mode == Mode::One { Self::Spent } else { Self::Begun };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const TWO: Uuid = Uuid::from_u128(2);
    const SET_ONE: &str = "SET app.tenant_id = '00000000-0000-0000-0000-000000000001'; SET statement_timeout = 1000";

    fn lease(tenant: Uuid, mode: Mode) -> Phase {
        Phase::Waiting(Lease { tenant, timeout: Duration::from_secs(1), mode, plans_anew: false })
    }

    /// The messages that begin a lease, which PostgreSQL confirms.
    fn begun(session: &mut Session, tenant: Uuid, mode: Mode) -> Vec<String> {
        let mut phase = lease(tenant, mode);
        let messages = phase.begin(session).unwrap();
        session.confirm();
        phase.has_begun();
        messages
    }

    #[test]
    fn the_session_is_told_of_a_tenant_only_if_it_had_another() {
        let session = &mut Session::default();
        assert_eq!(begun(session, ONE, Mode::One), [SET_ONE]);
        assert_eq!(begun(session, ONE, Mode::One), [""; 0]);
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        assert_eq!(begun(session, ONE, Mode::Snapshot), [begin]);
        assert_eq!(begun(session, TWO, Mode::Snapshot), [&SET_ONE.replace("1'", "2'"), begin]);
        assert_eq!(begun(session, ONE, Mode::One), [SET_ONE]);
    }

    #[test]
    fn a_transaction_that_writes_has_settings_of_its_own() {
        let session = &mut Session::default();
        begun(session, ONE, Mode::One);
        let own =
            "SET LOCAL app.tenant_id = '00000000-0000-0000-0000-000000000002'; SET LOCAL statement_timeout = 1000";
        assert_eq!(begun(session, TWO, Mode::Write), [format!("BEGIN; SET TRANSACTION READ WRITE; {own}")]);
        assert_eq!(begun(session, ONE, Mode::One), [""; 0], "the session still has what it was told");
    }

    #[test]
    fn what_was_not_confirmed_is_told_again() {
        let session = &mut Session::default();
        begun(session, ONE, Mode::One);
        lease(TWO, Mode::One).begin(session).unwrap(); // cut off
        assert_eq!(begun(session, ONE, Mode::One), [SET_ONE]);
    }

    #[test]
    fn nothing_runs_outside_of_a_lease_or_after_the_one_statement() {
        let session = &mut Session::default();
        let mut phase = lease(ONE, Mode::One);
        phase.begin(session).unwrap();
        assert!(phase.check().is_err(), "its beginning is on its way");
        phase.has_begun();
        assert!(phase.check().is_err(), "a second statement");
        assert!(Phase::Idle.begin(session).is_err());
        assert!(Phase::Ending.begin(session).is_err());
    }
}
