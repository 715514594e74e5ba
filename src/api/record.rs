//! The declarations of records. A slice declares each of its records once, beside the record's type. All features that
//! work on records of every slice use these declarations: personal export, seed, rotation of keys, hidden values in
//! audit rows, references, and the search. `resources` lists all kinds.
//!
//! ```text
//! crate::record! {
//!     Comment {
//!         id: new CommentId in stored, kind: "comment", table: task_comments,
//!         href: "/api/v1/tasks/{parent}/comments/{id}", read_by: Read,
//!         parent: task_id in stored of "task",
//!         title: body in stored.input,
//!         text: [body in stored.input = High],
//!         people: [author_id in stored = Owner, mentions at task_comment_mentions.user_id = Mentioned],
//!         held: [|tx, person, next| about(tx, person.user(), next)],
//!     }
//! }
//! ```
//!
//! Each member has the name of its column; `in` names the part of the struct that holds it. The entries come in this
//! order, and all may be left out except those up to `read_by`:
//!
//! - `new` before the id declares its type. Without it, the type has to exist, as for ids that lower layers use.
//! - `read_by`: the permission that reads the record.
//!   `titles_read_by`: another permission that is enough to read its title.
//! - `parent`: the member with the id of the parent record, and the kind of the parent.
//! - `visible_with`: for records that are as visible as the record that they belong to: the members with the ids of such
//!   records, and their kinds. `or uploaded_by`: if none is set, only that user sees the record, and those who may read all
//!   records of this kind.
//! - `title`: the member that is the record's title. `or name of user_id`: if the title is null, the name of that user
//!   is used instead. `until expires_at`: from that time on, the title is not found. A record without a title is never
//!   referred to.
//! - `text`: the members that a search looks into, and the weight of a word in each.
//! - `people`: the members with the users whom the record concerns, and why it concerns them. `at`: the table and
//!   column of these users, if they are in a table of their own.
//! - `confidential`: the members with values that no audit row contains.
//! - `sealed`: the columns that hold sealed values, including those of child tables.
//! - `held`: functions that find the rows about one person, for the export of all data that is held about that person.
//!   `|tx, person, next|` is called for one batch after the other, `|tx, person|` is called once, and `|person|` is
//!   called once without a lease. `if Read`: the rows are included only if the person's role has that permission.
//!   `as "name"`: a name for the rows that differs from the kind.
//! - `demo`: how to invent such records.
mod registry;

pub use registry::{Kind, Records, Reference};

use super::demo::Demo;
use super::list::Batch;
use crate::auth::sessions::Sessions;
use crate::auth::{Actor, Permission, Role};
use crate::base::error::Result;
use crate::base::formats::first_line;
pub use crate::base::terms::Weight;
use crate::db::audit::Subject;
use crate::db::search_terms::VisibleWith;
use crate::db::titles::TitleColumns;
use crate::db::types::{SessionId, UserId};
use crate::db::{Db, ReadTx, SealedColumn, WriteScope};
use futures_util::future::BoxFuture;
use poem_openapi::types::ToJSON;
use serde_json::Value;
use uuid::Uuid;

/// A kind of record of a slice. [`record!`](crate::record!) implements this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not declared as a record",
    note = "write `crate::record! {{ … }}` beside its type: see src/api/record.rs"
)]
pub trait Record: Sized {
    type Id: Subject;
    /// The permission that reads such records.
    type Read: Permission;
    /// The permission that reads the titles of such records.
    type ReadTitle: Permission;
    const TABLE: &'static str;
    /// The path of a record, with the placeholders `{id}` and `{parent}`.
    const HREF: &'static str;
    /// The parent of such records, if they have one.
    const PARENT: Option<Parent>;
    /// The columns of the title. `None` if such records are never referred to.
    const TITLE: Option<TitleColumns>;
    const TEXT: &'static [(&'static str, Weight)];
    /// The columns with the ids of the records with which such a record is seen.
    const VISIBLE_WITH: &'static [VisibleWith];
    /// The column with the user who sees such a record if it belongs to no other.
    const PRIVATE_TO: Option<&'static str>;
    const PEOPLE: &'static [PersonColumn];
    const SEALED: &'static [SealedColumn];
    const HELD: &'static [Held];
    const DEMO: Option<Demo>;

    fn id(&self) -> Uuid;
    /// The record's title: one line of at most [`MAX_TITLE`] characters.
    fn title(&self) -> String;
    /// The id of the parent record.
    fn parent(&self) -> Option<Uuid>;
    /// The texts that a search looks into, and the weight of a word in each.
    fn text(&self) -> Vec<(Weight, &str)>;
    /// The audiences that may find the record ([`crate::db::search_terms`]).
    fn audiences(&self) -> Vec<String>;
    /// The users whom the record concerns, and why it concerns them.
    fn people(&self) -> Vec<(Concern, UserId)>;

    /// The path of this record.
    fn href(&self) -> String {
        href(Self::HREF, self.id(), self.parent())
    }
}

