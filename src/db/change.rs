//! A change to a record, and the statements that make it.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
/// The bound for ids of records that may be changed: an id that knows its kind. Only this line names the trait behind
/// the bound.
pub(super) use super::registered::Registered as Changeable;

use super::any::bound_as;
use super::audit::{AuditAction, Changes};
use super::error::Constraint;
use super::pg::BoundStatement;
use super::{Any, Execute, WriteTx};
use crate::base::error::{Detail, Error, Result};
use diesel::QueryResult;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error as Diesel};
use poem_openapi::types::ToJSON;
use std::any::TypeId;
use uuid::Uuid;

/// A record of any kind, as subscribers of the change feed get it.
pub type AnyRecord = dyn std::any::Any + Send + Sync;

/// A record that a change shows to its subscribers and to the audit log.
pub trait Shown: ToJSON + std::any::Any + Send + Sync {}
impl<T: ToJSON + std::any::Any + Send + Sync> Shown for T {}

/// One change to one record: what happened to it, and the record before and after.
pub struct Change<'a> {
    action: AuditAction,
    kind: &'static str,
    id: Uuid,
    before: Option<&'a AnyRecord>,
    after: Option<&'a AnyRecord>,
    /// The changed members that the audit row records.
    pub(super) changes: Changes,
    /// Members whose values the audit row does not record.
    confidential: &'static [&'static str],
}

impl<'a> Change<'a> {
    /// An event that concerns a record but shows none of its members, such as a sign-in or a new password.
    pub fn of<Id: Changeable>(action: AuditAction, id: Id) -> Self {
        let confidential = Id::CONFIDENTIAL;
        let (kind, id, changes) = (Id::KIND, id.uuid(), Changes::none());
        Self { action, kind, id, before: None, after: None, changes, confidential }
    }

    /// A new record. The audit row records all of its members.
    pub fn created<Id: Changeable>(id: Id, after: &'a impl Shown) -> Self {
        Self { after: Some(after), ..Self::of(AuditAction::Create, id) }.telling(Changes::created(after))
    }

    /// A new version of a record. The audit row records the members that differ.
    pub fn updated<Id: Changeable, R: Shown>(id: Id, before: &'a R, after: &'a R) -> Self {
        let changes = Changes::updated(before, after);
        Self { before: Some(before), after: Some(after), ..Self::of(AuditAction::Update, id) }.telling(changes)
    }

    /// The deletion of a record. The audit row records all of its members.
    pub fn deleted<Id: Changeable>(id: Id, before: &'a impl Shown) -> Self {
        Self { before: Some(before), ..Self::of(AuditAction::Delete, id) }.telling(Changes::deleted(before))
    }

    /// Makes the audit row record these changes instead of those that were derived from the record.
    pub fn telling(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// What happened.
    pub fn action(&self) -> AuditAction {
        self.action
    }

    /// What the audit log calls the kind of the record.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The id of the record.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The record before the change. `None` if it is new, or not shown.
    pub fn before(&self) -> Option<&'a AnyRecord> {
        self.before
    }

    /// The record after the change. `None` if it is deleted, or not shown.
    pub fn after(&self) -> Option<&'a AnyRecord> {
        self.after
    }

    pub(super) fn confidential(&self) -> &'static [&'static str] {
        self.confidential
    }
}

/// A statement with its type erased. Prepared statements are cached all the same, because they are found by their
/// SQL and not by the type of the query.
pub(super) struct Erased<'q> {
    query: Box<dyn QueryFragment<Any> + Send + 'q>,
    id: Option<TypeId>,
}

impl<'q> Erased<'q> {
    pub fn new<Q: QueryFragment<Any> + QueryId + Send + 'q>(query: Q) -> Self {
        Self { query: Box::new(query), id: Q::query_id() }
    }

    /// The SQL and the values, as PostgreSQL gets them.
    pub fn bound(&self) -> QueryResult<BoundStatement> {
        bound_as(&*self.query, self.id)
    }
}

impl QueryId for Erased<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
impl QueryFragment<Any> for Erased<'_> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        self.query.walk_ast(pass)
    }
}

/// A statement that writes, and the errors that clients get when it fails. It does not run before it is passed to a
/// [`WriteTx`].
#[must_use]
pub struct Statement<'q> {
    query: Erased<'q>,
    errors: Errors,
}

/// The errors that clients get when a statement fails, instead of the general ones.
#[derive(Default)]
pub(super) struct Errors {
    refers_to: Option<&'static str>,
    if_taken: Option<Error>,
    if_none: Option<Error>,
}

impl<'q> Statement<'q> {
    /// A statement without errors of its own: a failure becomes the general error for what the database reports.
    pub fn of(query: impl QueryFragment<Any> + QueryId + Send + 'q) -> Self {
        Self { query: Erased::new(query), errors: Errors::default() }
    }

    /// Fails with 422 for `column` if its foreign key refers to no row: see [`Constraint::refers_to`].
    pub fn refers_to(mut self, column: &'static str) -> Self {
        self.errors.refers_to = Some(column);
        self
    }

    /// Fails with 409 for `member` if its value must be unique and is taken.
    pub fn taken(self, member: &'static str) -> Self {
        self.if_taken(Error::Conflict(Detail::of(member, "is taken")))
    }

