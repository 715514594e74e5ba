//! The change feed: every change to a tenant's records passes through it, in the change's own transaction.
//!
//! Subscribers are called twice. *Before* the statement of the change, they unlink or delete the rows that refer to the
//! record, because foreign keys are checked at once. *After* the statement, the audit row is
//! added to the statements that wait for the end of the transaction, and then the subscribers that follow the change are
//! called. These statements run just before the transaction is committed. New versions of what was changed ([`super::cache_versions`]) are written last.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::change::{Change, Changeable, Erased, IntoStatements, Statement, Statements};
use super::{Any, Audited, Execute, WriteTx};
use crate::base::error::Result;
use diesel::QueryResult;
use diesel::query_builder::{QueryFragment, QueryId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// The records that were deleted together with another record: their name in the audit row, and their number.
pub type Gone = Vec<(&'static str, usize)>;

/// The subscribers of all changes. They write rows and enqueue jobs in the change's transaction, and make no network
/// calls. If one of them fails, the change fails.
pub trait Feed: Send + Sync {
    /// Called before the statement of a change.
    fn before<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<Gone>>;

    /// Called after the statement of a change was run or queued. The audit row of the change is written before the rows
    /// that subscribers add at the end.
    fn after<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<()>>;
}

impl WriteTx {
    /// Makes a change by running these statements. It also queues the audit row, and calls the subscribers, so that a
    /// query cannot forget either.
    ///
    /// A statement that is not such a change is run by [`WriteTx::execute_unaudited`], with a reason:
    ///
    /// ```
    /// use bizcenter::base::error::Result;
    /// use bizcenter::db::{RunQueryDsl, WriteTx, schema::tasks};
    /// use diesel::prelude::*;
    ///
    /// async fn rename_all(tx: &mut WriteTx) -> Result<usize> {
    ///     let rows = diesel::update(tasks::table.filter(tasks::tenant_id.eq(tx.tenant())));
    ///     Ok(tx.execute_unaudited("an example", rows.set(tasks::title.eq("x"))).await?)
    /// }
    /// ```
    ///
    /// A statement that is run directly, without an audit row or a reason, does not compile:
    ///
    /// ```compile_fail,E0599
    /// use bizcenter::base::error::Result;
    /// use bizcenter::db::{RunQueryDsl, WriteTx, schema::tasks};
    /// use diesel::prelude::*;
    ///
    /// async fn rename_all(tx: &mut WriteTx) -> Result<usize> {
    ///     let rows = diesel::update(tasks::table.filter(tasks::tenant_id.eq(tx.tenant())));
    ///     Ok(rows.set(tasks::title.eq("x")).execute(tx).await?)
    /// }
    /// ```
    pub fn changed<'a>(
        &'a mut self,
        change: Change<'a>,
        statements: impl IntoStatements<'a>,
    ) -> BoxFuture<'a, Result<Audited<()>>> {
        self.make(change, statements.into_statements()).boxed()
    }

    /// As [`Self::changed`], but without statements: for events that change no record, such as a failed sign-in, and
    /// for changes that other functions have already written.
    pub fn happened<'a>(&'a mut self, change: Change<'a>) -> BoxFuture<'a, Result<Audited<()>>> {
        self.make(change, Statements::default()).boxed()
    }

    async fn make(&mut self, mut change: Change<'_>, Statements(statements): Statements<'_>) -> Result<Audited<()>> {
        let feed = self.feed();
        for (what, count) in feed.before(self, &change).await? {
            change.changes = change.changes.and_gone(what, count);
        }
        for statement in statements {
            statement.run(self).await?;
        }
        let row = self.audit_row(&change);
        self.at_end(row);
        feed.after(self, &change).await?;
        Ok(Audited(()))
    }

    /// Changes many records of a kind at once. It writes no audit row: another audit row already covers all of these
    /// records, and a row for each would flood the log. It does not call the subscribers either, because what they
    /// derive from the records is rebuilt once for all of them.
    pub fn changed_in_bulk<'a, Id: Changeable>(
        &'a mut self,
        statements: impl IntoStatements<'a>,
    ) -> BoxFuture<'a, Result<()>> {
        let statements = statements.into_statements();
        self.make_in_bulk(statements).boxed()
    }

    async fn make_in_bulk(&mut self, Statements(statements): Statements<'_>) -> Result<()> {
        for statement in statements {
            statement.run(self).await?;
        }
        Ok(())
    }

    /// Runs a statement that is not a change of its own. `reason` says why it has no audit row. Returns the number of
    /// changed rows.
    ///
    /// A read-only transaction does not have this method:
    ///
    /// ```compile_fail,E0599
    /// use bizcenter::base::error::Result;
    /// use bizcenter::db::{ReadTx, schema::tasks};
    /// use diesel::prelude::*;
    ///
    /// async fn rename_all(tx: &mut ReadTx) -> Result<usize> {
    ///     let rows = diesel::update(tasks::table.filter(tasks::tenant_id.eq(tx.tenant())));
    ///     Ok(tx.execute_unaudited("an example", rows.set(tasks::title.eq("x"))).await?)
    /// }
    /// ```
    ///
    /// A transaction that writes has it:
    ///
    /// ```
    /// use bizcenter::base::error::Result;
    /// use bizcenter::db::{WriteTx, schema::tasks};
    /// use diesel::prelude::*;
    ///
    /// async fn rename_all(tx: &mut WriteTx) -> Result<usize> {
    ///     let rows = diesel::update(tasks::table.filter(tasks::tenant_id.eq(tx.tenant())));
    ///     Ok(tx.execute_unaudited("an example", rows.set(tasks::title.eq("x"))).await?)
    /// }
    /// ```
    pub fn execute_unaudited<'a>(
        &'a mut self,
        reason: &'static str,
        statement: impl QueryFragment<Any> + QueryId + Send + 'a,
    ) -> BoxFuture<'a, QueryResult<usize>> {
        tracing::trace!(reason, "A statement without an audit row");
        let statement = Erased::new(statement);
        if let Err(error) = self.note_change_of(&statement) {
            return async { Err(error) }.boxed();
        }
        statement.execute(self).boxed()
    }

    /// As [`Self::execute_unaudited`], but for subscribers: the statement is run at the end of the transaction,
    /// together with the audit rows. Nothing in the transaction may read its rows before.
    pub fn write_at_end(&mut self, reason: &'static str, statement: Statement<'static>) {
        tracing::trace!(reason, "A statement without an audit row, at the end");
        self.at_end(statement);
    }
}
