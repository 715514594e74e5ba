//! The data keys of tenants. Values that must not be readable in the database are encrypted under a random data key of
//! their tenant. The data key is stored encrypted ("wrapped") under a master key of the settings. When the master key
//! is replaced, only the data keys are wrapped again. Without the master key, all values that the tenant encrypted are
//! lost.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::sql::for_update;
use super::types::{Sealed, TenantId};
use super::{Execute, ReadTx, RunQueryDsl, WriteTx};
use crate::base::crypto::Cipher;
use crate::base::error::{Error, Result};
use crate::base::key_ring::{KeyRing, Wrapped};
use crate::db::schema::{data_key_heads as heads, data_keys as keys};
use diesel::prelude::*;
use std::collections::HashMap;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The version of the format of sealed values. A sealed value consists of this byte, the number of the data key (4
/// bytes, big-endian), and the output of [`Cipher::seal`].
const FORMAT: u8 = 1;

/// The number of encryptions after which a data key is replaced. With random nonces, 2^32 is the bound (NIST SP
/// 800-38D, 8.3).
const MAX_USES: i64 = 1 << 32;

/// The cell that a sealed value belongs to. A value that is moved to another cell or another tenant does not decrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub table: &'static str,
    pub row: Uuid,
    pub column: &'static str,
}

/// A column that holds sealed values. The macro [`sealed_column!`](crate::sealed_column!) makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedColumn {
    pub table: &'static str,
    pub column: &'static str,
}

impl SealedColumn {
    /// The cell of this column in a row.
    pub const fn of(self, row: Uuid) -> Place {
        let Self { table, column } = self;
        Place { table, row, column }
    }
}

/// `sealed_column!(contracts.amount_sealed)`: a column of `schema.rs` that holds [`Sealed`] values. The macro does not
/// compile for a column of another type.
#[macro_export]
macro_rules! sealed_column {
    ($table:ident . $column:ident) => {{
        const fn is_sealed<C: diesel::Expression<SqlType = diesel::sql_types::Nullable<diesel::sql_types::Binary>>>(
            _: &C,
        ) {
        }
        is_sealed(&$crate::db::schema::$table::$column);
        $crate::db::SealedColumn { table: stringify!($table), column: stringify!($column) }
    }};
}

impl Place {
    /// The associated data of the encryption. The names of tables and columns contain no NUL byte, so that two
    /// different places never have the same bytes.
    fn bound_to(self, tenant: TenantId, number: i32) -> Vec<u8> {
        let Self { table, row, column } = self;
        let parts: [&[u8]; 7] =
            [&header(number), tenant.0.as_bytes(), table.as_bytes(), b"\0", row.as_bytes(), column.as_bytes(), b"\0"];
        parts.concat()
    }
}

fn header(number: i32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [FORMAT, a, b, c, d]
}

/// Splits a sealed value into the number of its data key and the ciphertext. `None` if the format is unknown.
fn parts(sealed: &[u8]) -> Option<(i32, &[u8])> {
    match sealed {
        [FORMAT, a, b, c, d, rest @ ..] => Some((i32::from_be_bytes([*a, *b, *c, *d]), rest)),
        _ => None,
    }
}

/// The associated data with which a data key is wrapped.
pub(super) fn owner(tenant: TenantId, number: i32) -> Vec<u8> {
    [b"data key".as_slice(), tenant.0.as_bytes(), &number.to_be_bytes()].concat()
}

/// The data key that a transaction encrypts with.
pub(super) struct DataKey {
    number: i32,
    cipher: Cipher,
}

/// The data keys of a tenant, for as long as a request needs them.
pub struct Unsealer {
    tenant: TenantId,
    /// The number of the newest data key, which new values are encrypted with.
    current: i32,
    ciphers: HashMap<i32, Cipher>,
    keys: KeyRing,
}

impl Unsealer {
    /// Decrypts a value. A value that was changed, or moved to another place or tenant, is an error, which is also
    /// counted and logged.
    pub fn open(&self, place: Place, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        let opened = parts(&sealed.0)
            .and_then(|(number, rest)| self.ciphers.get(&number)?.open(rest, &place.bound_to(self.tenant, number)));
        opened.ok_or_else(|| {
            self.keys.metrics().unsealing_failures.inc();
            let Place { table, row, column } = place;
            let tenant = self.tenant;
            tracing::error!(tenant.id = %tenant, table, row.id = %row, column, "A sealed value was changed or moved");
            Error::Internal(anyhow::anyhow!("a sealed value in {table}.{column} does not open"))
        })
    }
}

