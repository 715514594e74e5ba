//! Action items in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{ActionItem, ActionItemFilter, ActionItemId, ActionItemInput, ActionItemSort};
use crate::api::list::{Batch, List, Page};
use crate::api::{Authorized, Locked};
use crate::base::error::{Detail, Error, Result};
use crate::db::deadline::InTime;
use crate::db::schema::meeting_action_items as items;
use crate::db::sql::for_update;
use crate::db::types::{Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, Statement, WriteTx, insert_many};
use crate::resources::meetings::MeetingId;
use crate::resources::meetings::queries as meetings;
use crate::resources::tasks::{Task, TaskId};
use crate::resources::{tasks, users};
use crate::{batch, paged};
use diesel::prelude::*;
use std::slice;

#[diesel::dsl::auto_type(no_type_alias)]
fn all(tenant: TenantId, meeting: MeetingId) -> _ {
    items::table.filter(items::tenant_id.eq(tenant)).filter(items::meeting_id.eq(meeting))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, meeting: MeetingId, id: ActionItemId) -> _ {
    let of_meeting = items::meeting_id.eq(meeting).and(items::id.eq(id));
    items::table.filter(items::tenant_id.eq(tenant)).filter(of_meeting)
}

fn listed(tenant: TenantId, meeting: MeetingId) -> items::BoxedQuery<'static, Any> {
    all(tenant, meeting).into_boxed()
}

pub async fn list(tx: &mut ReadTx, meeting: MeetingId, list: &List<ActionItemFilter>) -> Result<Page<ActionItem>> {
    meetings::must_exist(tx, meeting).await?;
    let (tenant, columns) = (tx.tenant(), ActionItem::as_select());
    let (rows, total) = paged!(tx, list, listed(tenant, meeting).filter(InTime), columns, (items::id, ActionItemId), {
        ActionItemSort::CreatedAt => (items::created_at, Instant),
    });
    Ok(list.page(rows, total))
}

/// The next action items that a person created or is assigned to, in the order of their ids.
pub async fn about(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<ActionItem>> {
    let of_user = items::created_by.eq(user).or(items::assignee_id.eq(user));
    let rows = batch!(items::table.filter(items::tenant_id.eq(tx.tenant())), of_user, next, (items::id, ActionItemId));
    Ok(rows.select(ActionItem::as_select()).load(tx).await?)
}

pub async fn find(tx: &mut ReadTx, meeting: MeetingId, id: ActionItemId) -> Result<ActionItem> {
    Ok(one(tx.tenant(), meeting, id).select(ActionItem::as_select()).first(tx).await?)
}

async fn locked(tx: &mut WriteTx, meeting: MeetingId, id: ActionItemId) -> Result<ActionItem> {
    let item = one(tx.tenant(), meeting, id).select(ActionItem::as_select());
    Ok(for_update(item).get_result(tx).await?)
}

pub async fn find_to_change(tx: &mut WriteTx, meeting: MeetingId, id: ActionItemId) -> Result<Locked<ActionItem>> {
    Ok(Locked::new(locked(tx, meeting, id).await?))
}

pub async fn insert(tx: &mut WriteTx, meeting: MeetingId, input: ActionItemInput) -> Result<Audited<ActionItem>> {
    meetings::lock(tx, meeting).await?;
    users::must_exist(tx, "assignee_id", input.assignee_id).await?;
    let (id, now) = (tx.new_id(), tx.now());
    let item = ActionItem {
        id,
        meeting_id: meeting,
        input,
        task_id: None,
        created_by: tx.actor(),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let rows = rows(tx.tenant(), slice::from_ref(&item)).refers_to("assignee_id");
    Ok(tx.changed(Change::created(item.id, &item), rows).await?.with(item))
}

/// Inserts many new action items. `new` must not be empty.
pub async fn store(tx: &mut WriteTx, new: &[ActionItem]) -> Result<()> {
    let rows = rows(tx.tenant(), new);
    tx.changed_in_bulk::<ActionItemId>(rows).await
}

/// The rows of new action items.
fn rows(tenant: TenantId, new: &[ActionItem]) -> Statement<'static> {
    let row = |item: &'_ ActionItem| {
        (
            items::tenant_id.eq(tenant),
            items::id.eq(item.id),
            items::meeting_id.eq(item.meeting_id),
            item.input.clone(),
            items::created_by.eq(item.created_by),
            items::version.eq(item.version),
            items::created_at.eq(item.created_at),
            items::updated_at.eq(item.updated_at),
        )
    };
    insert_many(items::table, new.iter().map(row))
}

pub async fn update(
    tx: &mut WriteTx,
    before: Authorized<ActionItem>,
    input: ActionItemInput,
) -> Result<Audited<ActionItem>> {
    if input.assignee_id != before.input.assignee_id {
        users::must_exist(tx, "assignee_id", input.assignee_id).await?;
    }
    save(tx, &before, ActionItem { input, ..before.clone() }).await
}

/// Creates a task from an action item and returns the task. Fails with 409 if a task was created from the action item
/// before.
pub async fn make_task(tx: &mut WriteTx, meeting: MeetingId, id: ActionItemId) -> Result<Audited<Task>> {
    let item = locked(tx, meeting, id).await?; // the second of two requests waits here
    if let Some(task) = item.task_id {
        return Err(Error::Conflict(Detail::of("task_id", task.to_string())));
    }
    users::must_exist(tx, "assignee_id", item.input.assignee_id).await?; // the assignee may have been removed
    let task = tasks::insert(tx, item.input.as_task()).await?;
    let task_id = Some(task.get().id);
    let _ = save(tx, &item, ActionItem { task_id, ..item.clone() }).await?; // the task has its own audit row
    Ok(task)
}

/// Unlinks a task that is about to be deleted from its action item, so that another task can be created from the action
/// item.
pub async fn unlink_task(tx: &mut WriteTx, task: TaskId) -> Result<()> {
    let made = items::table.filter(items::tenant_id.eq(tx.tenant())).filter(items::task_id.eq(task));
    let made: Option<ActionItem> = for_update(made.select(ActionItem::as_select())).get_result(tx).await.optional()?;
    if let Some(item) = made {
        // The audit row of the task comes last.
        let _ = save(tx, &item, ActionItem { task_id: None, ..item.clone() }).await?;
    }
    Ok(())
}

/// Stores the next version of an action item.
async fn save(tx: &mut WriteTx, before: &ActionItem, after: ActionItem) -> Result<Audited<ActionItem>> {
    let item = ActionItem { version: before.version + 1, updated_at: tx.now(), ..after };
    let row = diesel::update(one(tx.tenant(), item.meeting_id, item.id)).set((
        &item.input,
        items::task_id.eq(item.task_id),
        items::version.eq(item.version),
        items::updated_at.eq(item.updated_at),
    ));
    let row = Statement::of(row).refers_to("assignee_id");
    Ok(tx.changed(Change::updated(item.id, before, &item), row).await?.with(item))
}

pub async fn delete(tx: &mut WriteTx, item: Authorized<ActionItem>) -> Result<Audited<()>> {
    let row = diesel::delete(one(tx.tenant(), item.meeting_id, item.id));
    tx.changed(Change::deleted(item.id, &*item), row).await
}

/// Deletes the action items of a meeting that is about to be deleted.
pub async fn delete_all(tx: &mut WriteTx, meeting: MeetingId) -> Result<()> {
    let rows = diesel::delete(all(tx.tenant(), meeting));
    tx.execute_unaudited("the meeting's row tells of it", rows).await?;
    Ok(())
}
