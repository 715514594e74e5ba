//! Meetings over half a year and the weeks to come.
use super::dice::Dice;
use super::words::{CLIENTS, OBJECTS, PLACES, REMARKS};
use super::{Company, anybody};
use crate::auth::Role;
use crate::db::WriteTx;
use crate::db::types::{Instant, MeetingId};
use crate::error::Result;
use crate::resources::meetings::{self, Meeting, MeetingInput, MeetingStatus};
use chrono::{Days, Duration, NaiveTime};
use std::ops::Range;

/// Tells these dice from those of another kind.
const KIND: u64 = 3;

pub async fn store(tx: &mut WriteTx, company: &Company, places: Range<u64>) -> Result<()> {
    let [seed, tenant] = company.seed;
    let made: Vec<Meeting> =
        places.map(|place| meeting(company, tx.new_id(), place, &mut Dice::at(&[seed, tenant, KIND, place]))).collect();
    meetings::store(tx, &made).await
}

fn meeting(company: &Company, id: MeetingId, place: u64, dice: &mut Dice) -> Meeting {
    let created_at = company.moment(place, company.amounts.meetings);
    let day = created_at.0.date_naive() + Days::new(1 + dice.below(27).unsigned_abs());
    let starts_at = Instant(day.and_time(NaiveTime::MIN).and_utc() + Duration::minutes(30 * (16 + dice.below(18))));
    let ends_at = Instant(starts_at.0 + Duration::minutes(30 * (1 + dice.below(4))));
    let is_over = ends_at <= company.now;
    let status = match is_over {
        _ if dice.percent(8) => MeetingStatus::Cancelled,
        true => MeetingStatus::Completed,
        false if starts_at <= company.now => MeetingStatus::InProgress,
        false => MeetingStatus::Scheduled,
    };
    let input = MeetingInput {
        title: format!("The {} for {}", dice.one(&OBJECTS), dice.one(&CLIENTS)),
        agenda: dice.percent(60).then(|| dice.one(&REMARKS).to_owned()),
        minutes: (status == MeetingStatus::Completed && dice.percent(70)).then(|| dice.one(&REMARKS).to_owned()),
        location: dice.percent(80).then(|| dice.one(&PLACES).to_owned()),
        status,
        starts_at,
        ends_at,
    };
    let updated_at = if is_over { ends_at } else { created_at };
    let version = if status == MeetingStatus::Scheduled { 1 } else { 2 + dice.below(2) };
    Meeting { id, input, created_by: anybody(company, Role::Editor, dice).id, version, created_at, updated_at }
}
