//! The types of files in the contract of the API.
use crate::api::Input;
use crate::api::list::{Filter, PlainSort};
use crate::auth::{Permission, Role};
use crate::base::error::{Error, Result};
use crate::db::Any;
use crate::db::schema::files;
use crate::db::types::{FileId, Instant, UserId};
use crate::resources::contracts::{self, ContractId};
use crate::resources::meetings::{self, MeetingId};
use crate::resources::tasks::{self, TaskId};
use diesel::prelude::*;
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The record that a file belongs to. At most one member is set.
#[derive(Debug, Clone, Object, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = files, check_for_backend(Any))]
#[diesel(treat_none_as_default_value = false)]
pub struct FileParents {
    #[oai(nullable)]
    pub task_id: Option<TaskId>,
    #[oai(nullable)]
    pub meeting_id: Option<MeetingId>,
    #[oai(nullable)]
    pub contract_id: Option<ContractId>,
}

impl Input for FileParents {}

/// The record that a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    Task(TaskId),
    Meeting(MeetingId),
    Contract(ContractId),
}

impl Parent {
    /// The member that names it, its kind and its id.
    pub fn named(self) -> (&'static str, &'static str, Uuid) {
        match self {
            Self::Task(id) => ("task_id", "task", id.0),
            Self::Meeting(id) => ("meeting_id", "meeting", id.0),
            Self::Contract(id) => ("contract_id", "contract", id.0),
        }
    }
}

impl FileParents {
    /// The record that the file belongs to. Fails with 400 if there are several.
    pub fn only(&self) -> Result<Option<Parent>> {
        let all = [
            self.task_id.map(Parent::Task),
            self.meeting_id.map(Parent::Meeting),
            self.contract_id.map(Parent::Contract),
        ];
        let mut given = all.into_iter().flatten();
        match (given.next(), given.next()) {
            (parent, None) => Ok(parent),
            (_, Some(second)) => {
                Err(Error::invalid(second.named().0, "must not be given: a file belongs to one record"))
            }
        }
    }
}

/// What is known about a file, as stored and as returned to clients.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = files, check_for_backend(Any))]
pub struct File {
    pub id: FileId,
    pub name: String,
    /// The number of bytes.
    pub size: i64,
    pub content_type: String,
    /// The SHA-256 of the content, in hexadecimal digits.
    pub sha256: String,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub parents: FileParents,
    pub uploaded_by: UserId,
    pub version: i64,
    pub created_at: Instant,
}

crate::resource!(File, record, owner: uploaded_by);

// A file has no title by which others refer to it: whether a caller may see its name depends on more than a role.
crate::record! {
    File {
        id: FileId, kind: "file", table: files, href: "/api/v1/files/{id}", read_by: super::Read,
        text: [name = High],
        people: [uploaded_by = Owner],
        held: [|tx, person, next| super::queries::about(tx, person, next)],
    }
}

/// A user who looks for files.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    pub user: UserId,
    pub role: Role,
}

impl Reader {
    /// Whether the reader may see the files of all tasks, meetings and contracts, in this order.
    pub fn sees(self) -> [bool; 3] {
        [tasks::Read::ROLE, meetings::Read::ROLE, contracts::Read::ROLE].map(|least| self.role >= least)
    }

    /// Whether the reader may see files of other users that belong to nothing.
    pub fn sees_private(self) -> bool {
        super::Delete::FOR_OTHERS.is_some_and(|least| self.role >= least)
    }
}

/// The filters of a list of files.
#[derive(Debug, Clone, Object)]
pub struct FileFilter {
    pub task_id: Option<TaskId>,
    pub meeting_id: Option<MeetingId>,
    pub contract_id: Option<ContractId>,
}

impl Filter for FileFilter {
    type Item = File;
    type Column = PlainSort;
    const IS_PLAIN: bool = true;
}
