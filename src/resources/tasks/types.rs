//! The types of tasks in the contract of the API, and the rules that a schema can't express.
use crate::api::Input;
use crate::api::list::Filter;
use crate::base::error::Detail;
use crate::db::Any;
use crate::db::schema::tasks;
use crate::db::types::{Day, Instant, Tags, UserId};
use chrono::{NaiveDate, Weekday};
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

crate::text_enum! {
    #[derive(Default)]
    pub enum TaskStatus {
        #[default]
        Todo = "todo",
        InProgress = "in_progress",
        Review = "review",
        Done = "done",
        Cancelled = "cancelled",
    }
}

crate::ranked_enum! {
    #[derive(Default)]
    pub enum TaskPriority {
        Low = (1, "low"),
        #[default]
        Medium = (2, "medium"),
        High = (3, "high"),
        Urgent = (4, "urgent"),
    }
}

/// The members of a task that clients write. POST and PUT take the whole object, PATCH takes any of its members.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = tasks, check_for_backend(Any))]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct TaskInput {
    #[oai(validator(min_length = 1, max_length = 200))]
    pub title: String,
    #[oai(nullable, validator(max_length = 10000))]
    pub description: Option<String>,
    #[oai(default)]
    pub status: TaskStatus,
    #[oai(default)]
    pub priority: TaskPriority,
    /// An ISO 8601 week of `year`.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "53")))]
    pub week_number: Option<i32>,
    #[oai(nullable, validator(minimum(value = "2000"), maximum(value = "2100")))]
    pub year: Option<i32>,
    #[oai(default, validator(max_items = 20, min_length = 1, max_length = 50))]
    pub tags: Tags,
    #[oai(nullable)]
    pub due_date: Option<Day>,
    #[oai(nullable)]
    pub assigned_to: Option<UserId>,
}

impl Input for TaskInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("title", &self.title);
        match (self.year, self.week_number) {
            (Some(year), Some(week)) => {
                if NaiveDate::from_isoywd_opt(year, week.unsigned_abs(), Weekday::Mon).is_none() {
                    problems.add("week_number", format!("{year} has no week {week}"));
                }
            }
            (Some(_), None) => problems.add("week_number", "is required with `year`"),
            (None, Some(_)) => problems.add("year", "is required with `week_number`"),
            (None, None) => {}
        }
    }
}

/// A task as stored and as returned to clients.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = tasks, check_for_backend(Any))]
pub struct Task {
    pub id: TaskId,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub input: TaskInput,
    pub created_by: UserId,
    /// The server sets and clears this time when `status` changes.
    #[oai(nullable)]
    pub completed_at: Option<Instant>,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

impl Task {
    /// A new task in its first version.
    pub fn new(id: TaskId, input: TaskInput, created_by: UserId, now: Instant) -> Self {
        let completed_at = input.completed_at(None, now);
        Self { id, input, created_by, completed_at, version: 1, created_at: now, updated_at: now }
    }

    /// The next version of this task.
    pub fn changed(&self, input: TaskInput, now: Instant) -> Self {
        let completed_at = input.completed_at(self.completed_at, now);
        Self { input, completed_at, version: self.version + 1, updated_at: now, ..self.clone() }
    }
}

impl TaskInput {
    fn completed_at(&self, before: Option<Instant>, now: Instant) -> Option<Instant> {
        (self.status == TaskStatus::Done).then(|| before.unwrap_or(now))
    }
}

crate::resource!(Task, record, owner: created_by);

crate::record! {
    Task {
        id: new TaskId, kind: "task", table: tasks, href: "/api/v1/tasks/{id}", read_by: super::Read,
        title: title in input, text: [title in input = High, description in input = Low],
        people: [created_by = Owner, assigned_to in input = Assignee],
        held: [|tx, person, next| super::queries::about(tx, person.user(), next)],
        demo: super::demo::DEMO,
    }
}

/// The filters of a list of tasks. Each member is a query parameter.
#[derive(Debug, Clone, Object)]
pub struct TaskFilter {
    #[oai(validator(minimum(value = "1"), maximum(value = "53")))]
    pub week: Option<i32>,
    #[oai(validator(minimum(value = "2000"), maximum(value = "2100")))]
    pub year: Option<i32>,
    pub status: Option<TaskStatus>,
    pub priority: Option<TaskPriority>,
    pub assigned_to: Option<UserId>,
    /// Tasks that have this tag.
    #[oai(validator(max_length = 50))]
    pub tag: Option<String>,
    pub due_before: Option<Day>,
    pub due_after: Option<Day>,
}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum TaskSort {
    Title,
    Status,
    Priority,
    DueDate,
    #[default]
    CreatedAt,
    UpdatedAt,
}

impl Filter for TaskFilter {
    type Item = Task;
    type Column = TaskSort;
}
