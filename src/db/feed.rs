//! The change feed: the one place that every change to a tenant's records passes, in the change's own transaction.
//!
//! A change has two moments. *Before* its statement, subscribers unlink what refers to the row, as foreign keys are checked
//! at once. *After* it come the audit row, the cache version of the lists that show the record, and the subscribers that
//! follow the change. The rows of *after* wait until the transaction ends, and are written just before it is committed.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::cache_versions::CacheScope;
use super::change::{Change, Changeable, Erased, IntoStatements, Statement, Statements};
use super::{Any, Audited, Execute, WriteTx};
use crate::base::error::Result;
use diesel::QueryResult;
use diesel::query_builder::QueryFragment;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// What went with a record that was deleted: its name in the audit row, and how many there were.
pub type Gone = Vec<(&'static str, usize)>;

/// The subscribers of all changes. They write rows and enqueue jobs in the change's transaction, and never talk to the
/// network. If one of them fails, the change fails.
pub trait Feed: Send + Sync {
    /// Called before the statement of a change.
    fn before<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<Gone>>;

    /// Called after it. The audit row of the change is queued by then, ahead of what subscribers add.
    fn after<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<()>>;
}

impl WriteTx {
    /// Makes a change by these statements. Its audit row is written, the cached lists that show the record are outdated, and
    /// the subscribers are told: none of that can be forgotten.
    ///
    /// There is no other way to write in a slice but with a reason, by [`WriteTx::execute_unaudited`]:
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
    /// A statement that is run by itself, beside the audited ones, does not compile:
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

    /// As [`Self::changed`], where nothing is left to write: a failed sign-in, or what other functions have done.
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
        if let Some(lists) = change.lists() {
            self.invalidate(lists);
        }
        feed.after(self, &change).await?;
        Ok(Audited(()))
    }

    /// Changes many records of a kind at once, of which one audit row tells already: a row for each would drown the log. What
    /// hangs on the records is rebuilt once for all of them.
    pub fn changed_in_bulk<'a, Id: Changeable>(
        &'a mut self,
        statements: impl IntoStatements<'a>,
    ) -> BoxFuture<'a, Result<()>> {
        let statements = statements.into_statements();
        self.make_in_bulk(statements, CacheScope::if_cached::<Id>()).boxed()
    }

    async fn make_in_bulk(&mut self, Statements(statements): Statements<'_>, lists: Option<CacheScope>) -> Result<()> {
        for statement in statements {
            statement.run(self).await?;
        }
        if let Some(lists) = lists {
            self.invalidate(lists);
        }
        Ok(())
    }

    /// Runs a statement that is no change of its own; `reason` says why it has no audit row. Gives how many rows it changed.
    ///
    /// A lease that only reads does not have it:
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
    /// One that writes has it:
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
        statement: impl QueryFragment<Any> + Send + 'a,
    ) -> BoxFuture<'a, QueryResult<usize>> {
        tracing::trace!(reason, "A statement without an audit row");
        Erased::new(statement).execute(self).boxed()
    }

    /// As [`Self::execute_unaudited`], for subscribers: the statement is written at the end of the transaction, with the audit
    /// rows. Nothing may read its rows before.
    pub fn write_at_end(&mut self, reason: &'static str, statement: Statement<'static>) {
        tracing::trace!(reason, "A statement without an audit row, at the end");
        self.at_end(statement);
    }
}
