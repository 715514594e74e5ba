//! Checks that the master keys of the settings are those that this database is encrypted under. If a server had another
//! key under the same id, it would make data keys that servers with the right key cannot decrypt, and the other way
//! round. The database therefore stores a check value of each master key. The check value is derived from the key and
//! does not reveal it. It is stored once the key has decrypted a data key. For the active key, it is also stored if
//! there is no data key under its id. It is never stored for a key that does not decrypt the data keys that exist.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::data_keys::owner;
use super::scope::System;
use super::types::TenantId;
use super::{Audited, Db, Execute, ReadTx, RunQueryDsl, WriteTx};
use crate::base::error::{Error, Result};
use crate::base::key_ring::Wrapped;
use crate::db::schema::{data_keys as keys, key_checks as checks};
use diesel::dsl::count_star;
use diesel::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How many data keys are read by one query.
const BATCH: i64 = 500;

/// How long the readiness probe reuses the list of master keys in use.
const LIFETIME: Duration = Duration::from_secs(60);

/// The result of the check of a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This database was encrypted under this key.
    Opens,
    /// The settings have another key under this id.
    DoesNotOpen,
    /// The database has data keys under this id, but the settings have no such key.
    Missing,
    /// Nothing has been encrypted under this key yet.
    Unknown,
}

/// A master key of the settings or of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKeyState {
    pub id: String,
    pub is_active: bool,
    /// How many data keys it wraps.
    pub data_keys: i64,
    /// How many of these data keys cannot be decrypted. Only [`Db::key_status`] tries all of them; otherwise it is 0.
    pub broken: i64,
    pub verdict: Verdict,
    has_check_value: bool,
}

impl Db {
    /// Checks the master keys, and changes nothing.
    pub async fn check_keys(&self) -> Result<Vec<MasterKeyState>> {
        self.read(&System::without_tenant(), async |tx: &mut ReadTx| tx.check_keys().await).await
    }

    /// As [`Self::check_keys`], and stores the missing check values of the keys that are right.
    pub async fn verify_keys(&self) -> Result<Vec<MasterKeyState>> {
        let verify = async |tx: &mut WriteTx| {
            let found = tx.check_keys().await?;
            if found.iter().all(|key| key.verdict != Verdict::DoesNotOpen) {
                tx.keep_check_values(&found).await?;
            }
            Ok(Audited::without_row(found)) // the settings of the server belong to no tenant
        };
        match self.write(&System::without_tenant(), verify).await {
            // Another server that started at the same time has stored its check values first. They are the ones that
            // count.
            Err(Error::Conflict(_)) => self.check_keys().await,
            done => done,
        }
    }

    /// As [`Self::check_keys`], and tries to decrypt every data key.
    pub async fn key_status(&self) -> Result<Vec<MasterKeyState>> {
        let look = async |tx: &mut ReadTx| {
            let mut found = tx.check_keys().await?;
            for key in &mut found {
                key.broken = match key.verdict {
                    Verdict::Missing => key.data_keys,
                    _ => tx.count_broken(&key.id).await?,
                };
            }
            Ok(found)
        };
        self.read(&System::without_tenant(), look).await
    }

    /// Deletes the check values of keys that are not active and wrap no data key. Their ids can then be given to other
    /// keys.
    pub async fn forget_unused_checks(&self) -> Result<()> {
        let delete = async |tx: &mut WriteTx| {
            let found = tx.check_keys().await?;
            let stored: Vec<String> = checks::table.select(checks::master_key_id).load(tx).await?;
            let in_use = |id: &String| found.iter().any(|key| key.id == *id && (key.is_active || key.data_keys > 0));
            for id in stored.into_iter().filter(|id| !in_use(id)) {
                diesel::delete(checks::table.filter(checks::master_key_id.eq(id))).execute(tx).await?;
            }
            Ok(Audited::without_row(())) // the settings of the server belong to no tenant
        };
        self.write(&System::without_tenant(), delete).await
    }
}

impl ReadTx {
    async fn check_keys(&mut self) -> Result<Vec<MasterKeyState>> {
        self.see_all_tenants().await?;
        let stored = checks::table.select((checks::master_key_id, checks::check_value));
        let stored: Vec<(String, Vec<u8>)> = stored.load(self).await?;
        let stored: BTreeMap<String, Vec<u8>> = stored.into_iter().collect();
        let counted = keys::table.group_by(keys::master_key_id).select((keys::master_key_id, count_star()));
        let counted: Vec<(String, i64)> = counted.load(self).await?;
        let mut counted: BTreeMap<String, i64> = counted.into_iter().collect();
        let ring = self.keys.clone();
        let mut found = vec![];
        for id in ring.ids() {
            let (data_keys, value) = (counted.remove(id).unwrap_or_default(), stored.get(id));
            let verdict = match value {
                Some(value) if ring.check_value(id).is_some_and(|own| own[..] == value[..]) => Verdict::Opens,
                Some(_) => Verdict::DoesNotOpen,
                None if data_keys == 0 => Verdict::Unknown,
                None => match self.opens_any(id).await? {
                    true => Verdict::Opens,
                    false => Verdict::DoesNotOpen,
                },
            };
            let (is_active, has_check_value) = (id == ring.active_id(), value.is_some());
            found.push(MasterKeyState { id: id.to_owned(), is_active, data_keys, broken: 0, verdict, has_check_value });
        }
        found.extend(counted.into_iter().map(|(id, data_keys)| MasterKeyState {
            is_active: false,
            data_keys,
            broken: 0,
            verdict: Verdict::Missing,
            has_check_value: stored.contains_key(&id),
            id,
        }));
        Ok(found)
    }

