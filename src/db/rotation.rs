//! Rotation of keys: what the master key encrypted is encrypted anew under the active one, and on demand the tenants' values
//! under new data keys, while the servers run. Everything here may be stopped at any point and begun again.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::audit_chain::CheckpointKey;
use super::directory::Server;
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

/// Does something with each column that holds sealed values. One that were missing here would lose them when the old keys
/// are destroyed: a test holds it against the schema.
macro_rules! each_sealed_column {
    ($do:ident $(, $arguments:expr)*) => {
        $do!($($arguments,)* contracts, amount_sealed);
        $do!($($arguments,)* contract_history, from_sealed);
        $do!($($arguments,)* contract_history, to_sealed);
    };
}

/// Counts the values of a column.
macro_rules! count {
    ($tx:expr, $count:expr, $table:ident, $column:ident) => {
        let rows = $table::table.filter($table::tenant_id.eq($tx.tenant())).filter($table::$column.is_not_null());
        $count += rows.count().get_result::<i64>($tx).await?;
    };
}

/// Seals the values of a column by the tenant's present data key, those that another one has sealed. Ids are read without a
/// lock and rows then locked one by one, before the keys, in the order of every change of a row, so that no two wait for each other.
macro_rules! seal_anew {
    ($db:expr, $tenant:expr, $seen:expr, $table:ident, $column:ident) => {
        let mut after = AnyId::from(Uuid::nil());
        loop {
            let batch = async |tx: &mut WriteTx| {
                let own = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::id.gt(after));
                let ids = own.filter($table::$column.is_not_null()).order($table::id.asc()).limit(BATCH);
                let ids: Vec<AnyId> = ids.select($table::id).load(tx).await?;
                let mut rows: Vec<(AnyId, Sealed)> = vec![];
                for id in &ids {
                    let row = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::id.eq(*id));
                    let row = for_update(row.select($table::$column));
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
                    let place = Place { table: stringify!($table), row: id.0, column: stringify!($column) };
                    let anew = tx.seal_by(key, place, &unsealer.open(place, &sealed)?)?;
                    let row = $table::table.filter($table::tenant_id.eq(tx.tenant())).filter($table::id.eq(id));
                    diesel::update(row).set($table::$column.eq(Some(anew))).execute(tx).await?;
                }
                Ok(Audited::without_row((ids.last().copied(), ids.len()))) // the same values
            };
            let (last, count) = $db.write(&Server::of($tenant), batch).await?;
            $seen(count);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    };
}

impl Db {
    /// Encrypts a tenant's data keys, stored answers and checkpoint under the active master key.
    pub async fn rotate_tenant(&self, tenant: TenantId, key: &CheckpointKey) -> Result<Rotated> {
        let wrapped = self.write(&Server::of(tenant), async |tx: &mut WriteTx| tx.wrap_anew().await).await?;
        self.sign_anew(tenant, key).await?;
        Ok(Rotated { wrapped, answers: self.seal_answers_anew(tenant).await? })
    }

    /// How many sealed values a tenant has.
    pub async fn count_sealed(&self, tenant: TenantId) -> Result<u64> {
        let count = async |tx: &mut ReadTx| {
            let mut count = 0;
            each_sealed_column!(count, tx, count);
            Ok(count)
        };
        Ok(self.read(&Server::of(tenant), count).await?.unsigned_abs())
    }

    /// Gives a tenant a new data key if the one it has was made under another master key than the active one, seals all its
    /// values by it, and destroys the old ones. `seen` is told of values as they are gone through.
    pub async fn renew_data(&self, tenant: TenantId, seen: impl Fn(usize) + Send + Sync) -> Result<()> {
        let renewed = self.write(&Server::of(tenant), async |tx: &mut WriteTx| tx.renew_data_key().await).await?;
        let Some(number) = renewed else { return Ok(()) };
        each_sealed_column!(seal_anew, self, tenant, seen);
        // A transaction that sealed by an old key had the head under lock before there was this one, so it has ended. Keys from
        // it on stay, also where another one has followed meanwhile: values may be sealed by each of them.
        let delete = async |tx: &mut WriteTx| {
            tx.forget_data_keys_before(number).await?;
            Ok(Audited::without_row(())) // the new key has its row
        };
        self.write(&Server::of(tenant), delete).await
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
    /// Whatever is called so in the schema is sealed.
    #[test]
    fn no_sealed_column_is_forgotten() {
        let mut gone_through = vec![];
        macro_rules! name {
            ($names:expr, $table:ident, $column:ident) => {
                $names.push(concat!(stringify!($table), ".", stringify!($column)).to_owned());
            };
        }
        each_sealed_column!(name, gone_through);
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
        gone_through.sort();
        assert_eq!(gone_through, in_schema);
    }
}
