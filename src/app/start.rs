//! Checks and warnings before a server serves.
use super::{Parts, check};
use anyhow::Context;

impl Parts {
    /// Fails if a master key does not open what is in the database, before anything is encrypted under it. See
    /// [`crate::db::key_checks`].
    pub async fn verify_keys(&self) -> anyhow::Result<()> {
        let found = self.db.verify_keys().await.context("the encryption keys can't be verified")?;
        check::refuse_wrong_keys(&found)?;
        let ids = found.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
        tracing::info!(key.ids = ids, "The encryption keys are those of this database");
        Ok(())
    }

    /// Logs what is unusual about how the database folds letters in searches.
    pub async fn probe_search(&self) {
        if let Err(error) = self.db.folding().await {
            tracing::warn!(?error, "The database can't be asked how it folds letters");
        }
    }

    /// Logs a warning if row-level security has no effect. On PostgreSQL it is the third barrier between tenants.
    pub async fn warn_of_powerful_role(&self) {
        match self.db.bypasses_row_security().await {
            Ok(false) => {}
            Ok(true) => tracing::warn!("The database role is a superuser or has BYPASSRLS: row-level security is off"),
            Err(error) => tracing::warn!(?error, "The database role can't be looked at"),
        }
    }

    /// Logs a warning if the Redis user lacks rights, because the server then works without Redis and nobody would
    /// notice. `/readyz` reports it too.
    pub async fn warn_of_missing_rights(&self) {
        let Some(redis) = &self.redis else { return };
        if let Ok(Some(rights)) = redis.missing_rights().await {
            tracing::warn!(redis.missing_rights = rights, "The Redis user has not all rights that the server needs");
        }
    }
}
