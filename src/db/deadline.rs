//! SQLite's missing statement deadline. It has no setting for one, and diesel offers none of its hooks that could end a
//! statement; so statements that may look at many rows call a function of ours for each row, which fails when it is too
//! late: `in_time()` in their condition, and `lower()`, where a search spends its time.
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

/// What SQLite says of a statement that was too slow.
pub const TOO_LATE: &str = "the statement's deadline is over";

/// When a connection's statements have to be through. A clone is the same deadline.
#[derive(Debug, Clone)]
pub struct Deadline(Arc<AtomicU64>);

/// Microseconds of this process: the deadline is looked at once a row, and an atomic number costs least.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Default for Deadline {
    /// Never.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Deadline {
    /// Statements have so long from now.
    pub fn set(&self, left: Duration) {
        let left = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        self.0.store(now().saturating_add(left), Ordering::Relaxed);
    }

    /// The value, if it is not too late.
    pub fn check<T>(&self, value: T) -> Checked<T> {
        Checked((now() < self.0.load(Ordering::Relaxed)).then_some(value))
    }
}

/// Ends the running statement when the work that waits for it is given up. diesel-async waits for a running statement of
/// SQLite where its future is dropped, and blocks the thread meanwhile: the deadline has to be over before that.
pub struct StopGuard(Option<Deadline>);

/// Work with its guard, which is dropped before it.
pub struct Guarded<F> {
    guard: StopGuard,
    work: Pin<Box<F>>,
}

impl StopGuard {
    /// `None` where statements are stopped otherwise.
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

/// What a function answers: a value, or that the statement is to end.
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
    /// True, until the deadline of the connection is over.
    fn in_time() -> Bool;
}

/// The condition that ends a slow statement on SQLite; the other databases have a setting for it.
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
