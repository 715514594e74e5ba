//! Idempotency keys: a change that is sent twice is made once. The key's row belongs to the change's own transaction
//! and is written first, so that a repeat that arrives meanwhile waits until the first request has ended.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::lease::SendAsyncFn;
use super::scope::System;
use super::sql::for_update;
use super::types::{Instant, TenantId, UserId};
use super::{Audited, Db, Execute, RunQueryDsl, Statement, WriteScope, WriteTx};
use crate::base::error::{Error, Result};
use crate::db::schema::idempotency_keys as keys;
use chrono::Duration;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as Diesel};
use poem_openapi::types::{ParseFromJSON, ToJSON};
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long a key is remembered. After that time, the same key means a new request.
const KEPT: Duration = Duration::hours(24);

/// An idempotency key and the request that it was sent with.
#[derive(Debug, Clone)]
pub struct RequestKey {
    pub key: String,
    /// The SHA-256 of the operation and its input. It is stored encrypted, together with the answer. If a plain hash
    /// were stored, people with access to the database could find out amounts by trying them.
    pub fingerprint: [u8; 32],
}

/// The result of a change. `replayed` is true if it was stored by an earlier request with the same key.
pub struct Once<R> {
    pub result: R,
    pub replayed: bool,
}

/// How often a request tries to claim its key before it is answered with 503.
const CLAIM_TRIES: u32 = 10;

/// How many stored answers are encrypted again in one transaction.
const BATCH: i64 = 100;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, user: UserId, key: String) -> _ {
    let of_user = keys::tenant_id.eq(tenant).and(keys::user_id.eq(user));
    keys::table.filter(of_user).filter(keys::key.eq(key))
}

