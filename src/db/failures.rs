//! Counts failures of work in all tenants. A failure in one tenant must not keep the work from being done in the
//! others.
use super::types::TenantId;
use crate::base::error::{Error, Result};

/// The number of tenants for which the work failed.
#[must_use]
pub struct Failures {
    what: &'static str,
    count: usize,
}

impl Failures {
    /// `what` names the work in log messages.
    pub fn of(what: &'static str) -> Self {
        Self { what, count: 0 }
    }

    /// Logs and counts a failure in a tenant.
    pub fn note(&mut self, tenant: TenantId, result: Result<()>) {
        if let Err(error) = result {
            self.count += 1;
            tracing::error!(?error, tenant.id = %tenant, "{} failed for a tenant", self.what);
        }
    }

    /// Fails if the work failed in any tenant.
    pub fn end(self) -> Result<()> {
        match self.count {
            0 => Ok(()),
            count => Err(Error::Internal(anyhow::anyhow!("{} failed for {count} tenants", self.what))),
        }
    }
}
