//! Items in the database. Every query filters by the tenant of the transaction. Every change passes the change feed.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{Item, ItemFilter, ItemId, ItemInput, ItemSort};
use crate::api::list::{Batch, List, Page};
use crate::api::{Authorized, Locked, NextOwner};
use crate::base::error::Result;
use crate::db::schema::items;
use crate::db::search::like;
use crate::db::sql::{for_update, text_or};
use crate::db::types::{Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, Statement, WriteTx, insert_many};
use crate::resources::{tenant, users};
use crate::{batch, narrowed, paged};
use diesel::prelude::*;
use std::slice;

#[diesel::dsl::auto_type(no_type_alias)]
fn all(tenant: TenantId) -> _ {
    items::table.filter(items::tenant_id.eq(tenant))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: ItemId) -> _ {
    items::table.filter(items::tenant_id.eq(tenant)).filter(items::id.eq(id))
}

/// The items that match the filters and the search of a list, not yet sorted.
fn matching(tx: &ReadTx, list: &List<ItemFilter>) -> items::BoxedQuery<'static, Any> {
    let ItemFilter { owner_id, currency, min_price, max_price } = list.filter.clone();
    let search = list.q.as_deref().map(|text| tx.pattern(text));
    narrowed!(
        all(tx.tenant()).into_boxed(),
        owner_id => items::owner_id.eq(owner_id),
        currency => items::currency.eq(currency),
        min_price => items::price.ge(min_price),
        max_price => items::price.le(max_price),
        search => like(items::title, search.clone()).or(like(text_or(items::description, ""), search)),
    )
}

pub async fn list(tx: &mut ReadTx, list: &List<ItemFilter>) -> Result<Page<Item>> {
    let (rows, total) = paged!(tx, list, matching(tx, list), Item::as_select(), (items::id, ItemId), {
        ItemSort::Title => (items::title, String),
        ItemSort::Price => (items::price, i64),
        ItemSort::CreatedAt => (items::created_at, Instant),
        ItemSort::UpdatedAt => (items::updated_at, Instant),
    });
    Ok(list.page(rows, total))
}

/// The next items that a person owns, in the order of their ids.
pub async fn of_owner(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Item>> {
    let rows = batch!(all(tx.tenant()), items::owner_id.eq(user), next, (items::id, ItemId));
    Ok(rows.select(Item::as_select()).load(tx).await?)
}

pub async fn find(tx: &mut ReadTx, id: ItemId) -> Result<Item> {
    Ok(one(tx.tenant(), id).select(Item::as_select()).first(tx).await?)
}

/// The item, locked for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx, id: ItemId) -> Result<Locked<Item>> {
    let item = one(tx.tenant(), id).select(Item::as_select());
    Ok(Locked::new(for_update(item).get_result(tx).await?))
}

pub async fn insert(tx: &mut WriteTx, input: ItemInput, owner: NextOwner) -> Result<Audited<Item>> {
    let ItemInput { content, currency, owner_id: _ } = input;
    users::must_be_active(tx, "owner_id", owner.if_new()).await?;
    let currency = tenant::currency_or_own(tx, currency).await?;
    let (id, owner_id, now) = (tx.new_id(), owner.id(), tx.now());
    let item = Item { id, content, currency, owner_id, version: 1, created_at: now, updated_at: now };
    let rows = rows(tx.tenant(), slice::from_ref(&item)).refers_to("owner_id");
    Ok(tx.changed(Change::created(item.id, &item), rows).await?.with(item))
}

/// Inserts many new items. `new` must not be empty.
pub async fn store(tx: &mut WriteTx, new: &[Item]) -> Result<()> {
    let rows = rows(tx.tenant(), new);
    tx.changed_in_bulk::<ItemId>(rows).await
}

/// The rows of new items.
fn rows(tenant: TenantId, new: &[Item]) -> Statement<'static> {
    let row = |item: &'_ Item| {
        (
            items::tenant_id.eq(tenant),
            items::id.eq(item.id),
            item.content.clone(),
            items::currency.eq(item.currency.clone()),
            items::owner_id.eq(item.owner_id),
            items::version.eq(item.version),
            items::created_at.eq(item.created_at),
            items::updated_at.eq(item.updated_at),
        )
    };
    insert_many(items::table, new.iter().map(row))
}

pub async fn update(
    tx: &mut WriteTx,
    before: Authorized<Item>,
    input: ItemInput,
    owner: NextOwner,
) -> Result<Audited<Item>> {
    let ItemInput { content, currency, owner_id: _ } = input;
    users::must_be_active(tx, "owner_id", owner.if_new()).await?;
    let currency = tenant::currency_or_own(tx, currency).await?;
    let (owner_id, version, updated_at) = (owner.id(), before.version + 1, tx.now());
    let item = Item { content, currency, owner_id, version, updated_at, ..before.clone() };
    let row = diesel::update(one(tx.tenant(), item.id)).set((
        &item.content,
        items::currency.eq(&item.currency),
        items::owner_id.eq(item.owner_id),
        items::version.eq(item.version),
        items::updated_at.eq(item.updated_at),
    ));
    let row = Statement::of(row).refers_to("owner_id");
    Ok(tx.changed(Change::updated(item.id, &*before, &item), row).await?.with(item))
}

pub async fn delete(tx: &mut WriteTx, item: Authorized<Item>) -> Result<Audited<()>> {
    let row = diesel::delete(one(tx.tenant(), item.id));
    tx.changed(Change::deleted(item.id, &*item), row).await
}
