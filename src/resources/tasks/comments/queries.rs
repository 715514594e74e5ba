//! Comments in the database. Each change locks the task first, so that changes to the comments of one task run one
//! after another, and no comment outlives its task.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::super::queries as task;
use super::mentions::usernames;
use super::types::{Comment, CommentFilter, CommentId, CommentInput, CommentSort, Stored};
use crate::api::list::{Batch, List, Page};
use crate::api::{Authorized, Locked};
use crate::base::error::{Error, Result};
use crate::db::deadline::InTime;
use crate::db::schema::{task_comment_mentions as mentions, task_comments as comments};
use crate::db::sql::for_update;
use crate::db::types::{Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, Statement, Statements, WriteTx, insert_many};
use crate::resources::tasks::TaskId;
use crate::resources::users;
use crate::{batch, paged};
use diesel::prelude::*;
use std::collections::HashMap;
use std::slice;

/// The greatest number of rows in one statement.
const MAX_ROWS: usize = 1000;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, task: TaskId, id: CommentId) -> _ {
    comments::table
        .filter(comments::tenant_id.eq(tenant))
        .filter(comments::task_id.eq(task))
        .filter(comments::id.eq(id))
}

fn of_task(tenant: TenantId, task: TaskId) -> comments::BoxedQuery<'static, Any> {
    comments::table.filter(comments::tenant_id.eq(tenant)).filter(comments::task_id.eq(task)).into_boxed()
}

pub async fn list(tx: &mut ReadTx, task: TaskId, list: &List<CommentFilter>) -> Result<Page<Comment>> {
    task::find(tx, task).await?;
    let tenant = tx.tenant();
    let (rows, total) = paged!(tx, list, of_task(tenant, task).filter(InTime), Stored::as_select(), (comments::id, CommentId), {
        CommentSort::CreatedAt => (comments::created_at, Instant),
    });
    Ok(list.page(with_mentions(tx, rows).await?, total))
}

/// The next comments that a person wrote or is mentioned in, in the order of their ids.
pub async fn about(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Comment>> {
    let tenant = tx.tenant();
    let naming = mentions::table.filter(mentions::tenant_id.eq(tenant)).filter(mentions::user_id.eq(user));
    let of_user = comments::author_id.eq(user).or(comments::id.eq_any(naming.select(mentions::comment_id)));
    let rows = comments::table.filter(comments::tenant_id.eq(tenant));
    let rows = batch!(rows, of_user, next, (comments::id, CommentId));
    let rows = rows.select(Stored::as_select()).load(tx).await?;
    with_mentions(tx, rows).await
}

async fn with_mentions(tx: &mut ReadTx, rows: Vec<Stored>) -> Result<Vec<Comment>> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let found = mentions::table.filter(mentions::tenant_id.eq(tx.tenant())).filter(mentions::comment_id.eq_any(ids));
    let mut found: Vec<(CommentId, UserId)> = found.select((mentions::comment_id, mentions::user_id)).load(tx).await?;
    found.sort_unstable_by_key(|(_, user)| user.0); // PostgreSQL is told not to sort for lists
    let mut mentioned: HashMap<_, Vec<_>> = HashMap::new();
    for (comment, user) in found {
        mentioned.entry(comment).or_default().push(user);
    }
    let whole = |stored: Stored| Comment { mentions: mentioned.remove(&stored.id).unwrap_or_default(), stored };
    Ok(rows.into_iter().map(whole).collect())
}

async fn whole(tx: &mut ReadTx, stored: Stored) -> Result<Comment> {
    with_mentions(tx, vec![stored]).await?.pop().ok_or(Error::NotFound)
}

pub async fn find(tx: &mut ReadTx, task: TaskId, id: CommentId) -> Result<Comment> {
    let stored = one(tx.tenant(), task, id).select(Stored::as_select()).first(tx).await?;
    whole(tx, stored).await
}

/// The comment, locked for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx, task: TaskId, id: CommentId) -> Result<Locked<Comment>> {
    task::lock(tx, task).await?;
    let stored = for_update(one(tx.tenant(), task, id).select(Stored::as_select()));
    let stored = stored.get_result(tx).await?;
    Ok(Locked::new(whole(tx, stored).await?))
}

