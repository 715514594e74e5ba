//! The phase of a connection, and the settings that its session has or still needs before the next statement.
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
    pub plans: Plans,
}

/// How PostgreSQL plans the statements of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plans {
    /// A statement keeps its plan.
    Kept,
    /// Each statement is planned for its values. Otherwise PostgreSQL would keep a plan that fits the average tenant, and
    /// would sort all rows of a tenant that has many.
    Anew,
    /// A statement keeps its plan, which reads a page along the index of its order, and so fits each tenant. It may not
    /// sort, because PostgreSQL without statistics takes all rows of the tenant for a few, and would sort them. What counts
    /// rows needs a plan for its tenant: see `ReadTx::plan_anew`. A statement with an order must not have the same text
    /// as one that runs with [`Self::Kept`], because PostgreSQL would keep a plan that sorts.
    KeptInOrder,
}

impl Plans {
    /// The SQL that sets this, after other SQL.
    pub fn settings(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::Anew => "; SET LOCAL plan_cache_mode = force_custom_plan",
            Self::KeptInOrder => "; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_sort = off",
        }
    }

    /// As [`Self::settings`], for a session that keeps no statements, and so no plans.
    pub fn settings_without_keeping(self) -> &'static str {
        match self {
            Self::Kept | Self::Anew => self.settings(),
            Self::KeptInOrder => "; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_sort = off",
        }
    }
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

/// The settings of a session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Those that PostgreSQL has confirmed.
    confirmed: Settings,
    /// Those that the session will have once PostgreSQL has confirmed the messages that are on their way.
    sent: Option<Settings>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    tenant: Option<Uuid>,
    /// In milliseconds.
    timeout: Option<u128>,
}

impl Session {
    /// Returns the SQL that sets what the session does not have yet. `None` if it has all of it.
    fn set(&mut self, tenant: Uuid, timeout: Option<u128>) -> Option<String> {
        let mut sql = vec![];
        if self.confirmed.tenant != Some(tenant) {
            sql.push(format!("SET app.tenant_id = '{tenant}'"));
        }
        if let Some(timeout) = timeout.filter(|_| self.confirmed.timeout != timeout) {
            sql.push(format!("SET statement_timeout = {timeout}"));
        }
        if sql.is_empty() {
            return None;
        }
        let timeout = timeout.or(self.confirmed.timeout);
        (self.confirmed, self.sent) = (Settings::default(), Some(Settings { tenant: Some(tenant), timeout }));
        Some(sql.join("; "))
    }

    /// Notes that PostgreSQL has confirmed the settings that were sent.
    pub fn confirm(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.confirmed = sent;
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
        let (tenant, timeout) = (lease.tenant, lease.timeout.as_millis());
        let mut messages = vec![];
        // What the session keeps is a message of its own, which a rollback of the transaction does not undo.
        match lease.mode {
            Mode::One => messages.extend(session.set(tenant, Some(timeout))),
            Mode::Snapshot => {
                // A connection serves lists and reads of one record alternately, and lists have another timeout. It is
                // set for the transaction only, so that the session keeps the timeout for reads of one record.
                let is_known = session.confirmed.timeout == Some(timeout);
                messages.extend(session.set(tenant, None));
                let mut begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
                if !is_known {
                    begin.push_str(&format!("; SET LOCAL statement_timeout = {timeout}"));
                }
                begin.push_str(lease.plans.settings());
                messages.push(begin);
            }
            Mode::Write => {
                // `BEGIN` without a mode always succeeds. If PostgreSQL refuses `SET TRANSACTION READ WRITE`, the
                // transaction is already open, so that PostgreSQL refuses the statements behind it, too.
                let mut begin = "BEGIN; SET TRANSACTION READ WRITE".to_owned();
                if session.confirmed.tenant != Some(tenant) {
                    begin.push_str(&format!("; SET LOCAL app.tenant_id = '{tenant}'"));
                }
                if session.confirmed.timeout != Some(timeout) {
                    begin.push_str(&format!("; SET LOCAL statement_timeout = {timeout}"));
                }
                messages.push(begin);
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
        Phase::Waiting(Lease { tenant, timeout: Duration::from_secs(1), mode, plans: Plans::Kept })
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
    fn a_tenant_is_set_only_if_the_session_had_another() {
        let session = &mut Session::default();
        assert_eq!(begun(session, ONE, Mode::One), [SET_ONE]);
        assert_eq!(begun(session, ONE, Mode::One), [""; 0]);
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        assert_eq!(begun(session, ONE, Mode::Snapshot), [begin]);
        let set_two = "SET app.tenant_id = '00000000-0000-0000-0000-000000000002'";
        assert_eq!(begun(session, TWO, Mode::Snapshot), [set_two, begin]);
        assert_eq!(begun(session, ONE, Mode::One), [&SET_ONE[..set_two.len()]]);
    }

    #[test]
    fn a_timeout_of_lists_is_not_that_of_the_session() {
        let session = &mut Session::default();
        begun(session, ONE, Mode::One);
        let timeout = Duration::from_secs(2);
        let mut list = Phase::Waiting(Lease { tenant: ONE, timeout, mode: Mode::Snapshot, plans: Plans::Anew });
        let local = "; SET LOCAL statement_timeout = 2000; SET LOCAL plan_cache_mode = force_custom_plan";
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{local}");
        assert_eq!(list.begin(session).unwrap(), [begin]);
        session.confirm();
        assert_eq!(begun(session, ONE, Mode::One), [""; 0], "it is as it was before the list");
    }

    #[test]
    fn a_transaction_that_writes_does_not_change_the_settings_of_the_session() {
        let session = &mut Session::default();
        let begin = "BEGIN; SET TRANSACTION READ WRITE";
        let tenant = "; SET LOCAL app.tenant_id = '00000000-0000-0000-0000-000000000002'";
        let all = format!("{begin}{tenant}; SET LOCAL statement_timeout = 1000");
        assert_eq!(begun(session, TWO, Mode::Write), [&all[..]]);
        assert_eq!(begun(session, TWO, Mode::Write), [&all[..]]);
        begun(session, ONE, Mode::One);
        assert_eq!(begun(session, ONE, Mode::Write), [begin], "the session has all of it");
        assert_eq!(begun(session, TWO, Mode::Write), [format!("{begin}{tenant}")]);
        assert_eq!(begun(session, ONE, Mode::One), [""; 0], "the session still has its own");
    }

    #[test]
    fn what_was_not_confirmed_is_set_again() {
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
