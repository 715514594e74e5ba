//! What a server verifies and says in its log before it serves.
use super::{Parts, check};
use anyhow::Context;

impl Parts {
    /// Refuses master keys that don't open what is in the database, before anything is encrypted under them; see
    /// [`crate::db::key_checks`].
    pub async fn verify_keys(&self) -> anyhow::Result<()> {
        let found = self.db.verify_keys().await.context("the encryption keys can't be verified")?;
        check::refuse_wrong_keys(&found)?;
        let ids = found.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
        tracing::info!(key.ids = ids, "The encryption keys are those of this database");
        Ok(())
    }

    /// Says in the log what is unusual about how the database searches.
    pub async fn probe_search(&self) {
        if let Err(error) = self.db.folding().await {
            tracing::warn!(?error, "The database can't be asked how it folds letters");
        }
    }

    /// Row-level security is the third wall between tenants on PostgreSQL: say so if it does not stand.
    pub async fn warn_of_powerful_role(&self) {
        match self.db.bypasses_row_security().await {
            Ok(false) => {}
            Ok(true) => tracing::warn!("The database role is a superuser or has BYPASSRLS: row-level security is off"),
            Err(error) => tracing::warn!(?error, "The database role can't be looked at"),
        }
    }

    /// A server whose Redis user lacks rights goes on by itself, which nobody would notice. `/readyz` says so too.
    pub async fn warn_of_missing_rights(&self) {
        let Some(redis) = &self.redis else { return };
        if let Ok(Some(rights)) = redis.missing_rights().await {
            tracing::warn!(redis.missing_rights = rights, "The Redis user has not all rights that the server needs");
        }
    }
}
