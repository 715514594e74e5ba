//! Rotation of keys: what the master key encrypted is encrypted anew under the active one, and on demand the tenants' values
//! under new data keys, while the servers run. Everything here may be stopped at any point and begun again.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::audit_chain::CheckpointKey;
use super::scope::System;
use super::sql::for_update;
use super::types::{AnyId, Sealed, TenantId};
use super::{Action, Audited, Change, Db, Execute, Place, ReadTx, RunQueryDsl, WriteTx};
use crate::base::error::Result;
use crate::db::schema::{contract_history, contracts, data_keys as keys};
use diesel::prelude::*;
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

/// A column that holds sealed values: the statements that differ from one column to another.
trait SealedColumn {
    const TABLE: &'static str;
    const COLUMN: &'static str;

    /// How many values the tenant has.
    fn count(tx: &mut ReadTx) -> impl Future<Output = Result<i64>> + Send;
    /// The next rows that have a value, in the order of their ids.
    fn next(tx: &mut WriteTx, after: AnyId) -> impl Future<Output = Result<Vec<AnyId>>> + Send;
    /// Locks a row, and reads its value.
    fn lock(tx: &mut WriteTx, id: AnyId) -> impl Future<Output = Result<Option<Sealed>>> + Send;
    fn replace(tx: &mut WriteTx, id: AnyId, sealed: Sealed) -> impl Future<Output = Result<()>> + Send;
}

/// Names the sealed columns. The values of one that is missing here would be lost when the old keys are destroyed: a test holds
/// the list against the schema.
macro_rules! sealed_columns {
    ($($table:ident.$column:ident),+ $(,)?) => {
        $(impl SealedColumn for $table::$column {
            const TABLE: &'static str = stringify!($table);
            const COLUMN: &'static str = stringify!($column);

            async fn count(tx: &mut ReadTx) -> Result<i64> {
                let rows = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::$column.is_not_null());
                Ok(rows.count().get_result(tx).await?)
            }
            async fn next(tx: &mut WriteTx, after: AnyId) -> Result<Vec<AnyId>> {
                let rows = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::id.gt(after));
                let rows = rows.filter($table::$column.is_not_null()).order($table::id.asc()).limit(BATCH);
                Ok(rows.select($table::id).load(tx).await?)
            }
            async fn lock(tx: &mut WriteTx, id: AnyId) -> Result<Option<Sealed>> {
                let row = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::id.eq(id));
                let row = for_update(row.select($table::$column));
                let sealed: Option<Option<Sealed>> = row.get_result(tx).await.optional()?;
                Ok(sealed.flatten())
            }
            async fn replace(tx: &mut WriteTx, id: AnyId, sealed: Sealed) -> Result<()> {
                let row = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::id.eq(id));
                diesel::update(row).set($table::$column.eq(Some(sealed))).execute(tx).await?;
                Ok(())
            }
        })+

        impl ReadTx {
            async fn count_sealed(&mut self) -> Result<i64> {
                Ok(0 $(+ $table::$column::count(self).await?)+)
            }
        }

        impl Db {
            async fn seal_all_anew(&self, tenant: TenantId, seen: &(impl Fn(usize) + Send + Sync)) -> Result<()> {
                $(self.seal_anew::<$table::$column>(tenant, seen).await?;)+
                Ok(())
            }
        }

        #[cfg(test)]
        const SEALED_COLUMNS: &[&str] = &[$(concat!(stringify!($table), ".", stringify!($column))),+];
    };
}
sealed_columns!(contracts.amount_sealed, contract_history.from_sealed, contract_history.to_sealed);

