//! Demo data: meetings of half a year and of the coming weeks.
use super::action_items::{ActionItem, ActionItemInput};
use super::attendees::{Attendee, Rsvp};
use super::types::{Meeting, MeetingId, MeetingInput, MeetingStatus};
use super::{action_items, attendees, queries};
use crate::api::demo::words::{CLIENTS, OBJECTS, PLACES, REMARKS, VERBS};
use crate::api::demo::{Company, Demo, Dice, Places};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::WriteTx;
use crate::db::types::{Day, Instant};
use crate::resources::meetings::action_items::ActionItemId;
use crate::resources::meetings::attendees::AttendeeId;
use chrono::{Days, Duration, NaiveTime};
use futures_util::FutureExt;

pub const DEMO: Demo = Demo {
    name: "meetings",
    help: "How many meetings",
    usual: "80",
    number: 3,
    store: |tx, company, places| store(tx, company, places).boxed(),
};

/// The greatest number of rows in one statement.
const MAX_ROWS: usize = 1000;

async fn store(tx: &mut WriteTx, company: &Company, Places { these, of }: Places) -> Result<()> {
    let (mut made, mut guests, mut actions) = (vec![], vec![], vec![]);
    for place in these {
        let dice = &mut company.dice(DEMO.number, place);
        let meeting = meeting(company, tx.new_id(), company.moment(place, of), dice);
        guests.extend(attendees(company, &meeting, dice, || tx.new_id()));
        actions.extend(action_items(company, &meeting, dice, || tx.new_id()));
        made.push(meeting);
    }
    queries::store(tx, &made).await?;
    for some in guests.chunks(MAX_ROWS) {
        attendees::store(tx, some).await?;
    }
    for some in actions.chunks(MAX_ROWS) {
        action_items::store(tx, some).await?;
    }
    Ok(())
}

/// Invites up to four colleagues of the user who made the meeting, and sometimes a guest from outside.
fn attendees(company: &Company, meeting: &Meeting, dice: &mut Dice, id: impl Fn() -> AttendeeId) -> Vec<Attendee> {
    let mut users: Vec<_> = (0..dice.below(5)).map(|_| company.anybody(Role::Viewer, dice).id).collect();
    users.sort();
    users.dedup();
    users.retain(|user| *user != meeting.created_by);
    let outside = dice.percent(25).then(|| format!("guest{}@client.example", dice.below(100)));
    let invited = users.into_iter().map(|user| (Some(user), None)).chain(outside.map(|email| (None, Some(email))));
    let mut attendee = |(user_id, email)| {
        let rsvp = dice.one(&[Rsvp::Yes, Rsvp::Yes, Rsvp::Maybe, Rsvp::No, Rsvp::None]);
        let version = if rsvp == Rsvp::None { 1 } else { 2 };
        let (meeting_id, at) = (meeting.id, meeting.created_at);
        Attendee { id: id(), meeting_id, user_id, email, rsvp, version, created_at: at, updated_at: at }
    };
    invited.map(&mut attendee).collect()
}

/// The action items of a completed meeting.
fn action_items(
    company: &Company,
    meeting: &Meeting,
    dice: &mut Dice,
    id: impl Fn() -> ActionItemId,
) -> Vec<ActionItem> {
    let count = if meeting.input.status == MeetingStatus::Completed { dice.below(3) } else { 0 };
    let mut item = |_| {
        let input = ActionItemInput {
            description: format!("{} the {}", dice.one(&VERBS), dice.one(&OBJECTS)),
            assignee_id: dice.percent(80).then(|| company.anybody(Role::Viewer, dice).id),
            due_date: Some(Day(meeting.input.ends_at.0.date_naive() + Days::new(7))),
            done: dice.percent(60),
        };
        let (meeting_id, created_by, at) = (meeting.id, meeting.created_by, meeting.input.ends_at);
        let (task_id, version) = (None, if input.done { 2 } else { 1 });
        ActionItem { id: id(), meeting_id, input, task_id, created_by, version, created_at: at, updated_at: at }
    };
    (0..count).map(&mut item).collect()
}

fn meeting(company: &Company, id: MeetingId, created_at: Instant, dice: &mut Dice) -> Meeting {
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
    Meeting { id, input, created_by: company.anybody(Role::Editor, dice).id, version, created_at, updated_at }
}
