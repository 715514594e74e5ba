//! Rotation of keys, while the servers run. What an earlier master key has encrypted is encrypted anew under the active
//! one. On demand, the tenants' values are also encrypted anew under new data keys. Each step may be interrupted at any
//! point and started again.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::audit_chain::CheckpointKey;
use super::scope::System;
use super::sql::for_update;
use super::table_statement::TableStatement;
use super::types::{AnyId, Sealed, TenantId, Uid};
use super::{Action, Audited, Change, Db, Execute, ReadTx, RunQueryDsl, SealedColumn, WriteTx};
use crate::base::error::Result;
use crate::db::schema::data_keys as keys;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable};
use uuid::Uuid;

/// How many values are sealed anew in one transaction. The number is small, so that no transaction holds its locks for
/// long.
const BATCH: i64 = 200;

/// The result of a rotation in one tenant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// How many data keys were wrapped anew.
    pub wrapped: usize,
    /// How many stored answers were sealed anew.
    pub answers: usize,
}

/// Counts the values that the lease's tenant has in a column.
async fn count(tx: &mut ReadTx, SealedColumn { table, column }: SealedColumn) -> Result<i64> {
    let count = TableStatement::<BigInt>::new().sql("SELECT count(*) FROM ").name(table);
    let count = count.sql(" WHERE tenant_id = ").id(tx.tenant().0).sql(" AND ").name(column).sql(" IS NOT NULL");
    Ok(count.get_result(tx).await?)
}

/// Looks at the next batch of values in a column, and seals those anew that were not sealed with the tenant's current
/// data key. Returns the last id of the batch and its size. The ids are read without a lock. The rows are then locked
/// one by one, before the keys. A change to a row locks in the same order, so the two can't deadlock.
async fn seal_anew(tx: &mut WriteTx, of: SealedColumn, after: AnyId) -> Result<Audited<(Option<AnyId>, usize)>> {
    let (SealedColumn { table, column }, tenant) = (of, tx.tenant().0);
    let ids = TableStatement::<Uid>::new().sql("SELECT id FROM ").name(table).sql(" WHERE tenant_id = ").id(tenant);
    let ids = ids.sql(" AND id > ").id(after.0).sql(" AND ").name(column);
    let ids: Vec<AnyId> = ids.sql(format!(" IS NOT NULL ORDER BY id LIMIT {BATCH}")).load(tx).await?;
    let mut rows: Vec<(AnyId, Sealed)> = vec![];
    for id in &ids {
        let row = TableStatement::<Nullable<Binary>>::new().sql("SELECT ").name(column).sql(" FROM ").name(table);
        let row = for_update(row.sql(" WHERE tenant_id = ").id(tenant).sql(" AND id = ").id(id.0));
        let sealed: Option<Option<Sealed>> = row.get_result(tx).await.optional()?;
        rows.extend(sealed.flatten().map(|sealed| (*id, sealed)));
    }
    let unsealer = tx.unsealer().await?;
    let old = rows.into_iter().filter(|(_, sealed)| !unsealer.is_current(sealed)).collect::<Vec<_>>();
    let key = match u32::try_from(old.len()).unwrap_or(u32::MAX) {
        0 => None,
        uses => Some(tx.data_key(uses).await?),
    };
    for (id, sealed) in old {
        let Some(key) = &key else { continue };
        let place = of.of(id.0);
        let anew = tx.seal_by(key, place, &unsealer.open(place, &sealed)?)?;
        let update =
            TableStatement::<()>::new().sql("UPDATE ").name(table).sql(" SET ").name(column).sql(" = ").sealed(anew);
        update.sql(" WHERE tenant_id = ").id(tenant).sql(" AND id = ").id(id.0).execute(tx).await?;
    }
    Ok(Audited::without_row((ids.last().copied(), ids.len()))) // the values stay the same
}

impl Db {
    /// Encrypts a tenant's data keys and stored answers under the active master key, and signs its checkpoint anew with
    /// the active key.
    pub async fn rotate_tenant(&self, tenant: TenantId, key: &CheckpointKey) -> Result<Rotated> {
        let wrapped = self.write(&System::of(tenant), async |tx: &mut WriteTx| tx.wrap_anew().await).await?;
        self.sign_anew(tenant, key).await?;
        Ok(Rotated { wrapped, answers: self.seal_answers_anew(tenant).await? })
    }

    /// How many sealed values a tenant has in these columns.
    pub async fn count_sealed(&self, tenant: TenantId, columns: &[SealedColumn]) -> Result<u64> {
        let count_all = async |tx: &mut ReadTx| {
            let mut sum = 0;
            for column in columns {
                sum += count(tx, *column).await?;
            }
            Ok(sum)
        };
        Ok(self.read(&System::of(tenant), count_all).await?.unsigned_abs())
    }

    /// Gives a tenant a new data key if its current one was made under another master key than the active one. Then
    /// seals all its values with the new key and destroys the old keys. `columns` must name all columns with sealed
    /// values: values in other columns would be lost with the old keys. `seen` is called with the size of each batch of
    /// values.
    pub async fn renew_data(
        &self,
        tenant: TenantId,
        columns: &[SealedColumn],
        seen: impl Fn(usize) + Send + Sync,
    ) -> Result<()> {
        let renewed = self.write(&System::of(tenant), async |tx: &mut WriteTx| tx.renew_data_key().await).await?;
        let Some(number) = renewed else { return Ok(()) };
        for column in columns {
            let mut after = AnyId(Uuid::nil());
            loop {
                let batch = async |tx: &mut WriteTx| seal_anew(tx, *column, after).await;
                let (last, count) = self.write(&System::of(tenant), batch).await?;
                seen(count);
                match last {
                    Some(last) => after = last,
                    None => break,
                }
            }
        }
        // A transaction that sealed with an old key had locked the head before this key existed, so it has ended by
        // now. This key and later ones stay: if another key has followed meanwhile, each of them may have sealed
        // values.
        let delete = async |tx: &mut WriteTx| {
            tx.forget_data_keys_before(number).await?;
            Ok(Audited::without_row(())) // the new key has its audit row
        };
        self.write(&System::of(tenant), delete).await
    }
}

impl WriteTx {
    async fn wrap_anew(&mut self) -> Result<Audited<usize>> {
        let old = self.old_wrappings().await?;
        for (number, wrapped) in &old {
            let row = keys::table.filter(keys::tenant_id.eq(self.tenant())).filter(keys::number.eq(*number));
            let anew = (keys::wrapped.eq(wrapped.bytes.clone()), keys::master_key_id.eq(wrapped.master.clone()));
            diesel::update(row).set(anew).execute(self).await?;
        }
        let tenant = self.tenant();
        match old.len() {
            0 => Ok(Audited::without_row(0)), // nothing was changed
            count => Ok(self.happened(Change::of(Action::KeyRotate, tenant)).await?.with(count)),
        }
    }

    /// Makes a new data key if one is due. Returns the number of the current data key if there are older ones with
    /// values that must be sealed anew.
    async fn renew_data_key(&mut self) -> Result<Audited<Option<i32>>> {
        let tenant = self.tenant();
        match self.succeed_data_key().await? {
            Some((number, true)) => Ok(self.happened(Change::of(Action::KeyRotate, tenant)).await?.with(Some(number))),
            Some((number, false)) if self.stored_keys().await?.len() > 1 => Ok(Audited::without_row(Some(number))),
            _ => Ok(Audited::without_row(None)), // nothing is changed
        }
    }
}
