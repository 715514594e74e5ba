//! What a transaction writes at its end, just before it is committed.
use super::WriteTx;
use crate::base::error::Result;
use crate::db::change::Statement;
use std::mem;

/// Statements that wait for the end of a transaction, in the order in which they were queued.
#[derive(Default)]
pub(super) struct AtEnd {
    statements: Vec<Statement<'static>>,
    /// The kinds of records that were changed: one statement outdates the cached lists of each.
    outdated: Vec<&'static str>,
}

impl WriteTx {
    /// Queues a statement. Nothing reads its rows before the transaction ends; if it fails then, all of the transaction is undone.
    pub(in crate::db) fn at_end(&mut self, statement: Statement<'static>) {
        self.at_end.statements.push(statement);
    }

    /// Whether this is the first change to records of the kind: one new version is enough for all of a transaction.
    pub(in crate::db) fn is_first_change(&mut self, kind: &'static str) -> bool {
        let is_first = !self.at_end.outdated.contains(&kind);
        if is_first {
            self.at_end.outdated.push(kind);
        }
        is_first
    }

    /// Runs what was queued.
    pub(super) async fn flush(&mut self) -> Result<()> {
        for statement in mem::take(&mut self.at_end).statements {
            statement.run(self).await?;
        }
        Ok(())
    }

    /// Commits what succeeded, together with the statements that waited for it; rolls back what did not.
    pub(in crate::db) async fn end<R>(mut self, mut result: Result<R>) -> Result<R> {
        if result.is_ok() {
            let guard = self.guard();
            if let Err(error) = guard.around(self.flush()).await {
                result = Err(error);
            }
        }
        self.read.end(result).await
    }

    pub(in crate::db) async fn abandon(mut self) -> Result<()> {
        let pooler = self.target.pooler();
        let rolled_back = self.conn().rollback(pooler).await;
        self.read.leased = None;
        Ok(rolled_back?)
    }
}
