//! Demo data: tasks of half a year, of which most past ones are done, and their comments.
use super::comments::{Comment, CommentInput, Stored};
use super::types::{Task, TaskId, TaskInput, TaskPriority, TaskStatus};
use super::{comments, queries};
use crate::api::demo::words::{CLIENTS, OBJECTS, REMARKS, TAGS, TITLES, VERBS};
use crate::api::demo::{Company, Demo, Dice, Person, Places};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::WriteTx;
use crate::db::types::{Day, Instant, Tags};
use crate::resources::tasks::comments::CommentId;
use chrono::{Datelike, Days, Duration, NaiveTime};
use futures_util::FutureExt;

pub const DEMO: Demo = Demo {
    name: "tasks",
    help: "How many tasks each has, with comments",
    usual: "300",
    number: 1,
    store: |tx, company, places| store(tx, company, places).boxed(),
};

async fn store(tx: &mut WriteTx, company: &Company, Places { these, of }: Places) -> Result<()> {
    let (mut made, mut said) = (vec![], vec![]);
    for place in these {
        let mut dice = company.dice(DEMO.number, place);
        let task = task(company, tx.new_id(), company.moment(place, of), &mut dice);
        for _ in 0..dice.one(&[0, 0, 0, 1, 1, 2, 3]) {
            said.push(comment(company, tx.new_id(), &task, &mut dice));
        }
        made.push(task);
    }
    queries::store(tx, &made).await?;
    comments::store(tx, &said).await
}

/// A random time between the two.
fn between(start: Instant, end: Instant, dice: &mut Dice) -> Instant {
    Instant(start.0 + Duration::milliseconds(dice.below((end.0 - start.0).num_milliseconds())))
}

fn task(company: &Company, id: TaskId, created_at: Instant, dice: &mut Dice) -> Task {
    let Company { now, .. } = company;
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
        assigned_to: dice.percent(85).then(|| company.anybody(Role::Analyst, dice).id),
    };
    Task {
        id,
        input,
        created_by: company.anybody(Role::Editor, dice).id,
        completed_at: (status == TaskStatus::Done).then_some(touched_at),
        version: if untouched { 1 } else { 2 + dice.below(3) },
        created_at,
        updated_at: if untouched { created_at } else { touched_at },
    }
}

fn comment(company: &Company, id: CommentId, task: &Task, dice: &mut Dice) -> Comment {
    let named = dice.percent(25).then(|| company.anybody(Role::Viewer, dice));
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
        author_id: company.anybody(Role::Analyst, dice).id,
        input: CommentInput { body },
        version: 1,
        created_at: at,
        updated_at: at,
    };
    Comment { stored, mentions: named.map(|person| person.id).into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Input;
    use crate::base::env::Env;
    use crate::base::error::Detail;
    use chrono::Weekday;

    fn company(now: &str) -> Company {
        let person = |(number, role): (u128, Role)| Person {
            id: uuid::Uuid::from_u128(number).into(),
            name: String::new(),
            username: format!("u{number}.x"),
            email: String::new(),
            role,
        };
        let people = (1..).zip(Role::ALL).map(person).collect();
        let now = Instant(now.parse().unwrap());
        Company { id: Env::real().uuid().into(), slug: "x".into(), people, seed: [7, 0], now }
    }

    fn made(company: &Company, place: u64, of: u64) -> (Task, Comment) {
        let mut dice = company.dice(DEMO.number, place);
        let task = task(company, uuid::Uuid::nil().into(), company.moment(place, of), &mut dice);
        let comment = comment(company, uuid::Uuid::nil().into(), &task, &mut dice);
        (task, comment)
    }

    #[test]
    fn what_is_made_could_have_been_written_by_people() {
        for now in ["2026-11-25T07:00:00Z", "2027-01-01T00:00:00Z", "2026-05-03T23:59:59Z"] {
            let company = company(now);
            let (mut states, mut before) = (vec![], None);
            for place in 0..2000 {
                let (task, comment) = made(&company, place, 2000);
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
        let company = company("2026-11-25T07:00:00Z");
        for place in 0..100 {
            assert_eq!(format!("{:?}", made(&company, place, 100)), format!("{:?}", made(&company, place, 100)));
        }
        assert_eq!(made(&company, 0, 100).0.created_at, Instant("2026-05-27T10:55:00Z".parse().unwrap()));
    }

    #[test]
    fn millions_and_none_are_no_trouble() {
        let (company, many) = (company("2026-11-25T07:00:00Z"), 10_000_000);
        assert!(made(&company, 0, many).0.created_at < made(&company, 9_999_999, many).0.created_at);
        made(&company, 0, 1);
    }
}
