//! `bizcenter seed`: makes tenants to try things on, with people of each role and as many records as are asked for.
//!
//! Words and dates are derived from `--seed` and the clock; ids and the password are random. The kinds of records
//! define what can be made (`demo` in their declarations). Each kind has an option of its own.
mod people;

use super::{SeedArgs, print, prompt};
use crate::api::demo::{Company, Demo, Person, Places};
use crate::app;
use crate::app::Parts;
use crate::base::password::Password;
use crate::base::queue::Claimant;
use crate::config::Config;
use crate::db::{WriteTx, migrations};
use crate::resources::{RECORDS, search};
use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// How many records of a kind are stored in one statement. The rows that belong to them are stored in the same
/// transaction.
const BATCH: u64 = 1000;

/// The greatest number of records of a kind for one tenant.
const MAX_AMOUNT: u64 = 10_000_000;

/// How many records of each kind a tenant gets, in the order in which they are made. The audit log of the tenant has
/// these numbers. People are not among them, because they are few and are made with their tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amounts(Vec<(&'static str, u64)>);

impl Amounts {
    fn of(&self, demo: &Demo) -> u64 {
        self.0.iter().find(|(name, _)| *name == demo.name).map_or(0, |(_, amount)| *amount)
    }

    fn as_json(&self) -> Value {
        self.0.iter().map(|(name, amount)| (*name, *amount)).collect()
    }
}

impl clap::Args for Amounts {
    fn augment_args(command: Command) -> Command {
        let option = |demo: Demo| {
            let number = clap::value_parser!(u64).range(..=MAX_AMOUNT);
            let option = Arg::new(demo.name).long(demo.name).value_name("COUNT").help(demo.help);
            option.default_value(demo.usual).value_parser(number)
        };
        command.args(RECORDS.demos().into_iter().map(option))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Amounts {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let amount = |demo: Demo| (demo.name, matches.get_one(demo.name).copied().unwrap_or_default());
        Ok(Self(RECORDS.demos().into_iter().map(amount).collect()))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub async fn run(config: Config, args: SeedArgs) -> anyhow::Result<()> {
    let SeedArgs { tenants, users, amounts, seed, no_search, yes, password_stdin } = args;
    let question = format!("This is {}. Fill it with invented tenants (yes/no)", config.environment);
    if !config.environment.is_development() && !yes && !prompt::confirm("--yes", &question)? {
        bail!("nothing was made");
    }
    migrations::up(&app::target(&config)?).await?;
    let parts = super::connect(&config).await?;
    let password = match password_stdin {
        true => prompt::password(true)?,
        false => Password::new(&BASE64.encode(parts.env.random_bytes::<15>())),
    };
    // All people get one hash, because a hash takes a third of a second. It reveals only that they have the same
    // password, which this command says as well.
    let hash = parts.credentials.hash(Claimant::server(), &password).await?;
    let each: u64 = amounts.0.iter().map(|(_, amount)| amount).sum();
    let progress = ProgressBar::new(each * u64::from(tenants)); // shown at a terminal only
    progress.set_style(ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}, {per_sec}, {eta} left")?);
    let mut made = vec![];
    for tenant in 0..tenants {
        let company = people::company(&parts, &amounts, [seed, tenant.into()], users, &hash).await?;
        let filled = fill(&parts, &company, &amounts, &progress).await;
        filled.with_context(|| format!("tenant {} stays incomplete", company.slug))?;
        if !no_search {
            let indexed = search::rebuild(&parts.db, company.id, |_| {}).await;
            indexed.with_context(|| format!("tenant {} can't be searched: bizcenter search rebuild", company.slug))?;
        }
        made.push(company);
    }
    if let Err(error) = parts.db.refresh_statistics().await {
        tracing::warn!(?error, "PostgreSQL has no statistics of the new rows yet"); // it collects them itself, later
    }
    progress.finish_and_clear();
    print(&summary(&made, &amounts, &password, password_stdin))
}

async fn fill(
    parts: &Parts,
    company: &Company,
    amounts: &Amounts,
    progress: &ProgressBar,
) -> crate::base::error::Result<()> {
    for demo in RECORDS.demos() {
        let of = amounts.of(&demo);
        for start in (0..of).step_by(BATCH as usize) {
            let places = Places { these: start..of.min(start + BATCH), of };
            let count = places.these.end - places.these.start;
            let store = async |tx: &mut WriteTx| (demo.store)(tx, company, places).await;
            parts.db.write_seeded(company.id, store).await?;
            progress.inc(count);
        }
    }
    Ok(())
}

fn summary(companies: &[Company], amounts: &Amounts, password: &Password, was_given: bool) -> String {
    let password = if was_given { "the password that you gave" } else { password.exposed() };
    let mut text = format!(
        "Everybody signs in with their e-mail address and this password, at POST /api/v1/auth/login or on /docs:\n  {password}\n"
    );
    let amounts: String = amounts.0.iter().map(|(name, amount)| format!(", {amount} {name}")).collect();
    for Company { slug, people, .. } in companies {
        text += &format!("\nTenant {slug}: {} people{amounts}\n", people.len());
        for Person { name, email, role, .. } in people.iter().take(people::ROLES) {
            text += &format!("  {:<8} {email} ({name})\n", role.name());
        }
    }
    text
}
