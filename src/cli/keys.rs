//! `bizcenter keys rotate`.
use super::print;
use crate::app;
use crate::config::Config;
use crate::db::rotation::Rotated;
use crate::infra::world::World;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

pub async fn rotate(config: Config) -> anyhow::Result<()> {
    let parts = app::connect(&config, World::real()).await?;
    let tenants = parts.db.tenants().await.context("the database does not answer")?;
    let bar = progress(tenants.len(), "tenants");
    let (mut done, mut failed) = (Rotated::default(), 0);
    for tenant in &tenants {
        match parts.db.rotate_tenant(*tenant, &parts.checkpoint_key).await {
            Ok(Rotated { wrapped, answers }) => {
                done.wrapped += wrapped;
                done.answers += answers;
            }
            Err(error) => {
                failed += 1;
                bar.suspend(|| eprintln!("bizcenter: tenant {tenant}: {error:?}"));
            }
        }
        bar.inc(1);
    }
    let jobs = parts.db.seal_jobs_anew().await.context("the waiting jobs could not be sealed anew")?;
    bar.finish_and_clear();
    let (active, Rotated { wrapped, answers }) = (&config.encryption.active, done);
    print(&format!(
        "{active} now encrypts {wrapped} more data keys, {answers} stored answers and {jobs} waiting jobs\n"
    ))?;
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {} tenants are not done: keep the old key", tenants.len()),
    }
}

/// A bar on standard error; none where that is no terminal.
fn progress(length: usize, what: &str) -> ProgressBar {
    let template = format!("{{bar:40}} {{pos}} of {{len}} {what}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}
