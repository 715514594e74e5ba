//! Tasks over half a year, most of the past ones done, and what was said about them.
use super::dice::Dice;
use super::people::Person;
use super::words::{CLIENTS, OBJECTS, REMARKS, TAGS, TITLES, VERBS};
use super::{Company, anybody};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::WriteTx;
use crate::db::types::{CommentId, Day, Instant, Tags, TaskId};
use crate::resources::tasks;
use crate::resources::tasks::comments::{Comment, CommentInput, Stored};
use crate::resources::tasks::{Task, TaskInput, TaskPriority, TaskStatus, comments};
use chrono::{Datelike, Days, Duration, NaiveTime};
use std::ops::Range;

/// Tells these dice from those of another kind.
const KIND: u64 = 1;

pub async fn store(tx: &mut WriteTx, company: &Company, places: Range<u64>) -> Result<()> {
    let (mut made, mut said) = (vec![], vec![]);
    for place in places {
        let [seed, tenant] = company.seed;
        let mut dice = Dice::at(&[seed, tenant, KIND, place]);
        let task = task(company, tx.new_id(), place, &mut dice);
        for _ in 0..dice.one(&[0, 0, 0, 1, 1, 2, 3]) {
            said.push(comment(company, tx.new_id(), &task, &mut dice));
        }
        made.push(task);
    }
    tasks::store(tx, &made).await?;
    comments::store(tx, &said).await
}

/// Some time between the two.
fn between(start: Instant, end: Instant, dice: &mut Dice) -> Instant {
    Instant(start.0 + Duration::milliseconds(dice.below((end.0 - start.0).num_milliseconds())))
}

fn task(company: &Company, id: TaskId, place: u64, dice: &mut Dice) -> Task {
    let Company { now, amounts, .. } = company;
    let created_at = company.moment(place, amounts.tasks);
    let planned = created_at.0.date_naive() + Days::new(dice.below(21).unsigned_abs());
    let week = planned.iso_week();
    let monday = planned - Days::new(planned.weekday().num_days_from_monday().into());
    let today = now.0.date_naive();
    let roll = dice.below(100);
    let status = match (monday + Days::new(7) <= today, monday > today) {
        (true, _) if roll < 80 => TaskStatus::Done,
        (true, _) if roll < 87 => TaskStatus::Cancelled,
        (_, true) if roll < 85 => TaskStatus::Todo,
        (false, false) if roll < 25 => TaskStatus::Done,
        _ => dice.one(&[TaskStatus::InProgress, TaskStatus::Todo, TaskStatus::InProgress, TaskStatus::Review]),
    };
    let untouched = status == TaskStatus::Todo && dice.percent(70);
    let sunday = Instant((monday + Days::new(7)).and_time(NaiveTime::MIN).and_utc());
    let touched_at = between(created_at, sunday.min(*now).max(created_at), dice);
    let title = match dice.percent(15) {
        true => dice.one(&TITLES).to_owned(),
        false => format!("{} the {} for {}", dice.one(&VERBS), dice.one(&OBJECTS), dice.one(&CLIENTS)),
    };
    let tags = (0..dice.below(3)).map(|_| dice.one(&TAGS)).collect::<std::collections::BTreeSet<_>>();
    let priority =
        [TaskPriority::Medium, TaskPriority::Low, TaskPriority::Medium, TaskPriority::High, TaskPriority::Urgent];
    let input = TaskInput {
        title,
        description: dice.percent(40).then(|| dice.one(&REMARKS).to_owned()),
        status,
        priority: dice.one(&priority),
        week_number: Some(week.week().cast_signed()),
        year: Some(week.year()),
        tags: Tags(tags.into_iter().map(str::to_owned).collect()),
        due_date: dice.percent(70).then(|| Day(monday + Days::new(dice.below(5).unsigned_abs()))),
        assigned_to: dice.percent(85).then(|| anybody(company, Role::Analyst, dice).id),
    };
    Task {
        id,
        input,
        created_by: anybody(company, Role::Editor, dice).id,
        completed_at: (status == TaskStatus::Done).then_some(touched_at),
        version: if untouched { 1 } else { 2 + dice.below(3) },
        created_at,
        updated_at: if untouched { created_at } else { touched_at },
    }
}