/// The kind of a parent record, and the column of the child that holds the parent's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    pub kind: &'static str,
    pub column: &'static str,
}

impl Parent {
    pub const fn column_of(parent: Option<Self>) -> Option<&'static str> {
        match parent {
            Some(Self { column, .. }) => Some(column),
            None => None,
        }
    }
}

/// Why a record concerns a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// The user created the record, or was made its owner.
    Owner,
    /// The record is assigned to the user.
    Assignee,
    Mentioned,
    Invited,
}

/// A column with users whom a record concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersonColumn {
    pub table: &'static str,
    pub column: &'static str,
    pub concern: Concern,
}

/// The greatest length of a title, in characters.
pub const MAX_TITLE: usize = 200;

/// Makes a title from a text: its first line, cut to [`MAX_TITLE`] characters.
pub fn as_title(text: &str) -> String {
    first_line(text).unwrap_or_default().chars().take(MAX_TITLE).collect()
}

/// Fills in the placeholders `{id}` and `{parent}` of a path.
pub fn href(form: &str, id: Uuid, parent: Option<Uuid>) -> String {
    let below = form.replace("{parent}", &parent.map(|parent| parent.to_string()).unwrap_or_default());
    below.replace("{id}", &id.to_string())
}

/// A member that holds text or may hold text.
pub trait AsText {
    fn as_text(&self) -> Option<&str>;
}
impl AsText for String {
    fn as_text(&self) -> Option<&str> {
        Some(self)
    }
}
impl AsText for Option<String> {
    fn as_text(&self) -> Option<&str> {
        self.as_deref()
    }
}

/// A member that holds the ids of users.
pub trait AsUsers {
    fn as_users(&self) -> Vec<UserId>;
}
impl AsUsers for UserId {
    fn as_users(&self) -> Vec<UserId> {
        vec![*self]
    }
}
impl AsUsers for Option<UserId> {
    fn as_users(&self) -> Vec<UserId> {
        self.iter().copied().collect()
    }
}
impl AsUsers for Vec<UserId> {
    fn as_users(&self) -> Vec<UserId> {
        self.clone()
    }
}

/// A person who exports all data that is held about them.
pub struct DataSubject {
    pub db: Db,
    pub sessions: Sessions,
    pub actor: Actor,
    /// The person's current role. It may change during the export.
    pub role: Role,
    /// The session of the request. `None` if the request has an API key.
    pub session: Option<SessionId>,
    /// All kinds of records.
    pub records: Records,
}

impl DataSubject {
    pub fn user(&self) -> UserId {
        self.actor.actor()
    }
}

/// Rows about a person, and their name in the export.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub name: &'static str,
    pub rows: Rows,
}

/// The future of a function that finds rows.
pub type Found<'a> = BoxFuture<'a, Result<Vec<Value>>>;

/// How the rows about a person are found.
#[derive(Debug, Clone, Copy)]
pub enum Rows {
    /// Finds the next batch of rows, in the order of their ids.
    Batches(for<'a> fn(&'a mut ReadTx, &'a DataSubject, Batch) -> Found<'a>),
    /// Finds all rows at once, because there are few.
    Few(for<'a> fn(&'a mut ReadTx, &'a DataSubject) -> Found<'a>),
    /// Finds all rows at once. The function takes its own leases or needs none.
    Elsewhere(for<'a> fn(&'a DataSubject) -> Found<'a>),
}

/// The rows as JSON.
pub fn values<T: ToJSON>(rows: Vec<T>) -> Vec<Value> {
    rows.iter().filter_map(ToJSON::to_json).collect()
}

