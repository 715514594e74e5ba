//! The types of comments in the contract of the API.
use crate::api::list::Filter;
use crate::api::{Input, Owned, Record, Resource};
use crate::base::error::Detail;
use crate::db::Any;
use crate::db::schema::task_comments;
use crate::db::types::{Instant, UserId};
use crate::resources::tasks::TaskId;
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;
use uuid::Uuid;

/// The members of a comment that clients write.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = task_comments, check_for_backend(Any))]
pub struct CommentInput {
    #[oai(validator(min_length = 1, max_length = 5000))]
    pub body: String,
}

impl Input for CommentInput {
    fn check(&self, problems: &mut Detail) {
        problems.not_blank("body", &self.body);
    }
}

/// A comment as stored. The users that it mentions are in a table of their own.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = task_comments, check_for_backend(Any))]
pub struct Stored {
    pub id: CommentId,
    pub task_id: TaskId,
    pub author_id: UserId,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub input: CommentInput,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

/// A comment as it is returned to clients.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Comment {
    #[oai(flatten)]
    #[serde(flatten)]
    pub stored: Stored,
    /// The mentioned users, in the order of their ids.
    pub mentions: Vec<UserId>,
}

impl Comment {
    /// The next version of this comment.
    pub fn changed(&self, input: CommentInput, mentions: Vec<UserId>, now: Instant) -> Self {
        let version = self.stored.version + 1;
        Self { stored: Stored { input, version, updated_at: now, ..self.stored.clone() }, mentions }
    }

    /// The users that this comment mentions and the other comment does not.
    pub fn mentions_beyond(&self, other: &Self) -> Vec<UserId> {
        self.mentions.iter().filter(|user| !other.mentions.contains(user)).copied().collect()
    }
}

impl Resource for Comment {
    fn id(&self) -> Uuid {
        self.stored.id.0
    }
    fn version(&self) -> i64 {
        self.stored.version
    }
    fn location(&self) -> String {
        Record::href(self)
    }
}

crate::record! {
    Comment {
        id: new CommentId in stored, kind: "comment", table: task_comments, href: "/api/v1/tasks/{parent}/comments/{id}",
        read_by: super::Read,
        parent: task_id in stored of "task",
        title: body in stored.input,
        text: [body in stored.input = Medium],
        people: [author_id in stored = Owner, mentions at task_comment_mentions.user_id = Mentioned],
        held: [|tx, person, next| super::queries::about(tx, person.user(), next)],
    }
}

impl Owned for Comment {
    fn owner(&self) -> Option<UserId> {
        Some(self.stored.author_id)
    }
}

/// Comments have no filters.
#[derive(Debug, Clone, Object)]
pub struct CommentFilter {}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum CommentSort {
    #[default]
    CreatedAt,
}

impl Filter for CommentFilter {
    type Item = Comment;
    type Column = CommentSort;
    const IS_PLAIN: bool = true;
    const IS_OLDEST_FIRST: bool = true;
}
