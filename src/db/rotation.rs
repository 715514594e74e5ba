//! Rotation of keys: what the master key encrypted is encrypted anew under the active one, and on demand the tenants' values
//! under new data keys, while the servers run. Everything here may be stopped at any point and begun again.
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

/// How many values are sealed anew in one transaction, so that none holds its locks for long.
const BATCH: i64 = 200;

/// What a rotation did in one tenant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Data keys that were wrapped anew.
    pub wrapped: usize,
    /// Stored answers that were sealed anew.
    pub answers: usize,
}

/// How many values of a column the lease's tenant has.
async fn count(tx: &mut ReadTx, SealedColumn { table, column }: SealedColumn) -> Result<i64> {
    let count = TableStatement::<BigInt>::new().sql("SELECT count(*) FROM ").name(table);
    let count = count.sql(" WHERE tenant_id = ").id(tx.tenant().0).sql(" AND ").name(column).sql(" IS NOT NULL");
    Ok(count.get_result(tx).await?)
}

/// Seals the next values of a column by the tenant's present data key, those that another one has sealed: gives the last id that
/// was looked at, and how many were. Ids are read without a lock and rows then locked one by one, before the keys, in the order
/// in which a change to a row locks them: no two wait for each other.
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
    Ok(Audited::without_row((ids.last().copied(), ids.len()))) // the same values
}

impl Db {
    /// Encrypts a tenant's data keys, stored answers and checkpoint under the active master key.
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

    /// Gives a tenant a new data key if the one it has was made under another master key than the active one, seals all its
    /// values by it, and destroys the old ones. `columns` are all that hold sealed values: values in others would be lost with
    /// the old keys. `seen` is told of values as they are gone through.
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
        // A transaction that sealed by an old key had the head under lock before there was this key, so that it is over. Keys from
        // this one on stay, also where another one has followed meanwhile: values may be sealed by each of them.
        let delete = async |tx: &mut WriteTx| {
            tx.forget_data_keys_before(number).await?;
            Ok(Audited::without_row(())) // the new key has its row
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

    /// The number of the present data key, if there are older ones whose values are to be sealed anew.
    async fn renew_data_key(&mut self) -> Result<Audited<Option<i32>>> {
        let tenant = self.tenant();
        match self.succeed_data_key().await? {
            Some((number, true)) => Ok(self.happened(Change::of(Action::KeyRotate, tenant)).await?.with(Some(number))),
            Some((number, false)) if self.stored_keys().await?.len() > 1 => Ok(Audited::without_row(Some(number))),
            _ => Ok(Audited::without_row(None)), // nothing is changed
        }
    }
}
