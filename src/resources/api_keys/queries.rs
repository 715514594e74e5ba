//! API keys in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{ApiKey, ApiKeyFilter, ApiKeyInput, NewApiKey, Stored};
use crate::api::VerifiedCaller;
use crate::api::list::{Batch, List, Page, PlainSort};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::base::opaque::{OpaqueToken, TokenKind};
use crate::db::deadline::InTime;
use crate::db::principals::is_good_key;
use crate::db::schema::api_keys;
use crate::db::sql::for_update;
use crate::db::types::{ApiKeyId, Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, ReadTx, RunQueryDsl, WriteTx};
use crate::resources::users;
use crate::{batch, paged};
use diesel::prelude::*;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: ApiKeyId) -> _ {
    api_keys::table.filter(api_keys::tenant_id.eq(tenant)).filter(api_keys::id.eq(id))
}

/// A tenant's keys, not yet sorted.
fn all(tenant: TenantId) -> api_keys::BoxedQuery<'static, Any> {
    api_keys::table.filter(api_keys::tenant_id.eq(tenant)).into_boxed()
}

pub async fn list(tx: &mut ReadTx, list: &List<ApiKeyFilter>) -> Result<Page<ApiKey>> {
    let (tenant, columns) = (tx.tenant(), (Stored::as_select(), is_good_key(tx.now())));
    let (rows, total): (Vec<(Stored, bool)>, _) = paged!(tx, list, all(tenant).filter(InTime), columns, (api_keys::id, ApiKeyId), {
        PlainSort::CreatedAt => (api_keys::created_at, Instant),
    });
    Ok(list.page(rows.into_iter().map(ApiKey::from).collect(), total))
}

/// The next keys that a person made, in the order of their ids.
pub async fn made_by(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<ApiKey>> {
    let rows = batch!(all(tx.tenant()), api_keys::created_by.eq(user), next, (api_keys::id, ApiKeyId));
    let rows = rows.select((Stored::as_select(), is_good_key(tx.now())));
    let rows: Vec<(Stored, bool)> = rows.load(tx).await?;
    Ok(rows.into_iter().map(ApiKey::from).collect())
}

pub async fn find(tx: &mut ReadTx, id: ApiKeyId) -> Result<ApiKey> {
    let row = one(tx.tenant(), id).select((Stored::as_select(), is_good_key(tx.now())));
    let row: (Stored, bool) = row.first(tx).await?;
    Ok(row.into())
}

/// Creates an API key of the actor.
pub async fn insert(tx: &mut WriteTx, input: ApiKeyInput, _maker: VerifiedCaller) -> Result<Audited<NewApiKey>> {
    let ApiKeyInput { name, role, expires_at } = input;
    let now = tx.now();
    if expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(Error::unprocessable("expires_at", "is in the past"));
    }
    let token = OpaqueToken::new(TokenKind::ApiKey, tx.tenant().0, tx.env().uuid(), tx.env());
    let user_id: UserId = tx.new_id();
    let _ = users::insert_service(tx, user_id, name.clone(), role).await?; // the audit row of the key comes last
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
    let row = diesel::insert_into(api_keys::table).values(row);
    let api_key = ApiKey::from((stored.clone(), true));
    let audited = tx.changed(Change::created(id, &api_key), row).await?;
    Ok(audited.with(NewApiKey { api_key, key: token.print() }))
}

/// Deletes a key and retires its service account. Records that the account made stay.
pub async fn delete(tx: &mut WriteTx, id: ApiKeyId, by: Role) -> Result<Audited<()>> {
    // The second of two parallel requests waits here, and then finds nothing.
    let _: ApiKeyId = for_update(one(tx.tenant(), id).select(api_keys::id)).get_result(tx).await?;
    let key = find(tx, id).await?;
    if by < key.role {
        return Err(Error::Forbidden);
    }
    let row = diesel::delete(one(tx.tenant(), id));
    let audited = tx.changed(Change::deleted(id, &key), row).await?;
    users::retire(tx, key.user_id).await?;
    Ok(audited)
}

/// Deletes all keys that a user made, and returns the service accounts of the keys.
pub async fn delete_all(tx: &mut WriteTx, maker: UserId) -> Result<Vec<UserId>> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let theirs = api_keys::tenant_id.eq(tenant).and(api_keys::created_by.eq(maker));
    let locked = for_update(api_keys::table.filter(theirs).order(api_keys::id).select(api_keys::id));
    let _: Vec<ApiKeyId> = locked.get_results(tx).await?;
    let keys = api_keys::table.filter(theirs).select((Stored::as_select(), is_good_key(now)));
    let keys: Vec<(Stored, bool)> = keys.load(tx).await?;
    let mut accounts = vec![];
    for key in keys.into_iter().map(ApiKey::from) {
        let row = diesel::delete(one(tenant, key.id));
        let _ = tx.changed(Change::deleted(key.id, &key), row).await?; // the audit row of the cause comes last
        users::retire(tx, key.user_id).await?;
        accounts.push(key.user_id);
    }
    Ok(accounts)
}
