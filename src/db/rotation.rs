//! Rotation of the master key: data keys and whatever else it encrypted are encrypted anew under the active one, while the
//! servers run. Everything here may be stopped at any point and begun again.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::audit_chain::CheckpointKey;
use super::directory::Server;
use super::types::TenantId;
use super::{Action, Audited, Changes, Db, WriteTx};
use crate::error::Result;
use crate::schema::data_keys as keys;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// What a rotation did in one tenant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Data keys that were wrapped anew.
    pub wrapped: usize,
    /// Stored answers that were sealed anew.
    pub answers: usize,
}

impl Db {
    /// Encrypts a tenant's data keys, stored answers and checkpoint under the active master key.
    pub async fn rotate_tenant(&self, tenant: TenantId, key: &CheckpointKey) -> Result<Rotated> {
        let wrapped = self.write(&Server::of(tenant), async |tx: &mut WriteTx| tx.wrap_anew().await).await?;
        self.sign_anew(tenant, key).await?;
        Ok(Rotated { wrapped, answers: self.seal_answers_anew(tenant).await? })
    }
}

impl WriteTx {
    async fn wrap_anew(&mut self) -> Result<Audited<usize>> {
        let old = self.old_wrappings().await?;
        for (number, wrapped) in &old {
            let row = keys::table.filter(keys::tenant_id.eq(self.tenant())).filter(keys::number.eq(*number));
            let anew = (keys::wrapped.eq(wrapped.bytes.clone()), keys::master_key_id.eq(wrapped.master.clone()));
            diesel::update(row).set(anew).execute(self.conn()).await?;
        }
        let tenant = self.tenant();
        match old.len() {
            0 => Ok(Audited::without_row(0)), // nothing was changed
            count => Ok(self.audit(Action::KeyRotate, tenant, Changes::none()).await?.with(count)),
        }
    }
}
