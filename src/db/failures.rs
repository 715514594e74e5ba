//! Work in all tenants, where one that fails must not cost the others their turn.
use super::types::TenantId;
use crate::base::error::{Error, Result};

/// In how many tenants something failed.
#[must_use]
pub struct Failures {
    what: &'static str,
    count: usize,
}

impl Failures {
    /// `what` is to be done, as the log is to say it.
    pub fn of(what: &'static str) -> Self {
        Self { what, count: 0 }
    }

    /// Logs what went wrong in a tenant.
    pub fn note(&mut self, tenant: TenantId, result: Result<()>) {
        if let Err(error) = result {
            self.count += 1;
            tracing::error!(?error, tenant.id = %tenant, "{} failed for a tenant", self.what);
        }
    }

    /// Whether all went well.
    pub fn end(self) -> Result<()> {
        match self.count {
            0 => Ok(()),
            count => Err(Error::Internal(anyhow::anyhow!("{} failed for {count} tenants", self.what))),
        }
    }
}
