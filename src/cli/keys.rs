//! `bizcenter keys`: lists the master keys and changes from one to another.
use super::{print, progress};
use crate::app;
use crate::app::Parts;
use crate::base::env::Env;
use crate::base::error::Result as DbResult;
use crate::config::Config;
use crate::db::key_checks::{MasterKeyState, Verdict};
use crate::db::rotation::Rotated;
use crate::db::types::TenantId;
use crate::resources::RECORDS;
use anyhow::{Context, bail};
use indicatif::ProgressBar;
use std::collections::BTreeSet;

pub async fn rotate(config: Config, with_data: bool) -> anyhow::Result<()> {
    let parts = super::connect(&config).await?;
    let no_answer = "the database does not answer";
    let found = parts.db.check_keys().await.context(no_answer)?;
    let missing: Vec<_> = found.iter().filter(|key| key.verdict == Verdict::Missing).map(|key| &*key.id).collect();
    if !missing.is_empty() {
        bail!("there are data keys under {}, which the settings lack: nothing was changed", missing.join(", "));
    }
    let tenants = parts.db.tenants().await.context(no_answer)?;
    let mut failed = Failed::default();
    let done = wrap(&parts, &tenants, &mut failed).await;
    let jobs = parts.db.seal_jobs_anew().await.context("the waiting jobs could not be sealed anew")?;
    let (active, Rotated { wrapped, answers }) = (&config.encryption.active, done);
    print(&format!(
        "{active} now encrypts {wrapped} more data keys, {answers} stored answers and {jobs} waiting jobs\n"
    ))?;
    let mut not_renewed = Failed::default();
    if with_data {
        let mut count = 0;
        for tenant in &tenants {
            count += parts.db.count_sealed(*tenant, &RECORDS.sealed()).await.context(no_answer)?;
        }
        renew(&parts, &tenants, count, &mut not_renewed).await;
        if not_renewed.0.is_empty() {
            print(&format!("{count} values are encrypted under data keys that were made under {active}\n"))?;
        }
    }
    match (failed.0.len(), not_renewed.0.len()) {
        (0, 0) => parts.db.forget_unused_checks().await.context(no_answer),
        (0, count) => bail!(
            "{active} encrypts all data keys, but in {count} of {} tenants values are still encrypted under old ones",
            tenants.len()
        ),
        (count, _) => bail!("{count} of {} tenants are not done: keep the old key", tenants.len()),
    }
}

/// Prints the master keys. Fails if something does not open.
pub async fn status(config: Config) -> anyhow::Result<()> {
    let parts = app::connect(&config, Env::real()).await?;
    let found = parts.db.key_status().await.context("the database does not answer")?;
    print(&table(&found))?;
    let is_faulty =
        |key: &&MasterKeyState| key.broken > 0 || matches!(key.verdict, Verdict::DoesNotOpen | Verdict::Missing);
    let faulty: Vec<_> = found.iter().filter(is_faulty).map(|key| &*key.id).collect();
    match faulty.is_empty() {
        true => Ok(()),
        false => bail!("not all opens that is encrypted under {}", faulty.join(", ")),
    }
}

fn table(found: &[MasterKeyState]) -> String {
    let width = found.iter().map(|key| key.id.len()).max().unwrap_or_default();
    let line = |MasterKeyState { id, is_active, data_keys, broken, verdict, .. }: &MasterKeyState| {
        let active = if *is_active { "active" } else { "" };
        let keys = if *data_keys == 1 { "data key" } else { "data keys" };
        let verdict = match verdict {
            Verdict::Opens if *broken > 0 => format!("opens all but {broken} of them"),
            Verdict::Opens => "opens".to_owned(),
            Verdict::DoesNotOpen => "does not open: the settings have another key under this id".to_owned(),
            Verdict::Missing => "does not open: the settings have no such key".to_owned(),
            Verdict::Unknown => "unknown: nothing was encrypted under it yet".to_owned(),
        };
        format!("{id:width$}  {active:6}  {data_keys:>8} {keys}  {verdict}\n")
    };
    found.iter().map(line).collect()
}

async fn wrap(parts: &Parts, tenants: &[TenantId], failed: &mut Failed) -> Rotated {
    let (bar, mut done) = (progress(tenants.len() as u64, "tenants"), Rotated::default());
    for tenant in tenants {
        if let Some(Rotated { wrapped, answers }) =
            failed.note(&bar, *tenant, parts.db.rotate_tenant(*tenant, &parts.checkpoint_key).await)
        {
            done.wrapped += wrapped;
            done.answers += answers;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    done
}

async fn renew(parts: &Parts, tenants: &[TenantId], count: u64, failed: &mut Failed) {
    let bar = progress(count, "values");
    for tenant in tenants {
        let seen = |count| bar.inc(count as u64);
        failed.note(&bar, *tenant, parts.db.renew_data(*tenant, &RECORDS.sealed(), seen).await);
    }
    bar.finish_and_clear();
}

/// The tenants for which the command failed.
#[derive(Default)]
struct Failed(BTreeSet<TenantId>);

impl Failed {
    /// Prints what is wrong with a tenant and remembers the tenant, so that the command can go on with the others.
    fn note<T>(&mut self, bar: &ProgressBar, tenant: TenantId, result: DbResult<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.0.insert(tenant);
                bar.suspend(|| eprintln!("bizcenter: tenant {tenant}: {error:?}"));
            })
            .ok()
    }
}