    /// The next data keys under a master key, and whether each can be decrypted.
    async fn try_data_keys(&mut self, id: &str, after: (TenantId, i32)) -> Result<Vec<(TenantId, i32, bool)>> {
        let (tenant, number) = after;
        let is_next = keys::tenant_id.gt(tenant).or(keys::tenant_id.eq(tenant).and(keys::number.gt(number)));
        let next = keys::table.filter(keys::master_key_id.eq(id.to_owned())).filter(is_next);
        let next = next.order((keys::tenant_id.asc(), keys::number.asc())).limit(BATCH);
        let next = next.select((keys::tenant_id, keys::number, keys::wrapped));
        let next: Vec<(TenantId, i32, Vec<u8>)> = next.load(self).await?;
        let ring = self.keys.clone();
        let tried = |(tenant, number, bytes): (TenantId, i32, Vec<u8>)| {
            let wrapped = Wrapped { master: id.to_owned(), bytes };
            (tenant, number, ring.opens(&wrapped, &owner(tenant, number)))
        };
        Ok(next.into_iter().map(tried).collect())
    }

    async fn opens_any(&mut self, id: &str) -> Result<bool> {
        let mut after = (Uuid::nil().into(), 0);
        loop {
            let tried = self.try_data_keys(id, after).await?;
            match tried.last() {
                _ if tried.iter().any(|(.., opens)| *opens) => return Ok(true),
                Some((tenant, number, _)) => after = (*tenant, *number),
                None => return Ok(false),
            }
        }
    }

    async fn count_broken(&mut self, id: &str) -> Result<i64> {
        let (mut after, mut count) = ((Uuid::nil().into(), 0), 0);
        loop {
            let tried = self.try_data_keys(id, after).await?;
            count += i64::try_from(tried.iter().filter(|(.., opens)| !opens).count()).unwrap_or(i64::MAX);
            match tried.last() {
                Some((tenant, number, _)) => after = (*tenant, *number),
                None => return Ok(count),
            }
        }
    }
}

impl WriteTx {
    async fn keep_check_values(&mut self, found: &[MasterKeyState]) -> Result<()> {
        let ring = self.keys.clone();
        for key in found.iter().filter(|key| !key.has_check_value) {
            let is_proven = key.verdict == Verdict::Opens || (key.verdict == Verdict::Unknown && key.is_active);
            let Some(value) = ring.check_value(&key.id).filter(|_| is_proven) else { continue };
            let row = (
                checks::master_key_id.eq(key.id.clone()),
                checks::check_value.eq(value.to_vec()),
                checks::created_at.eq(self.now()),
            );
            diesel::insert_into(checks::table).values(row).execute(self).await?;
        }
        Ok(())
    }
}

/// Checks for the readiness probe whether the master keys still decrypt the data keys. It puts little load on the
/// database: each check reads only the check values. The list of the master keys in use is read once a minute, and when
/// a value did not decrypt.
#[derive(Clone)]
pub struct KeyWatch {
    db: Db,
    last: Arc<Mutex<Option<Scan>>>,
}

#[derive(Debug, Clone)]
struct Scan {
    at: Instant,
    /// The number of sealed values that had failed to decrypt at the time of the scan.
    failures: u64,
    /// The ids of master keys that are in use, but missing in the settings.
    missing: Vec<String>,
}

impl KeyWatch {
    pub fn new(db: Db) -> Self {
        Self { db, last: Arc::default() }
    }

    /// The ids of the master keys that do not decrypt the data keys: the settings have another key under the id, or
    /// none.
    pub async fn find_faults(&self) -> Result<Vec<String>> {
        let stored = checks::table.select((checks::master_key_id, checks::check_value));
        let query = async |tx: &mut ReadTx| Ok(stored.load(tx).await?);
        let stored: Vec<(String, Vec<u8>)> = self.db.read(&System::probe(), query).await?;
        let ring = &self.db.keys;
        let is_other = |(id, value): &(String, Vec<u8>)| ring.check_value(id).is_some_and(|own| own[..] != value[..]);
        let mut faults: Vec<String> = stored.into_iter().filter(is_other).map(|(id, _)| id).collect();
        faults.extend(self.missing().await?);
        Ok(faults)
    }

    async fn missing(&self) -> Result<Vec<String>> {
        let failures = self.db.keys.metrics().unsealing_failures.get();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(); // a scan is stored as a whole
        if let Some(last) = last.filter(|last| last.failures == failures && last.at.elapsed() < LIFETIME) {
            return Ok(last.missing);
        }
        let query = async |tx: &mut ReadTx| {
            tx.see_all_tenants().await?;
            Ok(keys::table.select(keys::master_key_id).distinct().load(tx).await?)
        };
        let in_use: Vec<String> = self.db.read(&System::probe(), query).await?;
        let is_known = |id: &String| self.db.keys.ids().any(|known| known == id);
        let missing: Vec<String> = in_use.into_iter().filter(|id| !is_known(id)).collect();
        let scan = Scan { at: Instant::now(), failures, missing: missing.clone() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(scan);
        Ok(missing)
    }
}
