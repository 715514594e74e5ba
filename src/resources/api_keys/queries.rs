//! API keys in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{ApiKey, ApiKeyFilter, ApiKeyInput, ApiKeySort, NewApiKey, Stored};
use crate::auth::Role;
use crate::auth::opaque::{OpaqueToken, TokenKind};
use crate::db::types::{ApiKeyId, Instant, TenantId, UserId};
use crate::db::{Action, Any, Audited, Changes, ReadTx, WriteTx};
use crate::error::{Error, Result};
use crate::list::{List, Page};
use crate::paged;
use crate::resources::users;
use crate::schema::{api_keys, users as makers};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: ApiKeyId) -> _ {
    api_keys::table.filter(api_keys::tenant_id.eq(tenant)).filter(api_keys::id.eq(id))
}

/// A tenant's keys, in no order yet.
fn all(tenant: TenantId) -> api_keys::BoxedQuery<'static, Any> {
    api_keys::table.filter(api_keys::tenant_id.eq(tenant)).into_boxed()
}

/// With what their makers may do now.
async fn answered(tx: &mut ReadTx, rows: Vec<Stored>) -> Result<Vec<ApiKey>> {
    let mut roles = HashMap::new();
    for row in &rows {
        for user in [row.created_by, row.user_id] {
            if let Entry::Vacant(role) = roles.entry(user.0) {
                role.insert(role_of(tx, user).await?);
            }
        }
    }
    let now = tx.now();
    let answer = |row: Stored| {
        let role = |user: UserId| roles.get(&user.0).copied().flatten();
        let makers_role = role(row.created_by).filter(|_| role(row.user_id).is_some());
        ApiKey::of(row, makers_role, now)
    };
    Ok(rows.into_iter().map(answer).collect())
}

/// The role of a user who is to be served.
async fn role_of(tx: &mut ReadTx, user: UserId) -> Result<Option<Role>> {
    let user = makers::table
        .filter(makers::tenant_id.eq(tx.tenant()).and(makers::id.eq(user)))
        .filter(makers::is_active.eq(true).and(makers::deleted_at.is_null()));
    Ok(user.select(makers::role).first(tx.conn()).await.optional()?)
}

pub async fn list(tx: &mut ReadTx, list: &List<ApiKeyFilter>) -> Result<Page<ApiKey>> {
    let tenant = tx.tenant();
    let columns = Stored::as_select();
    let (rows, total): (Vec<Stored>, _) = paged!(tx, list, all(tenant), columns, (api_keys::id, ApiKeyId), {
        ApiKeySort::CreatedAt => (api_keys::created_at, Instant),
    });
    Ok(list.page(answered(tx, rows).await?, total))
}

/// The latest five hundred of a person.
pub async fn made_by(tx: &mut ReadTx, user: UserId) -> Result<Vec<ApiKey>> {
    let rows = all(tx.tenant()).filter(api_keys::created_by.eq(user)).order(api_keys::id.desc());
    let rows = rows.limit(500).select(Stored::as_select()).load(tx.conn()).await?;
    answered(tx, rows).await
}

pub async fn find(tx: &mut ReadTx, id: ApiKeyId) -> Result<ApiKey> {
    let row = one(tx.tenant(), id).select(Stored::as_select()).first(tx.conn()).await?;
    answered(tx, vec![row]).await?.pop().ok_or(Error::NotFound)
}

pub async fn insert(tx: &mut WriteTx, input: ApiKeyInput) -> Result<Audited<NewApiKey>> {
    let ApiKeyInput { name, role, expires_at } = input;
    let now = tx.now();
    if expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(Error::unprocessable("expires_at", "is over already"));
    }
    let token = OpaqueToken::new(TokenKind::ApiKey, tx.tenant(), tx.world().uuid(), tx.world());
    let user_id: UserId = tx.new_id();
    let _ = users::insert_service(tx, user_id, name.clone(), role).await?; // the key's own row is audited last
    let (id, created_by) = (ApiKeyId::from(token.id), tx.actor());
    let stored = Stored { id, name, role, user_id, created_by, created_at: now, expires_at, last_used_at: None };
    let row = (
        api_keys::tenant_id.eq(tx.tenant()),
        api_keys::id.eq(id),
        api_keys::name.eq(&stored.name),
        api_keys::role.eq(role),
        api_keys::key_hash.eq(token.hash()),
        api_keys::user_id.eq(user_id),
        api_keys::created_by.eq(created_by),
        api_keys::created_at.eq(now),
        api_keys::expires_at.eq(expires_at),
    );
    diesel::insert_into(api_keys::table).values(row).execute(tx.conn()).await?;
    let api_key = ApiKey::of(stored, Some(role), now);
    let audited = tx.audit(Action::Create, id, Changes::created(&api_key)).await?;
    Ok(audited.with(NewApiKey { api_key, key: token.print() }))
}

/// The key is gone, and its service account can do nothing more; what it made stays.
pub async fn delete(tx: &mut WriteTx, id: ApiKeyId) -> Result<Audited<()>> {
    let key = find(tx, id).await?;
    diesel::delete(one(tx.tenant(), id)).execute(tx.conn()).await?;
    users::retire(tx, key.user_id).await?;
    tx.audit(Action::Delete, id, Changes::deleted(&key)).await
}
