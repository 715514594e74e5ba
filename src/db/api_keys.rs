//! API keys as a request needs them: their service accounts, and whether they still are good.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::principals::{Principal, Row, columns, good_keys, serveable};
use super::roles::Role;
use super::types::{ApiKeyId, Instant, UserId};
use super::{Audited, Db, Execute, ReadTx, RunQueryDsl, Scope, WriteScope, WriteTx};
use crate::base::error::Result;
use crate::db::schema::api_keys;
use chrono::Duration;
use diesel::prelude::*;

/// How exactly the last use of a key is known; every request would be a write otherwise.
const LAST_USED_STEP: Duration = Duration::minutes(1);

/// A key that is good, if its secret is.
pub struct StoredKey {
    pub hash: Vec<u8>,
    /// The service account.
    pub user: UserId,
    pub principal: Principal,
    last_used_at: Option<Instant>,
}

impl StoredKey {
    /// Whether its last use was so long ago that this one is worth writing down.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.last_used_at.is_none_or(|last| now.0 - last.0 >= LAST_USED_STEP)
    }
}

impl Db {
    /// None where there is no such key, or it is not good any more.
    pub async fn find_api_key(&self, scope: &impl Scope, id: ApiKeyId) -> Result<Option<StoredKey>> {
        type KeyRow = (Vec<u8>, UserId, Role, Option<Instant>);
        let query = async |tx: &mut ReadTx| {
            let (tenant, now) = (tx.tenant(), tx.now());
            let key = good_keys(tenant, now).filter(api_keys::id.eq(id));
            let key = key.select((api_keys::key_hash, api_keys::user_id, api_keys::role, api_keys::last_used_at));
            let key: Option<KeyRow> = key.first(tx).await.optional()?;
            let Some((hash, user, role, last_used_at)) = key else { return Ok(None) };
            let row: Option<Row> = serveable(tenant, user).select(columns()).first(tx).await.optional()?;
            let principal = row.map(|row| Principal::from(row).at_most(role));
            Ok(principal.map(|principal| StoredKey { hash, user, principal, last_used_at }))
        };
        self.read(scope, query).await
    }

    /// Notes that a key was used now.
    pub async fn touch_api_key(&self, scope: &impl WriteScope, id: ApiKeyId) -> Result<()> {
        let touch = async |tx: &mut WriteTx| {
            let key = api_keys::table.filter(api_keys::tenant_id.eq(tx.tenant()).and(api_keys::id.eq(id)));
            diesel::update(key).set(api_keys::last_used_at.eq(tx.now())).execute(tx).await?;
            Ok(Audited::without_row(())) // what the key did has rows of its own
        };
        self.write(scope, touch).await
    }
}