fn comment(company: &Company, id: CommentId, task: &Task, dice: &mut Dice) -> Comment {
    let named = dice.percent(25).then(|| anybody(company, Role::Viewer, dice));
    let remark = dice.one(&REMARKS);
    let body = match named {
        Some(Person { username, .. }) => format!("@{username} {remark}"),
        None => remark.to_owned(),
    };
    let now = company.now;
    let at = between(task.created_at, Instant(task.created_at.0 + Duration::days(5)).min(now), dice);
    let stored = Stored {
        id,
        task_id: task.id,
        author_id: anybody(company, Role::Analyst, dice).id,
        input: CommentInput { body },
        version: 1,
        created_at: at,
        updated_at: at,
    };
    Comment { stored, mentions: named.map(|person| person.id).into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::super::Amounts;
    use super::*;
    use crate::api::Input;
    use crate::base::env::Env;
    use crate::base::error::Detail;
    use chrono::Weekday;

    fn company(tasks: u64, now: &str) -> Company {
        let person = |(number, role): (u128, Role)| Person {
            id: uuid::Uuid::from_u128(number).into(),
            name: String::new(),
            username: format!("u{number}.x"),
            email: String::new(),
            role,
        };
        let people = (1..).zip(Role::ALL).map(person).collect();
        let now = Instant(now.parse().unwrap());
        Company {
            id: Env::real().uuid().into(),
            slug: "x".into(),
            people,
            seed: [7, 0],
            now,
            amounts: Amounts { tasks, items: 0, meetings: 0, contracts: 0 },
        }
    }

    fn made(company: &Company, place: u64) -> (Task, Comment) {
        let mut dice = Dice::at(&[7, 0, KIND, place]);
        let task = task(company, uuid::Uuid::nil().into(), place, &mut dice);
        let comment = comment(company, uuid::Uuid::nil().into(), &task, &mut dice);
        (task, comment)
    }

    #[test]
    fn what_is_made_could_have_been_written_by_people() {
        for now in ["2026-11-25T07:00:00Z", "2027-01-01T00:00:00Z", "2026-05-03T23:59:59Z"] {
            let company = company(2000, now);
            let (mut states, mut before) = (vec![], None);
            for place in 0..2000 {
                let (task, comment) = made(&company, place);
                let mut problems = Detail::default();
                task.input.check(&mut problems);
                comment.stored.input.check(&mut problems);
                assert!(problems.is_empty() && task.input.title.chars().count() <= 200, "{task:?}: {problems:?}");
                assert_eq!(task.completed_at.is_some(), task.input.status == TaskStatus::Done);
                assert!(task.created_at <= task.updated_at && task.updated_at <= company.now, "{task:?}");
                assert!(task.created_at <= comment.stored.created_at && comment.stored.created_at <= company.now);
                assert_eq!(comment.stored.input.body.starts_with('@'), !comment.mentions.is_empty());
                assert!(Some(task.created_at) >= before || task.created_at.0.weekday() == Weekday::Fri, "{task:?}");
                before = Some(task.created_at);
                states.push(task.input.status);
            }
            use TaskStatus::{Cancelled, Done, InProgress, Review, Todo};
            for status in [Todo, InProgress, Review, Done, Cancelled] {
                assert!(states.contains(&status), "{status:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_says_the_same() {
        let company = company(100, "2026-11-25T07:00:00Z");
        for place in 0..100 {
            assert_eq!(format!("{:?}", made(&company, place)), format!("{:?}", made(&company, place)));
        }
        assert_eq!(made(&company, 0).0.created_at, Instant("2026-05-27T10:55:00Z".parse().unwrap()));
    }

    #[test]
    fn millions_and_none_are_no_trouble() {
        let many = company(10_000_000, "2026-11-25T07:00:00Z");
        assert!(made(&many, 0).0.created_at < made(&many, 9_999_999).0.created_at);
        made(&company(1, "2026-11-25T07:00:00Z"), 0);
    }
}
