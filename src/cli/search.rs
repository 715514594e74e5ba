//! `bizcenter search`.
use super::{print, progress, tenants};
use crate::app;
use crate::base::env::Env;
use crate::config::Config;
use crate::resources::search;
use anyhow::Context;

pub async fn rebuild(config: Config, slug: Option<String>) -> anyhow::Result<()> {
    let parts = app::connect(&config, Env::real()).await?;
    let tenants = tenants(&parts, slug).await?;
    let (bar, mut count) = (progress(tenants.len() as u64, "tenants"), 0);
    for tenant in &tenants {
        let seen = |records: usize| {
            count += records;
            bar.set_message(format!("{count} records"));
        };
        let done = search::rebuild(&parts.db, *tenant, seen).await;
        done.with_context(|| format!("tenant {tenant} is not done"))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Err(error) = parts.db.refresh_statistics().await {
        tracing::warn!(?error, "PostgreSQL has no statistics of the new rows yet"); // it collects them itself, later
    }
    print(&format!("{count} records of {} tenants are indexed\n", tenants.len()))
}