pub async fn insert(tx: &mut WriteTx, task: TaskId, input: CommentInput) -> Result<Audited<Comment>> {
    task::lock(tx, task).await?;
    let mentions = users::named(tx, usernames(&input.body)).await?;
    let (id, author_id, now) = (tx.new_id(), tx.actor(), tx.now());
    let stored = Stored { id, task_id: task, author_id, input, version: 1, created_at: now, updated_at: now };
    let comment = Comment { stored, mentions };
    let rows = rows(tx.tenant(), slice::from_ref(&comment));
    Ok(tx.changed(Change::created(id, &comment), rows).await?.with(comment))
}

pub async fn update(tx: &mut WriteTx, before: Authorized<Comment>, input: CommentInput) -> Result<Audited<Comment>> {
    let mentions = users::named(tx, usernames(&input.body)).await?;
    let comment = before.changed(input, mentions, tx.now());
    let Stored { id, task_id, .. } = comment.stored;
    let change = (
        comments::body.eq(&comment.stored.input.body),
        comments::version.eq(comment.stored.version),
        comments::updated_at.eq(comment.stored.updated_at),
    );
    let tenant = tx.tenant();
    let new: Vec<_> = comment.mentions_beyond(&before).into_iter().map(|user| (id, user)).collect();
    let statements = Statements::default()
        .and(diesel::update(one(tenant, task_id, id)).set(change))
        .and(unmention(tenant, id, before.mentions_beyond(&comment)))
        .and(mention(tenant, &new));
    Ok(tx.changed(Change::updated(id, &*before, &comment), statements).await?.with(comment))
}

pub async fn delete(tx: &mut WriteTx, comment: Authorized<Comment>) -> Result<Audited<()>> {
    let Stored { id, task_id, .. } = comment.stored;
    let row = diesel::delete(one(tx.tenant(), task_id, id)); // its mentions are deleted with it
    tx.changed(Change::deleted(id, &*comment), row).await
}

/// Deletes the comments of a task that is being deleted, and returns how many there were, for the task's audit row.
pub async fn delete_of(tx: &mut WriteTx, task: TaskId) -> Result<usize> {
    let rows = comments::table.filter(comments::tenant_id.eq(tx.tenant())).filter(comments::task_id.eq(task));
    Ok(tx.execute_unaudited("the task's row tells how many there were", diesel::delete(rows)).await?)
}

/// Inserts many new comments.
pub async fn store(tx: &mut WriteTx, new: &[Comment]) -> Result<()> {
    let rows = rows(tx.tenant(), new);
    tx.changed_in_bulk::<CommentId>(rows).await
}

/// The rows of new comments, and of their mentions of users.
fn rows(tenant: TenantId, new: &[Comment]) -> Statements<'static> {
    let row = |comment: &Comment| (comments::tenant_id.eq(tenant), comment.stored.clone());
    let some = new.chunks(MAX_ROWS);
    let rows: Statements = some.map(|some| insert_many(comments::table, some.iter().map(row))).collect();
    let named = new.iter().flat_map(|comment| comment.mentions.iter().map(|user| (comment.stored.id, *user)));
    rows.and(mention(tenant, &named.collect::<Vec<_>>()))
}

fn mention(tenant: TenantId, named: &[(CommentId, UserId)]) -> Statements<'static> {
    let row = |(comment, user): &(CommentId, UserId)| {
        (mentions::tenant_id.eq(tenant), mentions::comment_id.eq(*comment), mentions::user_id.eq(*user))
    };
    named.chunks(MAX_ROWS).map(|some| insert_many(mentions::table, some.iter().map(row))).collect()
}

fn unmention(tenant: TenantId, comment: CommentId, users: Vec<UserId>) -> Statement<'static> {
    let rows = mentions::table.filter(mentions::tenant_id.eq(tenant)).filter(mentions::comment_id.eq(comment));
    Statement::of(diesel::delete(rows.filter(mentions::user_id.eq_any(users))))
}
