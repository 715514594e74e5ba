//! API keys, as authentication needs them: their service accounts, and whether they are valid.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::principals::{Principal, Row, columns, good_keys, serveable};
use super::roles::Role;
use super::types::{ApiKeyId, Instant, UserId};
use super::{Audited, Db, Execute, ReadTx, RunQueryDsl, Scope, WriteScope, WriteTx};
use crate::base::error::Result;
use crate::db::schema::api_keys;
use chrono::Duration;
use diesel::prelude::*;

/// The precision of the time of a key's last use. A finer one would turn almost every request into a write.
const LAST_USED_STEP: Duration = Duration::minutes(1);

/// A key that is valid, provided that the secret of the request matches its hash.
pub struct StoredKey {
    pub hash: Vec<u8>,
    /// The service account of the key.
    pub user: UserId,
    pub principal: Principal,
    last_used_at: Option<Instant>,
}

impl StoredKey {
    /// Whether the stored time of the last use is old enough to be updated.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.last_used_at.is_none_or(|last| now.0 - last.0 >= LAST_USED_STEP)
    }
}

impl Db {
    /// `None` if there is no such key, or if it is not valid any more.
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

    /// Stores the present time as the key's last use.
    pub async fn touch_api_key(&self, scope: &impl WriteScope, id: ApiKeyId) -> Result<()> {
        let touch = async |tx: &mut WriteTx| {
            let key = api_keys::table.filter(api_keys::tenant_id.eq(tx.tenant()).and(api_keys::id.eq(id)));
            diesel::update(key).set(api_keys::last_used_at.eq(tx.now())).execute(tx).await?;
            Ok(Audited::without_row(())) // the changes that are made with the key have their own audit rows
        };
        self.write(scope, touch).await
    }
}
