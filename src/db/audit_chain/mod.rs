//! Seals the audit log. Each tenant's rows form a chain in which every hash covers the one before it, so that a row
//! that was edited or removed is detected. Writers do not wait for one another, because the rows are sealed in batches
//! by a job after they were committed. When old rows are pruned, a signed checkpoint takes their place.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
mod head;
mod row;
mod verify;

pub use head::{CheckpointKey, Head, KnownHead};
pub use verify::Verification;

use super::error::Constraint;
use super::failures::Failures;
use super::jobs::{Job, JobContext};
use super::scope::System;
use super::sql::for_update;
use super::types::{Instant, TenantId};
use super::{Audited, Db, Execute, ReadTx, RunQueryDsl, WriteTx};
use crate::base::error::{Error, Result};
use crate::db::schema::{audit_heads as heads, audit_logs as logs};
use chrono::Duration;
use diesel::prelude::*;
use head::Hash;
use row::Row;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// The log target of the heads of the chains. It is a target of its own, so that operators can keep the heads whatever
/// else they log.
pub const HEADS: &str = "bizcenter::audit_heads";

const BATCH: i64 = 500;
/// The longest time for sealing a batch. If it takes longer, another transaction holds a lock, and the other tenants
/// must not wait for that.
const BATCH_TIME: std::time::Duration = std::time::Duration::from_secs(5);
/// The member that a conflict names if another server has inserted the first head of a tenant at the same time.
const HEAD: &str = "head";

/// Seals the rows that are not sealed yet, in all tenants.
#[derive(Default, Serialize, Deserialize)]
pub struct SealAudit {}

impl Job for SealAudit {
    const KIND: &'static str = "seal_audit";
    /// The lease is short: if the sealing server dies, rows stay unsealed until the lease expires.
    const LEASE: std::time::Duration = std::time::Duration::from_secs(30);
    type Needs = Db;

    async fn run(self, _: JobContext, db: Db) -> Result<()> {
        db.seal_audit().await
    }
}

/// Prunes rows that are older than the retention time, in all tenants.
#[derive(Default, Serialize, Deserialize)]
pub struct PruneAudit {}

/// How long rows are kept, and the key that signs the checkpoint in the place of pruned rows.
#[derive(Clone)]
pub struct Retention {
    pub db: Db,
    pub kept: Duration,
    pub key: CheckpointKey,
}

impl Job for PruneAudit {
    const KIND: &'static str = "prune_audit";
    type Needs = Retention;

    async fn run(self, _: JobContext, Retention { db, kept, key }: Retention) -> Result<()> {
        db.prune_audit(kept, &key).await
    }
}

/// The beginning and the end of a tenant's chain, as they are stored in the database.
struct Ends {
    head: Head,
    checkpoint: Head,
    mac: Vec<u8>,
}

impl Ends {
    /// Whether the checkpoint has a valid signature, or there is no checkpoint.
    fn is_signed(&self, tenant: TenantId, key: &CheckpointKey) -> bool {
        self.checkpoint.seq == 0 || key.has_signed(tenant, self.checkpoint, &self.mac)
    }
}

/// Bytes of a wrong length become a hash of zeros, which matches no row.
fn hash(bytes: Vec<u8>) -> Hash {
    bytes.try_into().unwrap_or_default()
}

async fn ends(tx: &mut ReadTx) -> Result<Option<Ends>> {
    type Columns = (i64, Vec<u8>, i64, Vec<u8>, Vec<u8>);
    let row = heads::table.filter(heads::tenant_id.eq(tx.tenant())).select((
        heads::seq,
        heads::hash,
        heads::checkpoint_seq,
        heads::checkpoint_hash,
        heads::checkpoint_mac,
    ));
    let row: Option<Columns> = row.first(tx).await.optional()?;
    let Some((seq, head, checkpoint_seq, checkpoint, mac)) = row else { return Ok(None) };
    let head = Head { seq, hash: hash(head) };
    Ok(Some(Ends { head, checkpoint: Head { seq: checkpoint_seq, hash: hash(checkpoint) }, mac }))
}

