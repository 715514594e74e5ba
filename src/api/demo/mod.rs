//! Tools for the slices to invent demo records: a company, dice and words. `bizcenter seed` stores the records.
mod dice;
pub mod words;

pub use dice::Dice;

use crate::auth::Role;
use crate::base::error::Result;
use crate::db::WriteTx;
use crate::db::types::{Instant, TenantId, UserId};
use chrono::{DateTime, Datelike, Days, Duration, NaiveTime, Timelike, Utc, Weekday};
use futures_util::future::BoxFuture;
use std::ops::Range;

/// How to invent the records of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// The plural name of the kind. It is also the option of `bizcenter seed` that sets their number.
    pub name: &'static str,
    /// The help text of that option.
    pub help: &'static str,
    /// The default of that option, as it would be written on the command line.
    pub usual: &'static str,
    /// The number of the kind. It gives the kind dice of its own, and the kinds are made in the order of their numbers.
    pub number: u64,
    /// Invents and stores the records at these places of their kind, with their child records.
    pub store: for<'a> fn(&'a mut WriteTx, &'a Company, Places) -> BoxFuture<'a, Result<()>>,
}

/// A part of the records of a kind, by their places among all those that a tenant gets.
#[derive(Debug, Clone)]
pub struct Places {
    pub these: Range<u64>,
    pub of: u64,
}

/// A tenant that is being filled with demo records.
pub struct Company {
    pub id: TenantId,
    pub slug: String,
    pub people: Vec<Person>,
    /// The numbers from which all words and dates of the company follow.
    pub seed: [u64; 2],
    pub now: Instant,
}

/// A user of the company.
pub struct Person {
    pub id: UserId,
    pub name: String,
    pub username: String,
    pub email: String,
    pub role: Role,
}

/// The age of the first record of each kind.
const SPAN: Duration = Duration::weeks(26);

impl Company {
    /// The time at which the record at `place` among `of` records was made.
    pub fn moment(&self, place: u64, of: u64) -> Instant {
        let share = SPAN.num_milliseconds() / i64::try_from(of).unwrap_or(i64::MAX).max(1);
        let age = i64::try_from(of - place).unwrap_or(i64::MAX).saturating_mul(share);
        Instant(at_work(self.now.0 - Duration::milliseconds(age)).min(self.now.0))
    }

    /// The dice for one place among the records of the kind with this number.
    pub fn dice(&self, number: u64, place: u64) -> Dice {
        let [seed, tenant] = self.seed;
        Dice::at(&[seed, tenant, number, place])
    }

    /// A random person with at least this role.
    pub fn anybody(&self, least: Role, dice: &mut Dice) -> &Person {
        let fit: Vec<_> = self.people.iter().filter(|person| person.role >= least).collect();
        dice.one(&fit)
    }
}

/// Moves a time into working hours: from a weekend to the Friday before, and to a time between 8:00 and 18:00.
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
