//! Tasks in the database. Every query filters by the tenant of the transaction. Every change writes an audit row.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{Task, TaskFilter, TaskId, TaskInput, TaskPriority, TaskSort, TaskStatus};
use crate::api::list::{Batch, List, Page};
use crate::api::{Authorized, Locked};
use crate::base::error::Result;
use crate::db::schema::tasks;
use crate::db::search::like;
use crate::db::sql::{JsonListMethods, day_or_last, for_update, text_or};
use crate::db::types::{Day, Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, Statement, WriteTx, insert_many};
use crate::resources::users;
use crate::{batch, narrowed, paged};
use diesel::prelude::*;
use std::slice;

#[diesel::dsl::auto_type(no_type_alias)]
fn all(tenant: TenantId) -> _ {
    tasks::table.filter(tasks::tenant_id.eq(tenant))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: TaskId) -> _ {
    tasks::table.filter(tasks::tenant_id.eq(tenant)).filter(tasks::id.eq(id))
}

/// The tasks that match the filters and the search of a list, not yet sorted.
fn matching(tx: &ReadTx, list: &List<TaskFilter>) -> tasks::BoxedQuery<'static, Any> {
    let TaskFilter { week, year, status, priority, assigned_to, tag, due_before, due_after } = list.filter.clone();
    let search = list.q.as_deref().map(|text| tx.pattern(text));
    narrowed!(
        all(tx.tenant()).into_boxed(),
        week => tasks::week_number.eq(week),
        year => tasks::year.eq(year),
        status => tasks::status.eq(status),
        priority => tasks::priority.eq(priority),
        assigned_to => tasks::assigned_to.eq(assigned_to),
        tag => tasks::tags.has(tag),
        due_before => tasks::due_date.lt(due_before),
        due_after => tasks::due_date.gt(due_after),
        search => like(tasks::title, search.clone()).or(like(text_or(tasks::description, ""), search)),
    )
}

pub async fn list(tx: &mut ReadTx, list: &List<TaskFilter>) -> Result<Page<Task>> {
    let (rows, total) = paged!(tx, list, matching(tx, list), Task::as_select(), (tasks::id, TaskId), {
        TaskSort::Title => (tasks::title, String),
        TaskSort::Status => (tasks::status, TaskStatus),
        TaskSort::Priority => (tasks::priority, TaskPriority),
        TaskSort::DueDate => (day_or_last(tasks::due_date), Day),
        TaskSort::CreatedAt => (tasks::created_at, Instant),
        TaskSort::UpdatedAt => (tasks::updated_at, Instant),
    });
    Ok(list.page(rows, total))
}

/// The next tasks that a person created or is assigned to, in the order of their ids.
pub async fn about(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Task>> {
    let of_user = tasks::created_by.eq(user).or(tasks::assigned_to.eq(user));
    let rows = batch!(all(tx.tenant()), of_user, next, (tasks::id, TaskId));
    Ok(rows.select(Task::as_select()).load(tx).await?)
}

pub async fn find(tx: &mut ReadTx, id: TaskId) -> Result<Task> {
    Ok(one(tx.tenant(), id).select(Task::as_select()).first(tx).await?)
}

/// The task, locked for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx, id: TaskId) -> Result<Locked<Task>> {
    let task = one(tx.tenant(), id).select(Task::as_select());
    Ok(Locked::new(for_update(task).get_result(tx).await?))
}

/// Locks a task until this transaction ends, so that it isn't deleted meanwhile.
pub async fn lock(tx: &mut WriteTx, id: TaskId) -> Result<()> {
    let _: TaskId = for_update(one(tx.tenant(), id).select(tasks::id)).get_result(tx).await?;
    Ok(())
}

pub async fn insert(tx: &mut WriteTx, input: TaskInput) -> Result<Audited<Task>> {
    users::must_exist(tx, "assigned_to", input.assigned_to).await?;
    let task = Task::new(tx.new_id(), input, tx.actor(), tx.now());
    let rows = rows(tx.tenant(), slice::from_ref(&task)).refers_to("assigned_to");
    Ok(tx.changed(Change::created(task.id, &task), rows).await?.with(task))
}

/// Inserts many new tasks. `new` must not be empty.
pub async fn store(tx: &mut WriteTx, new: &[Task]) -> Result<()> {
    let rows = rows(tx.tenant(), new);
    tx.changed_in_bulk::<TaskId>(rows).await
}

/// The rows of new tasks.
fn rows(tenant: TenantId, new: &[Task]) -> Statement<'static> {
    let row = |task: &'_ Task| {
        (
            tasks::tenant_id.eq(tenant),
            tasks::id.eq(task.id),
            task.input.clone(),
            tasks::created_by.eq(task.created_by),
            tasks::completed_at.eq(task.completed_at),
            tasks::version.eq(task.version),
            tasks::created_at.eq(task.created_at),
            tasks::updated_at.eq(task.updated_at),
        )
    };
    insert_many(tasks::table, new.iter().map(row))
}

pub async fn update(tx: &mut WriteTx, before: Authorized<Task>, input: TaskInput) -> Result<Audited<Task>> {
    if input.assigned_to != before.input.assigned_to {
        users::must_exist(tx, "assigned_to", input.assigned_to).await?;
    }
    let task = before.changed(input, tx.now());
    let row = diesel::update(one(tx.tenant(), task.id)).set((
        &task.input,
        tasks::completed_at.eq(task.completed_at),
        tasks::version.eq(task.version),
        tasks::updated_at.eq(task.updated_at),
    ));
    let row = Statement::of(row).refers_to("assigned_to");
    Ok(tx.changed(Change::updated(task.id, &*before, &task), row).await?.with(task))
}

pub async fn delete(tx: &mut WriteTx, task: Authorized<Task>) -> Result<Audited<()>> {
    let row = diesel::delete(one(tx.tenant(), task.id));
    tx.changed(Change::deleted(task.id, &*task), row).await
}