impl Db {
    /// Seals all committed rows, and logs the new head of each chain.
    pub async fn seal_audit(&self) -> Result<()> {
        let mut failures = Failures::of("Sealing the audit log");
        for tenant in self.tenants_with_unsealed().await? {
            failures.note(tenant, self.seal_tenant(tenant).await);
        }
        failures.end()
    }

    async fn seal_tenant(&self, tenant: TenantId) -> Result<()> {
        loop {
            let sealed = timeout(BATCH_TIME, self.seal_batch(tenant)).await;
            let Some(head) = sealed.map_err(|late| Error::Unavailable(late.into()))?? else { return Ok(()) };
            let head = KnownHead { tenant, head };
            tracing::info!(target: HEADS, { audit.head = %head }, "Audit log sealed");
        }
    }

    /// Reads the rows of all tenants.
    async fn tenants_with_unsealed(&self) -> Result<Vec<TenantId>> {
        let query = async |tx: &mut ReadTx| {
            tx.see_all_tenants().await?;
            let unsealed = logs::table.filter(logs::seq.is_null()).select(logs::tenant_id).distinct();
            Ok(unsealed.load(tx).await?)
        };
        self.read(&System::without_tenant(), query).await
    }

    /// Seals a batch of rows at most, and returns the new head. `None` if there was nothing to seal.
    async fn seal_batch(&self, tenant: TenantId) -> Result<Option<Head>> {
        let seal = async |tx: &mut WriteTx| {
            let tenant = tx.tenant();
            let of_tenant = heads::table.filter(heads::tenant_id.eq(tenant)).select(heads::tenant_id);
            let locked: Option<TenantId> = for_update(of_tenant).get_result(tx).await.optional()?;
            let mut head = match ends(tx).await? {
                Some(Ends { head, .. }) => head,
                None => Head::EMPTY,
            };
            let rows = logs::table.filter(logs::tenant_id.eq(tenant)).filter(logs::seq.is_null());
            let rows = rows.order((logs::seq, logs::at, logs::id)).limit(BATCH).select(Row::as_select());
            let rows: Vec<Row> = rows.load(tx).await?;
            if rows.is_empty() {
                return Ok(Audited::without_row(None));
            }
            if locked.is_none() {
                let row = (
                    heads::tenant_id.eq(tenant),
                    heads::seq.eq(head.seq),
                    heads::hash.eq(head.hash.to_vec()),
                    heads::checkpoint_seq.eq(0),
                    heads::checkpoint_hash.eq(Head::EMPTY.hash.to_vec()),
                    heads::checkpoint_mac.eq(vec![]), // nothing was pruned
                );
                diesel::insert_into(heads::table).values(row).execute(tx).await.taken(HEAD)?;
            }
            for row in &rows {
                head = row.sealed(tenant, head);
                let sealed = (logs::seq.eq(head.seq), logs::hash.eq(head.hash.to_vec()));
                let row = logs::table.filter(logs::tenant_id.eq(tenant)).filter(logs::id.eq(row.id));
                diesel::update(row).set(sealed).execute(tx).await?;
            }
            let end = (heads::seq.eq(head.seq), heads::hash.eq(head.hash.to_vec()));
            diesel::update(heads::table.filter(heads::tenant_id.eq(tenant))).set(end).execute(tx).await?;
            Ok(Audited::without_row(Some(head))) // audit rows about sealing would need to be sealed in turn
        };
        match self.write(&System::of(tenant), seal).await {
            // Another server is sealing the first rows of this tenant.
            Err(Error::Conflict(detail)) if detail.0.contains_key(HEAD) => Ok(None),
            Err(Error::Conflict(_)) => {
                let cause = "rows after the head are sealed already, as if it was set back: verify the audit log";
                Err(Error::Internal(anyhow::anyhow!(cause)))
            }
            sealed => sealed,
        }
    }