impl Db {
    /// As [`Db::write`], but a repeat with the same key returns the first result.
    pub async fn write_once<R, F>(&self, scope: &impl WriteScope, key: Option<RequestKey>, work: F) -> Result<Once<R>>
    where
        R: ToJSON + ParseFromJSON + Send + Sync,
        for<'tx> F: AsyncFnOnce(&'tx mut WriteTx) -> Result<Audited<R>>
            + SendAsyncFn<&'tx mut WriteTx, Result<Audited<R>>, Fut: Send>
            + Send,
    {
        let Some(key) = key else {
            return Ok(Once { result: self.write(scope, work).await?, replayed: false });
        };
        let writing = async move {
            let Some(mut tx) = self.begin_claimed(scope, &key).await? else {
                return self.replay(scope, &key).await;
            };
            let guard = tx.guard();
            let result = match guard.around(work(&mut tx)).await {
                Ok(Audited(result)) => self.remember(&mut tx, &key, &result).map(|()| result),
                Err(error) => Err(error),
            };
            Ok(Once { result: tx.end(result).await?, replayed: false })
        };
        Box::pin(writing).await // as all leases are
    }

    /// Begins a transaction and claims the key in it. `None` if another request has claimed the key.
    async fn begin_claimed(&self, scope: &impl WriteScope, key: &RequestKey) -> Result<Option<WriteTx>> {
        for tries_left in (0..CLAIM_TRIES).rev() {
            let mut tx = self.begin_write(scope).await?;
            match tx.claim(key).await {
                Ok(true) => return Ok(Some(tx)),
                Ok(false) => {
                    tx.abandon().await?; // after a failed statement, PostgreSQL refuses all others
                    return Ok(None);
                }
                // On MariaDB, repeats that wait for the first request deadlock if that request fails. MariaDB lets one
                // of them continue. The others get this error and try again.
                Err(Error::Unavailable(cause)) if tries_left > 0 => {
                    tracing::debug!(?cause, "An idempotency key is claimed again");
                    tx.abandon().await?;
                }
                Err(error) => return tx.end(Err(error)).await,
            }
        }
        Ok(None)
    }

    async fn replay<R: ParseFromJSON>(&self, scope: &impl WriteScope, key: &RequestKey) -> Result<Once<R>> {
        // The key was in use, but has no stored answer: the first request has failed, and its key was rolled back. The
        // client can send the request again.
        let undone = || Error::Unavailable(anyhow::anyhow!("the first request was undone"));
        self.find_answer(scope, Some(key)).await?.ok_or_else(undone)
    }

    /// The first result, if this is a repeat. Handlers can call it before they charge the request to a limit. `None` if
    /// the key is free, or if the first request has not ended yet.
    pub async fn find_answer<R: ParseFromJSON>(
        &self,
        scope: &impl WriteScope,
        key: Option<&RequestKey>,
    ) -> Result<Option<Once<R>>> {
        let Some(key) = key else { return Ok(None) };
        let user = scope.actor();
        let query = async |tx: &mut super::ReadTx| {
            let since = Instant::from(tx.now().0 - KEPT);
            let row = one(tx.tenant(), user, key.key.clone()).filter(keys::created_at.ge(since));
            Ok(row.select(keys::answer).first::<Option<Vec<u8>>>(tx).await.optional()?)
        };
        let Some(answer) = self.find(scope, query).await? else { return Ok(None) };
        let answer = self.sealer.open(&answer.unwrap_or_default(), &bound_to(scope.tenant(), user, &key.key))?;
        let answer = answer.strip_prefix(&key.fingerprint).ok_or(Error::IdempotencyMismatch)?;
        let value = serde_json::from_slice(answer).map_err(|error| Error::Internal(error.into()))?;
        let result =
            R::parse_from_json(Some(value)).map_err(|error| Error::Internal(anyhow::anyhow!(error.into_message())))?;
        Ok(Some(Once { result, replayed: true }))
    }

    /// Encrypts a tenant's stored answers again, under the active key. Answers that cannot be decrypted are skipped.
    /// Returns the number of answers that were changed.
    pub(super) async fn seal_answers_anew(&self, tenant: TenantId) -> Result<usize> {
        type Next = Option<(UserId, String)>;
        let (mut after, mut count): (Next, usize) = (Some((Uuid::nil().into(), String::new())), 0);
        while let Some((user, key)) = after.take() {
            let batch = async |tx: &mut WriteTx| {
                let later = keys::user_id.gt(user).or(keys::user_id.eq(user).and(keys::key.gt(key.clone())));
                let rows = keys::table.filter(keys::tenant_id.eq(tx.tenant())).filter(later);
                let rows = rows.filter(keys::answer.is_not_null()).order((keys::user_id, keys::key)).limit(BATCH);
                let rows = for_update(rows.select((keys::user_id, keys::key, keys::answer.assume_not_null())));
                let rows: Vec<(UserId, String, Vec<u8>)> = rows.get_results(tx).await?;
                let mut count = 0;
                for (user, key, answer) in &rows {
                    let bound_to = bound_to(tx.tenant(), *user, key);
                    let Ok(plain) = self.sealer.open(answer, &bound_to) else { continue };
                    let row = one(tx.tenant(), *user, key.clone());
                    let anew = keys::answer.eq(self.sealer.seal(&plain, &bound_to)?);
                    count += diesel::update(row).set(anew).execute(tx).await?;
                }
                let last = rows.into_iter().next_back().map(|(user, key, _)| (user, key));
                Ok(Audited::without_row((last, count))) // the content of the answers is unchanged
            };
            let (last, sealed) = self.write(&System::of(tenant), batch).await?;
            (after, count) = (last, count + sealed);
        }
        Ok(count)
    }

    fn remember(&self, tx: &mut WriteTx, key: &RequestKey, result: &(impl ToJSON + Sync)) -> Result<()> {
        let bound_to = bound_to(tx.tenant(), tx.actor(), &key.key);
        let answer = Zeroizing::new([&key.fingerprint, result.to_json_string().as_bytes()].concat());
        let answer = self.sealer.seal(&answer, &bound_to)?;
        let row = one(tx.tenant(), tx.actor(), key.key.clone());
        tx.at_end(Statement::of(diesel::update(row).set(keys::answer.eq(answer))));
        Ok(())
    }
}

/// The associated data of a stored answer, which can only be decrypted for the same user and key.
fn bound_to(tenant: TenantId, user: UserId, key: &str) -> Vec<u8> {
    [b"idempotency".as_slice(), tenant.0.as_bytes(), user.0.as_bytes(), key.as_bytes()].concat()
}

impl WriteTx {
    /// Claims the key. Returns `false` if another request has claimed it.
    async fn claim(&mut self, key: &RequestKey) -> Result<bool> {
        let expired = keys::created_at.lt(Instant::from(self.now().0 - KEPT));
        let old = one(self.tenant(), self.actor(), key.key.clone()).filter(expired);
        Statement::of(diesel::delete(old)).run(self).await?;
        let row = (
            keys::tenant_id.eq(self.tenant()),
            keys::user_id.eq(self.actor()),
            keys::key.eq(key.key.clone()),
            keys::created_at.eq(self.now()),
        );
        match diesel::insert_into(keys::table).values(row).execute(self).await {
            Ok(_) => Ok(true),
            Err(Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