/// Seals the next values of a column by the tenant's present data key, those that another one has sealed. Gives the last row and how
/// many there were. Ids are read without a lock and rows then locked one by one, before the keys, in the order in which other
/// changes lock them: no two wait for each other.
async fn seal_batch<C: SealedColumn>(tx: &mut WriteTx, after: AnyId) -> Result<(Option<AnyId>, usize)> {
    let ids = C::next(tx, after).await?;
    let mut rows: Vec<(AnyId, Sealed)> = vec![];
    for id in &ids {
        rows.extend(C::lock(tx, *id).await?.map(|sealed| (*id, sealed)));
    }
    let unsealer = tx.unsealer().await?;
    rows.retain(|(_, sealed)| !unsealer.is_current(sealed));
    if let Ok(uses @ 1..) = u32::try_from(rows.len()) {
        let key = tx.data_key(uses).await?;
        for (id, sealed) in rows {
            let place = Place { table: C::TABLE, row: id.0, column: C::COLUMN };
            let anew = tx.seal_by(&key, place, &unsealer.open(place, &sealed)?)?;
            C::replace(tx, id, anew).await?;
        }
    }
    Ok((ids.last().copied(), ids.len()))
}

impl Db {
    /// Encrypts a tenant's data keys, stored answers and checkpoint under the active master key.
    pub async fn rotate_tenant(&self, tenant: TenantId, key: &CheckpointKey) -> Result<Rotated> {
        let wrapped = self.write(&System::of(tenant), async |tx: &mut WriteTx| tx.wrap_anew().await).await?;
        self.sign_anew(tenant, key).await?;
        Ok(Rotated { wrapped, answers: self.seal_answers_anew(tenant).await? })
    }

    /// How many sealed values a tenant has.
    pub async fn count_sealed(&self, tenant: TenantId) -> Result<u64> {
        let count = async |tx: &mut ReadTx| tx.count_sealed().await;
        Ok(self.read(&System::of(tenant), count).await?.unsigned_abs())
    }

    /// Gives a tenant a new data key if the one it has was made under another master key than the active one, seals all its
    /// values by it, and destroys the old ones. `seen` is told of values as they are gone through.
    pub async fn renew_data(&self, tenant: TenantId, seen: impl Fn(usize) + Send + Sync) -> Result<()> {
        let renewed = self.write(&System::of(tenant), async |tx: &mut WriteTx| tx.renew_data_key().await).await?;
        let Some(number) = renewed else { return Ok(()) };
        self.seal_all_anew(tenant, &seen).await?;
        // A transaction that sealed by an old key had the head under lock before there was this one, so it has ended. Keys from
        // it on stay, also where another one has followed meanwhile: values may be sealed by each of them.
        let delete = async |tx: &mut WriteTx| {
            tx.forget_data_keys_before(number).await?;
            Ok(Audited::without_row(())) // the new key has its row
        };
        self.write(&System::of(tenant), delete).await
    }

    /// Seals the values of one column anew, batch by batch.
    async fn seal_anew<C: SealedColumn>(&self, tenant: TenantId, seen: &(impl Fn(usize) + Send + Sync)) -> Result<()> {
        let mut next = Some(AnyId::from(Uuid::nil()));
        while let Some(after) = next {
            let batch = async |tx: &mut WriteTx| {
                Ok(Audited::without_row(seal_batch::<C>(tx, after).await?)) // the same values
            };
            let (last, count) = self.write(&System::of(tenant), batch).await?;
            seen(count);
            next = last;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every column that is called so in the schema is sealed.
    #[test]
    fn no_sealed_column_is_forgotten() {
        let (mut table, mut in_schema) = ("", vec![]);
        for line in include_str!("schema.rs").lines().map(str::trim) {
            match line.split_once(' ') {
                Some((name, "(tenant_id, id) {" | "(id) {")) => table = name,
                Some((column, "-> Nullable<Binary>," | "-> Binary,")) if column.ends_with("_sealed") => {
                    in_schema.push(format!("{table}.{column}"));
                }
                _ => {}
            }
        }
        in_schema.sort();
        let mut named = SEALED_COLUMNS.to_vec();
        named.sort_unstable();
        assert_eq!(named, in_schema);
    }
}
