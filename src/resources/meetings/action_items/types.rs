//! The types of action items in the contract of the API.
use crate::api::Input;
use crate::api::list::Filter;
use crate::base::error::Detail;
use crate::base::formats::first_line;
use crate::db::Any;
use crate::db::schema::meeting_action_items;
use crate::db::types::{Day, Instant, UserId};
use crate::resources::meetings::MeetingId;
use crate::resources::tasks::{TaskId, TaskInput, TaskPriority, TaskStatus};
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

/// The members of an action item that clients write.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = meeting_action_items, check_for_backend(Any))]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct ActionItemInput {
    #[oai(validator(min_length = 1, max_length = 2000))]
    pub description: String,
    #[oai(nullable)]
    pub assignee_id: Option<UserId>,
    #[oai(nullable)]
    pub due_date: Option<Day>,
    #[oai(default)]
    pub done: bool,
}

impl Input for ActionItemInput {
    fn check(&self, problems: &mut Detail) {
        problems.not_blank("description", &self.description);
    }
}

/// The greatest length of a task's title, in characters.
const TITLE: usize = 200;

impl ActionItemInput {
    /// The task that is created from this action item. Its title is the first line of the description. Its description
    /// is the whole description, unless that is equal to the title.
    pub fn as_task(&self) -> TaskInput {
        let Self { description, assignee_id, due_date, done } = self.clone();
        let title: String = first_line(&description).unwrap_or("…").chars().take(TITLE).collect();
        TaskInput {
            description: (title != description).then_some(description),
            title,
            status: if done { TaskStatus::Done } else { TaskStatus::Todo },
            priority: TaskPriority::default(),
            week_number: None,
            year: None,
            tags: Default::default(),
            due_date,
            assigned_to: assignee_id,
        }
    }
}

/// An action item as stored and as returned to clients.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = meeting_action_items, check_for_backend(Any))]
pub struct ActionItem {
    pub id: ActionItemId,
    pub meeting_id: MeetingId,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub input: ActionItemInput,
    /// The task that was created from the action item. Null again if the task was deleted.
    #[oai(nullable)]
    pub task_id: Option<TaskId>,
    pub created_by: UserId,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

crate::resource!(ActionItem, record, owner: created_by);

crate::record! {
    ActionItem {
        id: new ActionItemId, kind: "action_item", table: meeting_action_items,
        href: "/api/v1/meetings/{parent}/action-items/{id}", read_by: super::Read,
        parent: meeting_id of "meeting",
        title: description in input,
        text: [description in input = High],
        people: [created_by = Owner, assignee_id in input = Assignee],
        held: [|tx, person, next| super::queries::about(tx, person.user(), next)],
    }
}

/// Action items have no filters.
#[derive(Debug, Clone, Object)]
pub struct ActionItemFilter {}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ActionItemSort {
    #[default]
    CreatedAt,
}

impl Filter for ActionItemFilter {
    type Item = ActionItem;
    type Column = ActionItemSort;
    const IS_PLAIN: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_title_of_the_task() {
        let long = "한".repeat(300);
        for (description, title, has_more) in [
            ("Call them", "Call them", false),
            ("\n Call them\r\nby Monday", "Call them", true),
            (&long, &"한".repeat(200), true),
        ] {
            let item =
                ActionItemInput { description: description.into(), assignee_id: None, due_date: None, done: false };
            let task = item.as_task();
            assert_eq!((task.title.as_str(), task.description.is_some()), (title, has_more));
        }
    }
}
