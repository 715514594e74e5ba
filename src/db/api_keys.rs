//! API keys as a request needs them: whose they are, and whether they still are good.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::roles::Role;
use super::standing::{Row, Standing, columns, serveable};
use super::types::{ApiKeyId, Instant, UserId};
use super::{Audited, Db, ReadTx, Scope, WriteScope, WriteTx};
use crate::error::Result;
use crate::schema::api_keys;
use chrono::Duration;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// How exactly the last use of a key is known; every request would be a write otherwise.
const LAST_USED_STEP: Duration = Duration::minutes(1);

/// A key that is good, if its secret is.
pub struct StoredKey {
    pub hash: Vec<u8>,
    /// The service account.
    pub user: UserId,
    pub standing: Standing,
    last_used_at: Option<Instant>,
}

impl StoredKey {
    /// Whether its last use was so long ago that this one is worth writing down.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.last_used_at.is_none_or(|last| now.0 - last.0 >= LAST_USED_STEP)
    }
}

impl Db {
    /// None where there is no such key, it has expired, or its service account or maker is not to be served any more, or
    /// its maker has fallen below its role.
    pub async fn find_api_key(&self, scope: &impl Scope, id: ApiKeyId) -> Result<Option<StoredKey>> {
        type KeyRow = (Vec<u8>, UserId, UserId, Role, Option<Instant>, Option<Instant>);
        let query = async |tx: &mut ReadTx| {
            let (tenant, now) = (tx.tenant(), tx.now());
            let key = api_keys::table.filter(api_keys::tenant_id.eq(tenant).and(api_keys::id.eq(id)));
            let key = key.select((
                api_keys::key_hash,
                api_keys::user_id,
                api_keys::created_by,
                api_keys::role,
                api_keys::expires_at,
                api_keys::last_used_at,
            ));
            let key: Option<KeyRow> = key.first(tx.conn()).await.optional()?;
            let Some((hash, user, maker, role, expires_at, last_used_at)) = key else { return Ok(None) };
            if expires_at.is_some_and(|expires_at| expires_at <= now) {
                return Ok(None);
            }
            let row = serveable(tenant, maker).select(columns());
            let maker: Option<Row> = row.first(tx.conn()).await.optional()?;
            if maker.is_none_or(|(of_maker, ..)| of_maker < role) {
                return Ok(None);
            }
            let row: Option<Row> = serveable(tenant, user).select(columns()).first(tx.conn()).await.optional()?;
            let standing = row.map(|row| {
                let standing = Standing::from(row);
                Standing { role: standing.role.min(role), ..standing } // whatever its account was made since
            });
            Ok(standing.map(|standing| StoredKey { hash, user, standing, last_used_at }))
        };
        self.read(scope, query).await
    }

    /// Notes that a key was used now.
    pub async fn touch_api_key(&self, scope: &impl WriteScope, id: ApiKeyId) -> Result<()> {
        let touch = async |tx: &mut WriteTx| {
            let key = api_keys::table.filter(api_keys::tenant_id.eq(tx.tenant()).and(api_keys::id.eq(id)));
            diesel::update(key).set(api_keys::last_used_at.eq(tx.now())).execute(tx.conn()).await?;
            Ok(Audited::without_row(())) // what the key did has rows of its own
        };
        self.write(scope, touch).await
    }
}