impl Unsealer {
    /// Whether the value was sealed by the tenant's newest data key.
    pub(super) fn is_current(&self, sealed: &Sealed) -> bool {
        parts(&sealed.0).is_some_and(|(number, _)| number == self.current)
    }
}

impl ReadTx {
    /// The tenant's data keys, to decrypt its values.
    pub async fn unsealer(&mut self) -> Result<Unsealer> {
        if self.is_write() {
            self.lock_head().await?; // another transaction may be adding a key and sealing rows by it
        }
        let (tenant, ring) = (self.tenant(), self.keys.clone());
        let stored = self.stored_keys().await?;
        let current = stored.iter().map(|(number, _)| *number).max().unwrap_or_default();
        let ciphers = stored
            .into_iter()
            .map(|(number, wrapped)| Ok((number, Cipher::new(&ring.unwrap(&wrapped, &owner(tenant, number))?))));
        Ok(Unsealer { tenant, current, ciphers: ciphers.collect::<Result<_>>()?, keys: ring })
    }

    /// The tenant's wrapped data keys and their numbers. A transaction that writes reads them with a lock, in order to
    /// get what is committed now and not what was committed when the transaction began.
    pub(super) async fn stored_keys(&mut self) -> Result<Vec<(i32, Wrapped)>> {
        let rows = keys::table.filter(keys::tenant_id.eq(self.tenant()));
        let rows = rows.select((keys::number, keys::master_key_id, keys::wrapped));
        let rows: Vec<(i32, String, Vec<u8>)> = match self.is_write() {
            true => for_update(rows).get_results(self).await?,
            false => rows.load(self).await?,
        };
        Ok(rows.into_iter().map(|(number, master, bytes)| (number, Wrapped { master, bytes })).collect())
    }

    /// Locks the tenant's head: the number of its newest data key, and how often that key was used. Other transactions
    /// that need the head wait until this one ends.
    async fn lock_head(&mut self) -> Result<(i32, i64)> {
        self.lock_head_if_any().await?.ok_or(Error::NotFound)
    }

    /// As [`Self::lock_head`], but `None` if the tenant was deleted and its keys were destroyed.
    async fn lock_head_if_any(&mut self) -> Result<Option<(i32, i64)>> {
        let head = heads::table.filter(heads::tenant_id.eq(self.tenant())).select((heads::number, heads::uses));
        Ok(for_update(head).get_result(self).await.optional()?)
    }
}

impl WriteTx {
    /// Encrypts a value under the tenant's data key.
    pub async fn seal(&mut self, place: Place, plain: &[u8]) -> Result<Sealed> {
        let key = self.data_key(1).await?;
        self.seal_by(&key, place, plain)
    }

    /// Encrypts values. The results are in the order of the values.
    pub async fn seal_all(&mut self, values: Vec<(Place, impl AsRef<[u8]> + Send)>) -> Result<Vec<Sealed>> {
        let key = self.data_key(u32::try_from(values.len()).unwrap_or(u32::MAX)).await?;
        values.into_iter().map(|(place, plain)| self.seal_by(&key, place, plain.as_ref())).collect()
    }

    pub(super) fn seal_by(&self, key: &DataKey, place: Place, plain: &[u8]) -> Result<Sealed> {
        let DataKey { number, cipher } = key;
        let sealed = cipher.seal(self.env(), plain, &place.bound_to(self.tenant(), *number))?;
        Ok(Sealed([&header(*number)[..], &sealed].concat()))
    }

    /// The data key to encrypt with, and counts `uses` encryptions with it. Makes a new key if there is none yet, or if
    /// the present one would be used too often.
    pub(super) async fn data_key(&mut self, uses: u32) -> Result<DataKey> {
        let (number, before) = self.lock_head().await?;
        let more = i64::from(uses);
        let (key, uses) = match number == 0 || before + more > MAX_USES {
            true => (self.new_data_key(number + 1).await?, more),
            false => (self.stored_key(number).await?, before + more),
        };
        let head = heads::table.filter(heads::tenant_id.eq(self.tenant()));
        let used = (heads::number.eq(key.number), heads::uses.eq(uses));
        diesel::update(head).set(used).execute(self).await?;
        self.keys.metrics().data_key_used(self.tenant().0, more.unsigned_abs(), uses);
        Ok(key)
    }

    async fn stored_key(&mut self, number: i32) -> Result<DataKey> {
        let row = keys::table.filter(keys::tenant_id.eq(self.tenant())).filter(keys::number.eq(number));
        let row = for_update(row.select((keys::master_key_id, keys::wrapped)));
        let (master, bytes) = row.get_result(self).await?;
        let key = self.keys.unwrap(&Wrapped { master, bytes }, &owner(self.tenant(), number))?;
        Ok(DataKey { number, cipher: Cipher::new(&key) })
    }

