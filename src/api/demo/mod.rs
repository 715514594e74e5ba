//! What the slices invent their demo records from: an invented company, dice and words. `bizcenter seed` stores them.
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

/// How to invent records of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// What they are called where there are many: the option of `bizcenter seed` that says how many.
    pub name: &'static str,
    /// What that option says of itself.
    pub help: &'static str,
    /// How many are made where nobody says, as the option writes it.
    pub usual: &'static str,
    /// Tells their dice from those of another kind, and says in which order the kinds are made.
    pub number: u64,
    /// Makes and stores the records of these places among their kind, with what is below them.
    pub store: for<'a> fn(&'a mut WriteTx, &'a Company, Places) -> BoxFuture<'a, Result<()>>,
}

/// Some of the records of a kind, by their places among all that a tenant gets.
#[derive(Debug, Clone)]
pub struct Places {
    pub these: Range<u64>,
    pub of: u64,
}

/// A tenant that is being filled.
pub struct Company {
    pub id: TenantId,
    pub slug: String,
    pub people: Vec<Person>,
    /// What its words and dates follow from.
    pub seed: [u64; 2],
    pub now: Instant,
}

/// Somebody who works there.
pub struct Person {
    pub id: UserId,
    pub name: String,
    pub username: String,
    pub email: String,
    pub role: Role,
}

/// How far back the first record of a kind goes.
const SPAN: Duration = Duration::weeks(26);

impl Company {
    /// When the record of this place among so many was made.
    pub fn moment(&self, place: u64, of: u64) -> Instant {
        let share = SPAN.num_milliseconds() / i64::try_from(of).unwrap_or(i64::MAX).max(1);
        let age = i64::try_from(of - place).unwrap_or(i64::MAX).saturating_mul(share);
        Instant(at_work(self.now.0 - Duration::milliseconds(age)).min(self.now.0))
    }

    /// The dice of a place among the records of a kind, which has this number.
    pub fn dice(&self, number: u64, place: u64) -> Dice {
        let [seed, tenant] = self.seed;
        Dice::at(&[seed, tenant, number, place])
    }

    /// Somebody of at least this role.
    pub fn anybody(&self, least: Role, dice: &mut Dice) -> &Person {
        let fit: Vec<_> = self.people.iter().filter(|person| person.role >= least).collect();
        dice.one(&fit)
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
