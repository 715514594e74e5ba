//! Verifies that a chain is complete and unchanged.
use super::head::{CheckpointKey, Head};
use super::row::Row;
use super::{BATCH, Ends, ends, hash};
use crate::base::error::Result;
use crate::db::schema::audit_logs as logs;
use crate::db::scope::System;
use crate::db::types::TenantId;
use crate::db::{Db, ReadTx, RunQueryDsl};
use diesel::prelude::*;

/// The result of verifying a tenant's chain.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verification {
    pub checked: i64,
    pub unsealed: i64,
    pub head: Option<Head>,
    /// Descriptions of what is wrong, for an operator.
    pub problems: Vec<String>,
}

impl Db {
    /// Recomputes a tenant's chain. `known` are heads that were logged earlier: if one of them is not in the chain, the
    /// end was cut off or the chain was rewritten.
    pub async fn verify_audit(&self, tenant: TenantId, known: &[Head], key: &CheckpointKey) -> Result<Verification> {
        // Everything is read in one snapshot, because rows may be sealed and pruned at the same time.
        let look = async |tx: &mut ReadTx| {
            let unsealed = logs::table.filter(logs::tenant_id.eq(tx.tenant())).filter(logs::seq.is_null());
            let unsealed = unsealed.count().get_result(tx).await?;
            let mut chain = Chain::begin(tenant, ends(tx).await?, known, key);
            loop {
                let rows = logs::table.filter(logs::tenant_id.eq(tx.tenant())).filter(logs::seq.gt(chain.at.seq));
                let rows = rows.order(logs::seq.asc()).limit(BATCH).select(Row::as_select());
                let rows: Vec<Row> = rows.load(tx).await?;
                if rows.is_empty() {
                    return Ok(chain.end(unsealed));
                }
                rows.into_iter().for_each(|row| chain.check(&row));
            }
        };
        self.read(&System::of(tenant), look).await
    }
}

/// The state of a verification that goes from the checkpoint of a chain to its head.
struct Chain {
    tenant: TenantId,
    at: Head,
    head: Head,
    /// Heads that were logged and have not been found yet.
    missing: Vec<Head>,
    checked: i64,
    problems: Vec<String>,
}

impl Chain {
    fn begin(tenant: TenantId, ends: Option<Ends>, known: &[Head], key: &CheckpointKey) -> Self {
        let mut problems = vec![];
        let (head, at) = match ends {
            Some(ends) => {
                if !ends.is_signed(tenant, key) {
                    problems.push(format!("the checkpoint {} has no valid signature", ends.checkpoint));
                }
                (ends.head, ends.checkpoint)
            }
            None => (Head::EMPTY, Head::EMPTY),
        };
        // Heads before the checkpoint cannot be checked any more, because their rows were pruned.
        let missing = known.iter().copied().filter(|known| *known != at && known.seq >= at.seq).collect();
        Self { tenant, at, head, missing, checked: 0, problems }
    }

    fn check(&mut self, row: &Row) {
        let (seq, stored) = (row.seq.unwrap_or_default(), hash(row.hash.clone().unwrap_or_default()));
        if seq != self.at.seq + 1 {
            self.problems.push(format!("rows {} to {} were removed", self.at.seq + 1, seq - 1));
        } else if row.sealed(self.tenant, self.at).hash != stored {
            self.problems.push(format!("row {seq} ({}) was edited", row.id));
        }
        self.at = Head { seq, hash: stored }; // go on from the stored hash, so that a fault is reported only once
        self.missing.retain(|known| *known != self.at);
        self.checked += 1;
    }

    fn end(self, unsealed: i64) -> Verification {
        let Self { tenant: _, at, head, missing, checked, mut problems } = self;
        if at != head {
            problems
                .push(format!("the chain ends at {at}, and was sealed up to {head}: its end was cut off or edited"));
        }
        let logged = "which was logged, is not in the chain: its end was cut off, or it was rewritten";
        problems.extend(missing.into_iter().map(|known| format!("{known}, {logged}")));
        Verification { checked, unsealed, head: Some(at).filter(|at| at.seq > 0), problems }
    }
}