/// Declares a record. See [the module](crate::api::record) for its entries.
#[macro_export]
macro_rules! record {
    ($record:ident { id: new $id:ident $($rest:tt)* }) => {
        $crate::api::scalars::id!($id);
        $crate::record! { $record { id: $id $($rest)* } }
    };
    ($record:ident {
        id: $id:ident $(in $($in_id:ident).+)?, kind: $kind:literal, table: $table:ident, href: $href:literal,
        read_by: $read:ty $(, titles_read_by: $read_title:ty)?,
        $(parent: $parent:ident $(in $($in_parent:ident).+)? of $above:literal,)?
        $(visible_with: [$($with:ident $(in $($in_with:ident).+)? of $with_kind:literal),+ $(,)?] or $private:ident,)?
        $(title: $title:ident $(in $($in_title:ident).+)? $(or name of $name_of:ident)? $(until $until:ident)?,)?
        $(text: [$($text:ident $(in $($in_text:ident).+)? = $weight:ident),+ $(,)?],)?
        $(people: [$($user:ident $(in $($in_user:ident).+)? $(at $of:ident . $at:ident)? = $concern:ident),+ $(,)?],)?
        $(confidential: [$($secret:ident $(in $($in_secret:ident).+)?),+ $(,)?],)?
        $(sealed: [$($of_sealed:ident . $sealed:ident),+ $(,)?],)?
        $(held: [
            $($(if $may:ident)? $(as $name:literal)? |$first:ident $(, $second:ident $(, $next:ident)?)?| $rows:expr),+ $(,)?
        ],)?
        $(demo: $demo:expr,)?
    }) => {
        impl $crate::db::audit::Subject for $id {
            const KIND: &'static str = $kind;
            const CONFIDENTIAL: &'static [&'static str] = &[$($({
                let _ = |record: &$record| {
                    let _ = &record.$($($in_secret.)+)?$secret; // fails to compile if there is no such member
                };
                stringify!($secret)
            }),+)?];
            fn uuid(&self) -> uuid::Uuid {
                self.0
            }
        }
        impl $crate::api::Record for $record {
            type Id = $id;
            type Read = $read;
            type ReadTitle = $crate::record!(@first $($read_title,)? $read);
            const TABLE: &'static str = {
                let _ = $crate::db::schema::$table::table;
                stringify!($table)
            };
            const HREF: &'static str = $href;
            const PARENT: Option<$crate::api::record::Parent> = $crate::record!(
                @some $($crate::api::record::Parent { kind: $above, column: $crate::record!(@column $table.$parent) })?
            );
            const TITLE: Option<$crate::db::titles::TitleColumns> = $crate::record!(
                @some $($crate::db::titles::TitleColumns {
                    table: Self::TABLE,
                    title: $crate::record!(@column $table.$title),
                    name_of: $crate::record!(@some $($crate::record!(@column $table.$name_of))?),
                    parent: $crate::api::record::Parent::column_of(Self::PARENT),
                    until: $crate::record!(@some $($crate::record!(@column $table.$until))?),
                })?
            );
            const TEXT: &'static [(&'static str, $crate::api::record::Weight)] = &[
                $($(($crate::record!(@column $table.$text), $crate::api::record::Weight::$weight)),+)?
            ];
            const VISIBLE_WITH: &'static [$crate::db::search_terms::VisibleWith] = &[$($(
                $crate::db::search_terms::VisibleWith { column: $crate::record!(@column $table.$with), kind: $with_kind }
            ),+)?];
            const PRIVATE_TO: Option<&'static str> = $crate::record!(@some $($crate::record!(@column $table.$private))?);
            const PEOPLE: &'static [$crate::api::record::PersonColumn] = &[
                $($($crate::record!(@person $concern, $($of.$at,)? $table.$user)),+)?
            ];
            const SEALED: &'static [$crate::db::SealedColumn] = &[$($($crate::sealed_column!($of_sealed.$sealed)),+)?];
            const HELD: &'static [$crate::api::record::Held] = &[$($(
                $crate::record!(@held $kind; $($may)?; $($name)?; |$first $(, $second $(, $next)?)?| $rows)
            ),+)?];
            const DEMO: Option<$crate::api::demo::Demo> = $crate::record!(@some $($demo)?);

            fn id(&self) -> uuid::Uuid {
                self.$($($in_id.)+)?id.0
            }
            fn title(&self) -> String {
                $crate::record!(@title self $kind; $($($($in_title.)+)?$title)?)
            }
            fn parent(&self) -> Option<uuid::Uuid> {
                $crate::record!(@some $(self.$($($in_parent.)+)?$parent.0)?)
            }
            fn text(&self) -> Vec<($crate::api::record::Weight, &str)> {
                let texts: &[($crate::api::record::Weight, Option<&str>)] = &[$($((
                    $crate::api::record::Weight::$weight,
                    $crate::api::record::AsText::as_text(&self.$($($in_text.)+)?$text),
                )),+)?];
                texts.iter().filter_map(|(weight, text)| Some((*weight, (*text)?))).collect()
            }
            fn audiences(&self) -> Vec<String> {
                let visible_with: &[Option<&str>] = &[$($(self.$($($in_with.)+)?$with.as_ref().map(|_| $with_kind)),+)?];
                let private_to: Option<uuid::Uuid> = $crate::record!(@some $(self.$private.0)?);
                $crate::db::search_terms::audiences($kind, visible_with.iter().flatten().copied().next(), private_to)
            }
            fn people(&self) -> Vec<($crate::api::record::Concern, $crate::db::types::UserId)> {
                let users: &[($crate::api::record::Concern, Vec<$crate::db::types::UserId>)] = &[$($((
                    $crate::api::record::Concern::$concern,
                    $crate::api::record::AsUsers::as_users(&self.$($($in_user.)+)?$user),
                )),+)?];
                users.iter().flat_map(|(concern, users)| users.iter().map(|user| (*concern, *user))).collect()
            }
        }
    };
    (@some) => { None };
    (@some $value:expr) => { Some($value) };
    (@first $first:ty $(, $second:ty)?) => { $first };
    // The name of a column. It fails to compile if `schema.rs` has no such column.
    (@column $table:ident . $column:ident) => {{
        let _ = $crate::db::schema::$table::$column;
        stringify!($column)
    }};
    (@person $concern:ident, $of:ident . $at:ident, $table:ident . $user:ident) => {
        $crate::record!(@person $concern, $of.$at)
    };
    (@person $concern:ident, $table:ident . $user:ident) => {
        $crate::api::record::PersonColumn {
            table: stringify!($table),
            column: $crate::record!(@column $table.$user),
            concern: $crate::api::record::Concern::$concern,
        }
    };
    (@title $self:ident $kind:literal;) => { $kind.to_owned() };
    (@title $self:ident $kind:literal; $($path:ident).+) => {
        $crate::api::record::as_title($crate::api::record::AsText::as_text(&$self.$($path).+).unwrap_or_default())
    };
    (@name $kind:literal) => { $kind };
    (@name $kind:literal $name:literal) => { $name };
    (@held $kind:literal; $($may:ident)?; $($name:literal)?; |$tx:ident, $person:ident, $next:ident| $rows:expr) => {
        $crate::record!(
            @rows $kind; $($may)?; $($name)?; Batches; $person; [<'a>] 'a
            ($tx: &'a mut $crate::db::ReadTx, $person: &'a $crate::api::DataSubject, $next: $crate::api::list::Batch);
            $rows
        )
    };
    (@held $kind:literal; $($may:ident)?; $($name:literal)?; |$tx:ident, $person:ident| $rows:expr) => {
        $crate::record!(
            @rows $kind; $($may)?; $($name)?; Few; $person; [<'a>] 'a
            ($tx: &'a mut $crate::db::ReadTx, $person: &'a $crate::api::DataSubject);
            $rows
        )
    };
    (@held $kind:literal; $($may:ident)?; $($name:literal)?; |$person:ident| $rows:expr) => {
        $crate::record!(
            @rows $kind; $($may)?; $($name)?; Elsewhere; $person; [] '_ ($person: &$crate::api::DataSubject); $rows
        )
    };
    (
        @rows $kind:literal; $($may:ident)?; $($name:literal)?; $rows:ident; $person:ident; [$($generics:tt)*] $lifetime:lifetime
        ($($parameters:tt)+); $find:expr
    ) => {{
        fn find $($generics)* ($($parameters)+) -> $crate::api::record::Found<$lifetime> {
            futures_util::FutureExt::boxed(async move {
                $(if $person.role < <$may as $crate::auth::Permission>::ROLE {
                    return Ok(vec![]);
                })?
                Ok($crate::api::record::values($find.await?))
            })
        }
        $crate::api::record::Held {
            name: $crate::record!(@name $kind $($name)?),
            rows: $crate::api::record::Rows::$rows(find),
        }
    }};
}
