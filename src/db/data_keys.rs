//! The data keys of tenants. Values that must not be readable in the database are encrypted under a random data key of
//! their tenant. The data key is stored encrypted ("wrapped") under a master key of the settings. When the master key
//! is replaced, only the data keys are wrapped again. Without the master key, all values that the tenant encrypted are
//! lost.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::locked_keys::LockedKeys;
use super::page::read;
use super::sql::for_update;
use super::types::{Sealed, TenantId};
use super::{Any, Execute, ReadTx, RunQueryDsl, WriteTx};
use crate::base::crypto::Cipher;
use crate::base::error::{Error, Result};
use crate::base::key_ring::{KeyRing, Wrapped};
use crate::db::schema::{data_key_heads as heads, data_keys as keys};
use diesel::deserialize::FromSqlRow;
use diesel::dsl::{Eq, Filter, Select};
use diesel::prelude::*;
use diesel::query_builder::{AsQuery, Query, QueryFragment, QueryId};
use diesel::query_dsl::CompatibleType;
use diesel::sql_types::{Binary, Integer, Text};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
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

/// The number of a data key, the id of the master key that wraps it, and the wrapped key.
pub(super) type StoredKey = (i32, String, Vec<u8>);

type AllKeys =
    Select<Filter<keys::table, Eq<keys::tenant_id, TenantId>>, (keys::number, keys::master_key_id, keys::wrapped)>;

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
        let stored = self.stored_keys().await?;
        Ok(self.unsealer_of(self.ciphers(stored)?))
    }

    /// The rows of a query, and the tenant's data keys to decrypt them. Both queries are sent together where that is
    /// possible. Only for transactions that read.
    pub fn rows_and_unsealer<R, T, ST>(&mut self, rows: R) -> BoxFuture<'_, Result<(Vec<T>, Unsealer)>>
    where
        R: AsQuery,
        R::Query: Query + QueryFragment<Any> + QueryId + Send + 'static,
        <R::Query as Query>::SqlType: CompatibleType<T, Any, SqlType = ST>,
        T: FromSqlRow<ST, Any> + Send + 'static,
        ST: 'static,
    {
        let is_write = self.is_write();
        let rows = rows.as_query();
        async move {
            if is_write {
                return Err(Error::Internal(anyhow::anyhow!("a change needs locked keys")));
            }
            let (rows, stored) = self.rows_of_both(rows, self.all_keys()).await?;
            let stored = read::<StoredKey, (Integer, Text, Binary)>(&stored)?;
            Ok((read(&rows)?, self.unsealer_of(self.ciphers(stored)?)))
        }
        .boxed()
    }

    fn unsealer_of(&self, ciphers: HashMap<i32, Cipher>) -> Unsealer {
        let current = ciphers.keys().copied().max().unwrap_or_default();
        Unsealer { tenant: self.tenant(), current, ciphers, keys: self.keys.clone() }
    }

    fn all_keys(&self) -> AllKeys {
        keys::table.filter(keys::tenant_id.eq(self.tenant())).select((keys::number, keys::master_key_id, keys::wrapped))
    }

    /// Unwraps data keys.
    fn ciphers(&self, stored: Vec<StoredKey>) -> Result<HashMap<i32, Cipher>> {
        let cipher = |(number, master, bytes): StoredKey| {
            let key = self.keys.unwrap(&Wrapped { master, bytes }, &owner(self.tenant(), number))?;
            Ok((number, Cipher::new(&key)))
        };
        stored.into_iter().map(cipher).collect()
    }

    /// The tenant's wrapped data keys and their numbers. A transaction that writes reads them with a lock, in order to
    /// get what is committed now and not what was committed when the transaction began.
    pub(super) async fn stored_keys(&mut self) -> Result<Vec<StoredKey>> {
        Ok(match self.is_write() {
            true => for_update(self.all_keys()).get_results(self).await?,
            false => self.all_keys().load(self).await?,
        })
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
    /// As [`ReadTx::unsealer`]. The keys are locked, and read only once in a transaction.
    pub async fn unsealer(&mut self) -> Result<Unsealer> {
        let (tenant, keys) = (self.tenant(), self.keys.clone());
        let LockedKeys { head, ciphers, .. } = self.locked_keys().await?;
        Ok(Unsealer { tenant, current: head.0, ciphers: ciphers.clone(), keys })
    }

    /// Encrypts a value under the tenant's data key.
    pub async fn seal(&mut self, place: Place, plain: &[u8]) -> Result<Sealed> {
        let key = self.data_key(1).await?;
        self.seal_by(&key, place, plain)
    }

    pub(super) fn seal_by(&self, key: &DataKey, place: Place, plain: &[u8]) -> Result<Sealed> {
        let DataKey { number, cipher } = key;
        let sealed = cipher.seal(self.env(), plain, &place.bound_to(self.tenant(), *number))?;
        Ok(Sealed([&header(*number)[..], &sealed].concat()))
    }

    /// The data key to encrypt with, and counts `uses` encryptions with it. Makes a new key if there is none yet, or if
    /// the present one would be used too often.
    pub(super) async fn data_key(&mut self, uses: u32) -> Result<DataKey> {
        let more = i64::from(uses);
        let LockedKeys { head: (number, before), ciphers, .. } = self.locked_keys().await?;
        let is_new = *number == 0 || *before + more > MAX_USES;
        let (number, uses) = if is_new { (*number + 1, more) } else { (*number, *before + more) };
        let key = match (is_new, ciphers.get(&number)) {
            (true, None) => self.new_data_key(number).await?,
            (false, Some(cipher)) => DataKey { number, cipher: cipher.clone() },
            (true, Some(_)) => {
                return Err(Error::Internal(anyhow::anyhow!("there is a data key after the newest one")));
            }
            (false, None) => return Err(Error::Internal(anyhow::anyhow!("the newest data key is missing"))),
        };
        let locked = self.locked_keys().await?;
        locked.ciphers.insert(number, key.cipher.clone());
        (locked.head, locked.is_used) = ((number, uses), true);
        self.keys.metrics().data_key_used(self.tenant().0, more.unsigned_abs(), uses);
        Ok(key)
    }

    /// Locks the tenant's data keys and reads them, unless this transaction has done so already.
    async fn locked_keys(&mut self) -> Result<&mut LockedKeys> {
        let locked = match self.take_locked_keys() {
            Some(locked) => locked,
            None => {
                let head = self.lock_head().await?; // another transaction may be adding a key and sealing rows by it
                let stored = self.stored_keys().await?;
                LockedKeys { tenant: self.tenant(), head, ciphers: self.ciphers(stored)?, is_used: false }
            }
        };
        Ok(self.keep_locked_keys(locked))
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
        for (number, master, bytes) in self.stored_keys().await? {
            let wrapped = Wrapped { master, bytes };
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
        self.flush().await?; // which stores the uses of the present key
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
        self.take_locked_keys();
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
        self.take_locked_keys();
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