    async fn new_data_key(&mut self, number: i32) -> Result<DataKey> {
        let key = self.env().random_key();
        let wrapped = self.keys.wrap(&key, &owner(self.tenant(), number))?;
        let row = (
            keys::tenant_id.eq(self.tenant()),
            keys::number.eq(number),
            keys::wrapped.eq(wrapped.bytes),
            keys::master_key_id.eq(wrapped.master),
            keys::made_under.eq(self.keys.active_id().to_owned()),
            keys::created_at.eq(self.now()),
        );
        diesel::insert_into(keys::table).values(row).execute(self).await?;
        Ok(DataKey { number, cipher: Cipher::new(&key) })
    }

    /// The data keys that are wrapped by another master key than the active one, wrapped again by the active one. This
    /// function unwraps every data key, even those under the active master key, because the settings may now have
    /// another key under that id. A data key that does not unwrap would be lost, and so it is an error. A deleted
    /// tenant has no data keys.
    pub(super) async fn old_wrappings(&mut self) -> Result<Vec<(i32, Wrapped)>> {
        if self.lock_head_if_any().await?.is_none() {
            return Ok(vec![]);
        }
        let (tenant, ring) = (self.tenant(), self.keys.clone());
        let mut anew = vec![];
        for (number, wrapped) in self.stored_keys().await? {
            let owner = owner(tenant, number);
            let key = ring.unwrap(&wrapped, &owner)?;
            if wrapped.master != ring.active_id() {
                anew.push((number, ring.wrap(&key, &owner)?));
            }
        }
        Ok(anew)
    }

    /// Makes a new data key for the tenant if its newest one was made under another master key than the active one.
    /// Returns the number of the newest key, and whether that key is new. `None` if the tenant was deleted.
    pub(super) async fn succeed_data_key(&mut self) -> Result<Option<(i32, bool)>> {
        let Some((number, _)) = self.lock_head_if_any().await? else { return Ok(None) };
        let present = keys::table.filter(keys::tenant_id.eq(self.tenant())).filter(keys::number.eq(number));
        let made_under = for_update(present.select(keys::made_under)).get_result(self).await.optional()?;
        if made_under.is_none_or(|made_under: String| made_under == self.keys.active_id()) {
            return Ok(Some((number, false)));
        }
        let key = self.new_data_key(number + 1).await?;
        let head = heads::table.filter(heads::tenant_id.eq(self.tenant()));
        let unused = (heads::number.eq(key.number), heads::uses.eq(0));
        diesel::update(head).set(unused).execute(self).await?;
        Ok(Some((key.number, true)))
    }

    /// Destroys the tenant's data keys with a lower number.
    pub(super) async fn forget_data_keys_before(&mut self, number: i32) -> Result<()> {
        let old = keys::table.filter(keys::tenant_id.eq(self.tenant())).filter(keys::number.lt(number));
        diesel::delete(old).execute(self).await?;
        Ok(())
    }

    /// Inserts the head of a new tenant. Its first data key is made when it is needed.
    pub async fn prepare_data_keys(&mut self) -> Result<()> {
        let row = (heads::tenant_id.eq(self.tenant()), heads::number.eq(0), heads::uses.eq(0));
        diesel::insert_into(heads::table).values(row).execute(self).await?;
        Ok(())
    }

    /// Destroys the tenant's data keys, which makes all its encrypted values unreadable.
    pub async fn destroy_data_keys(&mut self) -> Result<()> {
        let tenant = self.tenant();
        diesel::delete(heads::table.filter(heads::tenant_id.eq(tenant))).execute(self).await?;
        diesel::delete(keys::table.filter(keys::tenant_id.eq(tenant))).execute(self).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_have_the_same_bytes() {
        let (tenant, other, row) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let place = Place { table: "contracts", row, column: "amount" };
        let places = [
            place.bound_to(tenant.into(), 1),
            place.bound_to(other.into(), 1),
            place.bound_to(tenant.into(), 2),
            Place { row: other, ..place }.bound_to(tenant.into(), 1),
            Place { column: "amoun", ..place }.bound_to(tenant.into(), 1),
            Place { table: "contract", ..place }.bound_to(tenant.into(), 1),
            Place { table: "history", ..place }.bound_to(tenant.into(), 1),
        ];
        let different: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(different.len(), places.len());
    }

    #[test]
    fn a_sealed_value_names_its_key() {
        assert_eq!(parts(&[1, 0, 0, 1, 2, 9]), Some((258, &[9][..])));
        assert_eq!(parts(&[2, 0, 0, 1, 2, 9]), None, "another format");
        assert_eq!(parts(&[1, 0, 0]), None);
    }
}
