//! A statement deadline for SQLite, which has no setting for one. Diesel gives no access to the hooks of SQLite that
//! could end a statement. Statements that may read many rows therefore call a function of this module for each row,
//! which fails after the deadline. This function is `in_time()` in the condition, or `lower()`, in which a search
//! spends its time.
use super::any::Any;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::{Output, ToSql};
use diesel::sql_types::{Bool, Text};
use diesel::sqlite::Sqlite;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The error message of a SQLite statement that was too slow.
pub const TOO_LATE: &str = "the statement's deadline is over";

/// The time by which a connection's statements must end. Clones share the same deadline.
#[derive(Debug, Clone)]
pub struct Deadline(Arc<AtomicU64>);

/// Microseconds since the first call in this process. The deadline is checked for every row, and an atomic integer is
/// the cheapest to read.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Default for Deadline {
    /// No deadline.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Deadline {
    /// Sets the deadline to this time from now.
    pub fn set(&self, left: Duration) {
        let left = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        self.0.store(now().saturating_add(left), Ordering::Relaxed);
    }

    /// Wraps a value that a SQL function returns. After the deadline, the function fails instead.
    pub fn check<T>(&self, value: T) -> Checked<T> {
        Checked((now() < self.0.load(Ordering::Relaxed)).then_some(value))
    }
}

/// Ends the running SQLite statement when the future that waits for it is dropped. In this case diesel-async waits for
/// the statement and blocks the thread meanwhile. The guard therefore sets the deadline to now before the future is
/// dropped.
pub struct StopGuard(Option<Deadline>);

/// Work and its guard. The guard is the first field, so that it is dropped first.
pub struct Guarded<F> {
    guard: StopGuard,
    work: Pin<Box<F>>,
}

impl StopGuard {
    /// `None` for databases whose statements are stopped in another way.
    pub fn new(deadline: Option<Deadline>) -> Self {
        Self(deadline)
    }

    pub fn around<F: Future>(self, work: F) -> Guarded<F> {
        Guarded { guard: self, work: Box::pin(work) }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let done = self.work.as_mut().poll(context);
        if done.is_ready() {
            self.guard.0 = None;
        }
        done
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        if let Some(deadline) = &self.0 {
            deadline.set(Duration::ZERO);
        }
    }
}

/// The return value of a SQL function: a value, or an error that ends the statement.
#[derive(Debug)]
pub struct Checked<T>(Option<T>);

macro_rules! checked {
    ($rust:ty as $sql:ty) => {
        impl ToSql<$sql, Sqlite> for Checked<$rust> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> diesel::serialize::Result {
                match &self.0 {
                    Some(value) => ToSql::<$sql, Sqlite>::to_sql(value, out),
                    None => Err(TOO_LATE.into()),
                }
            }
        }
    };
}
checked!(bool as Bool);
checked!(String as Text);

diesel::define_sql_function! {
    /// True until the deadline of the connection. Fails afterwards.
    fn in_time() -> Bool;
}

/// The condition that ends a slow statement on SQLite. It is `TRUE` on the other databases, which have a setting for
/// the deadline.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct InTime;

impl Expression for InTime {
    type SqlType = Bool;
}
impl<QS> AppearsOnTable<QS> for InTime {}
impl<QS> SelectableExpression<QS> for InTime {}
impl<G> ValidGrouping<G> for InTime {
    type IsAggregate = is_aggregate::Never;
}

impl QueryFragment<Any> for InTime {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        match out.backend() {
            Any::Sqlite(_) => out.push_sql("in_time()"),
            _ => out.push_sql("TRUE"),
        }
        Ok(())
    }
}