    /// Fails with this error if a value that must be unique is taken.
    pub fn if_taken(mut self, error: Error) -> Self {
        self.errors.if_taken = Some(error);
        self
    }

    /// Fails with this error if no row was changed.
    pub fn if_none(mut self, error: Error) -> Self {
        self.errors.if_none = Some(error);
        self
    }

    /// Runs the statement, or queues it where that saves a round trip. If a queued statement fails, the transaction ends
    /// with its error. A statement with `if_none` runs at once, because the next steps depend on the row that it finds.
    pub(super) async fn run(self, tx: &mut WriteTx) -> Result<()> {
        let Self { query, errors } = self;
        if errors.if_none.is_none() && tx.can_queue() {
            return Ok(tx.queue(query, errors).await?);
        }
        tx.note_change_of(&query)?;
        errors.of(query.execute(tx).await)
    }

    /// Runs or queues all statements, in their order. Returns the error of the first that fails. The error of a queued
    /// statement is reported at the end of the transaction instead. The statements after a failed one have no effect.
    pub(super) async fn run_all(statements: Vec<Self>, tx: &mut WriteTx) -> Result<()>
    where
        'q: 'static,
    {
        if tx.can_queue() {
            for statement in statements {
                statement.run(tx).await?;
            }
            return Ok(());
        }
        for Self { query, .. } in &statements {
            tx.note_change_of(query)?;
        }
        let (queries, errors): (Vec<_>, Vec<_>) = statements.into_iter().map(|it| (it.query, it.errors)).unzip();
        let results = tx.execute_all(queries).await?;
        results.into_iter().zip(errors).try_for_each(|(result, errors)| errors.of(result))
    }
}

impl Errors {
    pub(super) fn of(self, result: QueryResult<usize>) -> Result<()> {
        let Self { refers_to, if_taken, if_none } = self;
        match (result, if_taken, if_none) {
            (Ok(0), _, Some(error)) => Err(error),
            (Ok(_), ..) => Ok(()),
            (Err(Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _)), Some(error), _) => Err(error),
            (Err(error), ..) => match refers_to {
                Some(column) => Err(error).refers_to(column),
                None => Err(error.into()),
            },
        }
    }
}

/// Statements that make one change together. They run in this order.
#[must_use]
#[derive(Default)]
pub struct Statements<'q>(pub(super) Vec<Statement<'q>>);

impl<'q> Statements<'q> {
    /// Appends statements.
    pub fn and(mut self, more: impl IntoStatements<'q>) -> Self {
        self.0.extend(more.into_statements().0);
        self
    }
}

impl<'q> FromIterator<Statement<'q>> for Statements<'q> {
    fn from_iter<I: IntoIterator<Item = Statement<'q>>>(statements: I) -> Self {
        Self(statements.into_iter().collect())
    }
}

/// Anything that can make a change: a statement of diesel's, a [`Statement`] with its own errors, or several of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no statement that writes",
    note = "give an `insert_into`, `update` or `delete` of diesel's, a `Statement::of(…)`, or `Statements` of several"
)]
pub trait IntoStatements<'q> {
    /// The statements, in the order in which they are to run.
    fn into_statements(self) -> Statements<'q>;
}

impl<'q, Q: QueryFragment<Any> + QueryId + Send + 'q> IntoStatements<'q> for Q {
    fn into_statements(self) -> Statements<'q> {
        Statement::of(self).into_statements()
    }
}
impl<'q> IntoStatements<'q> for Statement<'q> {
    fn into_statements(self) -> Statements<'q> {
        Statements(vec![self])
    }
}
impl<'q> IntoStatements<'q> for Statements<'q> {
    fn into_statements(self) -> Statements<'q> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure, as each database words it.
    fn failed(kind: DatabaseErrorKind, message: &str) -> QueryResult<usize> {
        Err(Diesel::DatabaseError(kind, Box::new(message.to_owned())))
    }

    #[test]
    fn a_failure_means_what_the_statement_says_and_nothing_else() {
        let run = |result| {
            let (refers_to, if_taken, if_none) = (Some("assigned_to"), Some(Error::Forbidden), Some(Error::NotFound));
            Errors { refers_to, if_taken, if_none }.of(result)
        };
        assert!(matches!(run(Ok(1)), Ok(())));
        assert!(matches!(run(Ok(0)), Err(Error::NotFound)));
        assert!(matches!(run(failed(DatabaseErrorKind::UniqueViolation, "x")), Err(Error::Forbidden)));
        let dangling = failed(DatabaseErrorKind::ForeignKeyViolation, "FOREIGN KEY constraint failed");
        let Err(Error::Unprocessable(detail)) = run(dangling) else { panic!("not 422") };
        assert!(detail.0.contains_key("assigned_to"));
        let another = failed(DatabaseErrorKind::ForeignKeyViolation, "tasks_created_by_fkey");
        assert!(matches!(run(another), Err(Error::Internal(_))));
    }

    #[test]
    fn a_statement_that_says_nothing_leaves_failures_as_they_are() {
        let run = |result| Errors::default().of(result);
        assert!(matches!(run(Ok(0)), Ok(())));
        assert!(matches!(run(failed(DatabaseErrorKind::UniqueViolation, "x")), Err(Error::Conflict(_))));
        assert!(matches!(run(failed(DatabaseErrorKind::ForeignKeyViolation, "x")), Err(Error::Internal(_))));
    }
}
