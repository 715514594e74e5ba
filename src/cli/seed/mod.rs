//! `bizcenter seed`: tenants to try things on, with people of each role and as many records as are asked for.
//!
//! Words and dates follow from `--seed` and the clock; ids and the password are random. Another kind of record is a file
//! beside `tasks.rs`, a variant of [`Kind`] and a member of [`Amounts`].
mod contracts;
mod dice;
mod items;
mod meetings;
mod people;
mod tasks;
mod words;

use super::{SeedArgs, print, prompt};
use crate::app;
use crate::app::Parts;
use crate::auth::Role;
use crate::base::password::Password;
use crate::base::queue::Claimant;
use crate::config::Config;
use crate::db::types::{Instant, TenantId};
use crate::db::{WriteTx, migrations};
use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, Datelike, Days, Duration, NaiveTime, Timelike, Utc, Weekday};
use dice::Dice;
use indicatif::{ProgressBar, ProgressStyle};
use people::Person;
use poem_openapi::Object;
use std::ops::Range;

/// How many records are stored in one statement, and their company in one transaction.
const BATCH: u64 = 1000;

/// A tenant that is being filled.
struct Company {
    id: TenantId,
    slug: String,
    people: Vec<Person>,
    /// What its words and dates follow from.
    seed: [u64; 2],
    now: Instant,
    amounts: Amounts,
}

/// How many records of each kind a tenant gets; its audit log says so.
#[derive(Debug, Clone, Copy, Object)]
struct Amounts {
    tasks: u64,
    items: u64,
    meetings: u64,
    contracts: u64,
}

/// What there are many of. People are few, and made with their tenant.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tasks,
    Items,
    Meetings,
    Contracts,
}

const KINDS: [Kind; 4] = [Kind::Tasks, Kind::Items, Kind::Meetings, Kind::Contracts];

impl Kind {
    fn amount(self, amounts: Amounts) -> u64 {
        let Amounts { tasks, items, meetings, contracts } = amounts;
        match self {
            Self::Tasks => tasks,
            Self::Items => items,
            Self::Meetings => meetings,
            Self::Contracts => contracts,
        }
    }

    /// Makes and stores the records of these places among their kind.
    async fn store(self, tx: &mut WriteTx, company: &Company, places: Range<u64>) -> crate::base::error::Result<()> {
        match self {
            Self::Tasks => tasks::store(tx, company, places).await,
            Self::Items => items::store(tx, company, places).await,
            Self::Meetings => meetings::store(tx, company, places).await,
            Self::Contracts => contracts::store(tx, company, places).await,
        }
    }
}

/// How far back the first record of a kind goes.
const SPAN: Duration = Duration::weeks(26);

impl Company {
    /// When the record of this place among so many was made.
    fn moment(&self, place: u64, of: u64) -> Instant {
        let share = SPAN.num_milliseconds() / i64::try_from(of).unwrap_or(i64::MAX).max(1);
        let age = i64::try_from(of - place).unwrap_or(i64::MAX).saturating_mul(share);
        Instant(at_work(self.now.0 - Duration::milliseconds(age)).min(self.now.0))
    }
}

/// The nearest time before it, or on its day, when people are at work.
fn at_work(time: DateTime<Utc>) -> DateTime<Utc> {
    let since_friday = match time.weekday() {
        Weekday::Sat => 1,
        Weekday::Sun => 2,
        _ => 0,
    };
    let since_eight = Duration::seconds(i64::from(time.num_seconds_from_midnight()) * 10 / 24);
    let day = time.date_naive() - Days::new(since_friday);
    day.and_time(NaiveTime::MIN).and_utc() + Duration::hours(8) + since_eight
}

/// Somebody of at least this role.
fn anybody<'a>(company: &'a Company, least: Role, dice: &mut Dice) -> &'a Person {
    let fit: Vec<_> = company.people.iter().filter(|person| person.role >= least).collect();
    dice.one(&fit)
}

pub async fn run(config: Config, args: SeedArgs) -> anyhow::Result<()> {
    let SeedArgs { tenants, users, tasks, items, meetings, contracts, seed, yes, password_stdin } = args;
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
    // One hash for all: it tells nothing that this command doesn't print, and each takes a third of a second.
    let hash = parts.credentials.hash(Claimant::server(), &password).await?;
    let amounts = Amounts { tasks, items, meetings, contracts };
    let each: u64 = KINDS.iter().map(|kind| kind.amount(amounts)).sum();
    let progress = ProgressBar::new(each * u64::from(tenants)); // shown at a terminal only
    progress.set_style(ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}, {per_sec}, {eta} left")?);
    let mut made = vec![];
    for tenant in 0..tenants {
        let company = people::company(&parts, amounts, [seed, tenant.into()], users, &hash).await?;
        let filled = fill(&parts, &company, &progress).await;
        filled.with_context(|| format!("tenant {} stays incomplete", company.slug))?;
        made.push(company);
    }
    progress.finish_and_clear();
    print(&summary(&made, &password, password_stdin))
}

async fn fill(parts: &Parts, company: &Company, progress: &ProgressBar) -> crate::base::error::Result<()> {
    for kind in KINDS {
        let amount = kind.amount(company.amounts);
        for start in (0..amount).step_by(BATCH as usize) {
            let places = start..amount.min(start + BATCH);
            let count = places.end - places.start;
            parts.db.write_seeded(company.id, async |tx: &mut WriteTx| kind.store(tx, company, places).await).await?;
            progress.inc(count);
        }
    }
    Ok(())
}

fn summary(companies: &[Company], password: &Password, was_given: bool) -> String {
    let password = if was_given { "the password that you gave" } else { password.exposed() };
    let mut text = format!(
        "Everybody signs in with their e-mail address and this password, at POST /api/v1/auth/login or on /docs:\n  {password}\n"
    );
    for Company { slug, people, amounts: Amounts { tasks, items, meetings, contracts }, .. } in companies {
        let people_count = people.len();
        text += &format!(
            "\nTenant {slug}: {people_count} people, {tasks} tasks, {items} items, {meetings} meetings, {contracts} contracts\n"
        );
        for Person { name, email, role, .. } in people.iter().take(people::ROLES) {
            text += &format!("  {:<8} {email} ({name})\n", role.name());
        }
    }
    text
}
