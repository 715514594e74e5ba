//! The types of files in the contract of the API.
use crate::api::Input;
use crate::api::list::{Filter, PlainSort};
use crate::auth::Role;
use crate::base::error::{Error, Result};
use crate::db::Any;
use crate::db::schema::files;
use crate::db::types::{FileId, Instant, UserId};
use crate::resources::contracts::ContractId;
use crate::resources::meetings::MeetingId;
use crate::resources::tasks::TaskId;
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

// Whether a caller may see a file depends on more than a role. So what is decided by the role alone, such as what audit
// rows show, is for those who see all files, and a file has no title by which others refer to it.
crate::record! {
    File {
        id: FileId, kind: "file", table: files, href: "/api/v1/files/{id}", read_by: super::ReadAll,
        visible_with: [task_id in parents of "task", meeting_id in parents of "meeting", contract_id in parents of "contract"]
            or uploaded_by, text: [name = High],
        people: [uploaded_by = Owner],
        held: [|tx, person, next| super::queries::about(tx, person, next)],
    }
}

/// An address of the storage, for a while.
#[derive(Debug, Clone, Object)]
pub struct FileLink {
    pub url: String,
    pub expires_at: Instant,
}

/// A user who looks for files.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    pub user: UserId,
    pub role: Role,
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
