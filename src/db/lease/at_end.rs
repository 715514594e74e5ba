//! Statements that a transaction runs at its end, just before it is committed.
use super::{Access, WriteTx};
use crate::base::error::Result;
use crate::db::change::Statement;
use crate::db::locked_keys::LockedKeys;
use crate::db::schema::data_key_heads as heads;
use diesel::prelude::*;
use std::collections::BTreeSet;
use std::mem;

/// Statements that wait for the end of a transaction, in the order in which they were added.
#[derive(Default)]
pub(super) struct AtEnd {
    statements: Vec<Statement<'static>>,
    /// The names of the versions that have to be replaced. They are in order, so that two transactions that replace the
    /// same ones can't wait for each other.
    invalid: BTreeSet<&'static str>,
    /// The tenant's data keys, once they are locked. How often they were used is stored at the end.
    locked_keys: Option<LockedKeys>,
}

/// The statement that stores how often a tenant's newest data key was used.
fn uses(keys: LockedKeys) -> Statement<'static> {
    let (number, uses) = keys.head;
    let head = heads::table.filter(heads::tenant_id.eq(keys.tenant));
    Statement::of(diesel::update(head).set((heads::number.eq(number), heads::uses.eq(uses))))
}

impl WriteTx {
    /// Adds a statement to those that run at the end of the transaction. Nothing in the transaction may read the rows
    /// that the statement writes. If it fails, the whole transaction is rolled back.
    pub(in crate::db) fn at_end(&mut self, statement: Statement<'static>) {
        self.at_end.statements.push(statement);
    }

    /// Notes that this transaction changes the tenant's rows of a table with versions. The version is replaced last: from
    /// then on, other transactions that replace the same shard of it wait until this one has ended. On PostgreSQL, the
    /// foreign keys of rows that go out in one statement with it are checked after that, and wait for a user who is locked
    /// for update. To remove a user locks the user and then replaces the version of attendees. That can't deadlock, as
    /// attendees are inserted in a statement of their own.
    pub(in crate::db) fn invalidate(&mut self, version: &'static str) {
        self.at_end.invalid.insert(version);
    }

    /// Runs the statements that wait, stores the uses of a data key, and then replaces the versions. On PostgreSQL
    /// without a pooler, they are perhaps only queued.
    pub(in crate::db) async fn flush(&mut self) -> Result<()> {
        let mut statements = mem::take(&mut self.at_end.statements);
        statements.extend(self.take_locked_keys().filter(|keys| keys.is_used).map(uses));
        Statement::run_all(statements, self).await?;
        let invalid = mem::take(&mut self.at_end.invalid);
        let versions: Vec<_> = invalid.into_iter().map(|version| self.new_version(version)).collect();
        if versions.is_empty() { Ok(()) } else { Statement::run_all(versions, self).await }
    }

    pub(in crate::db) fn take_locked_keys(&mut self) -> Option<LockedKeys> {
        self.at_end.locked_keys.take()
    }

    pub(in crate::db) fn keep_locked_keys(&mut self, keys: LockedKeys) -> &mut LockedKeys {
        self.at_end.locked_keys.insert(keys)
    }

    /// If `result` is a success, runs the statements that wait, and commits. Otherwise, or if one of them fails, rolls
    /// back.
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
        let rolled_back = self.conn().rollback(Access::Write, pooler).await;
        self.read.leased = None;
        Ok(rolled_back?)
    }
}
