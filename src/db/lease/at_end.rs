//! Statements that a transaction runs at its end, just before it is committed.
use super::WriteTx;
use crate::base::error::Result;
use crate::db::change::Statement;
use std::mem;

/// Statements that wait for the end of a transaction, in the order in which they were queued.
#[derive(Default)]
pub(super) struct AtEnd {
    statements: Vec<Statement<'static>>,
    /// The kinds of records that were changed. One statement invalidates the cached lists of each kind.
    outdated: Vec<&'static str>,
}

impl WriteTx {
    /// Queues a statement for the end of the transaction. No earlier statement may read the rows that it writes. If it
    /// fails, the whole transaction is rolled back.
    pub(in crate::db) fn at_end(&mut self, statement: Statement<'static>) {
        self.at_end.statements.push(statement);
    }

    /// Whether this is the transaction's first change to records of this kind in its present tenant. One new cache
    /// version is enough for all further changes.
    pub(in crate::db) fn is_first_change(&mut self, kind: &'static str) -> bool {
        let is_first = !self.at_end.outdated.contains(&kind);
        if is_first {
            self.at_end.outdated.push(kind);
        }
        is_first
    }

    /// Runs the queued statements.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let statements = mem::take(&mut self.at_end).statements;
        Statement::run_all(statements, self).await
    }

    /// If `result` is a success, runs the queued statements and commits. Otherwise, or if one of the statements fails,
    /// rolls back.
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