    /// Signs a tenant's checkpoint again, with the active key. Nothing happens if its present signature is not valid.
    pub(super) async fn sign_anew(&self, tenant: TenantId, key: &CheckpointKey) -> Result<()> {
        let sign = async |tx: &mut WriteTx| {
            let tenant = tx.tenant();
            let of_tenant = heads::table.filter(heads::tenant_id.eq(tenant)).select(heads::tenant_id);
            let _: Option<TenantId> = for_update(of_tenant).get_result(tx).await.optional()?;
            let cut = ends(tx).await?.filter(|ends| ends.checkpoint.seq > 0 && ends.is_signed(tenant, key));
            if let Some(Ends { checkpoint, .. }) = cut {
                let signed = heads::checkpoint_mac.eq(key.sign(tenant, checkpoint).to_vec());
                diesel::update(heads::table.filter(heads::tenant_id.eq(tenant))).set(signed).execute(tx).await?;
            }
            Ok(Audited::without_row(())) // the checkpoint itself is unchanged
        };
        self.write(&System::of(tenant), sign).await
    }

    /// Prunes the sealed rows of all tenants that are older than `kept`, and signs a checkpoint in their place.
    pub async fn prune_audit(&self, kept: Duration, key: &CheckpointKey) -> Result<()> {
        let mut failures = Failures::of("Pruning the audit log");
        for tenant in self.tenants().await? {
            failures.note(tenant, self.prune_tenant(tenant, kept, key).await);
        }
        failures.end()
    }

    async fn prune_tenant(&self, tenant: TenantId, kept: Duration, key: &CheckpointKey) -> Result<()> {
        while self.prune_batch(tenant, kept, key).await? {}
        Ok(())
    }

    async fn prune_batch(&self, tenant: TenantId, kept: Duration, key: &CheckpointKey) -> Result<bool> {
        let prune = async |tx: &mut WriteTx| {
            let (tenant, cutoff) = (tx.tenant(), Instant::from(tx.now().0 - kept));
            let of_tenant = heads::table.filter(heads::tenant_id.eq(tenant)).select(heads::tenant_id);
            let locked: Option<TenantId> = for_update(of_tenant).get_result(tx).await.optional()?;
            let Some(ends) = ends(tx).await?.filter(|_| locked.is_some()) else {
                return Ok(Audited::without_row(false));
            };
            // Only the beginning of a chain is pruned, so that the first row that is kept ends the pruning. A row that
            // differs from what was sealed is not pruned either, because the signature of the checkpoint would then
            // confirm the change.
            let next = logs::table
                .filter(logs::tenant_id.eq(tenant).and(logs::seq.gt(ends.checkpoint.seq)))
                .order(logs::seq.asc())
                .limit(BATCH)
                .select(Row::as_select());
            let next: Vec<Row> = next.load(tx).await?;
            let mut is_whole = ends.is_signed(tenant, key);
            let mut checkpoint = ends.checkpoint;
            for row in next.iter().take_while(|row| row.at < cutoff) {
                let sealed = row.sealed(tenant, checkpoint);
                if row.seq != Some(sealed.seq) || row.hash.as_deref() != Some(&sealed.hash[..]) {
                    is_whole = false;
                    break;
                }
                checkpoint = sealed;
            }
            if !is_whole {
                tracing::error!(tenant.id = %tenant, "The audit log is not pruned, as it was tampered with: verify it");
                return Ok(Audited::without_row(false));
            }
            if checkpoint == ends.checkpoint {
                return Ok(Audited::without_row(false));
            }
            let seq = checkpoint.seq;
            let pruned = logs::table.filter(logs::tenant_id.eq(tenant)).filter(logs::seq.le(seq));
            diesel::delete(pruned).execute(tx).await?;
            let signed = (
                heads::checkpoint_seq.eq(seq),
                heads::checkpoint_hash.eq(checkpoint.hash.to_vec()),
                heads::checkpoint_mac.eq(key.sign(tenant, checkpoint).to_vec()),
            );
            diesel::update(heads::table.filter(heads::tenant_id.eq(tenant))).set(signed).execute(tx).await?;
            tracing::info!(tenant.id = %tenant, audit.checkpoint = %checkpoint, "Audit log pruned");
            Ok(Audited::without_row(true)) // the checkpoint records the pruning
        };
        self.write(&System::of(tenant), prune).await
    }
}
