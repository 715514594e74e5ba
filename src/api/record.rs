//! What a slice says of its records, once, beside their types. All that crosses the slices follows from it: personal export,
//! seed, rotation of keys, what audit rows hide, references. `resources::records` names all kinds.
//!
//! ```text
//! crate::record! {
//!     Comment {
//!         id: CommentId in stored, kind: "comment", table: task_comments, href: "/api/v1/tasks/{parent}/comments/{id}", read_by: Read,
//!         parent: task_id in stored of "task",
//!         title: body in stored.input,
//!         text: [body in stored.input = High],
//!         people: [author_id in stored = Owner, mentions at task_comment_mentions.user_id = Mentioned],
//!         held: [|tx, person, next| about(tx, person.user(), next)],
//!     }
//! }
//! ```
//!
//! A member is named as its column is; `in` says in which part of the struct it stands. In this order, all but the first line
//! may be left out:
//!
//! - `lists: cached` after the id: its lists are cached. `read_by`: the permission whose roles read it; `titles_read_by`: another one whose
//!   roles learn its title.
//! - `parent`: the member with the id of the record that it is below, and the kind of that one.
//! - `title`: the member that it is called by; `or name of user_id`: by the name of that user, where it is null; `until expires_at`:
//!   it is not found from then on. A record without a title is never referred to.
//! - `text`: the members that a search looks into, and how much a word there weighs.
//! - `people`: the members with the users whom it concerns, and why. `at`: where they stand in a table of their own.
//! - `confidential`: the members whose values are in no audit row.
//! - `sealed`: the columns that hold sealed values, also those of tables below its own.
//! - `held`: how to find the rows about one person, for the export of all that is held about them. `|tx, person, next|` is asked for
//!   one batch after the other, `|tx, person|` once, and `|person|` without a lease. `if Read`: only while the person's role has
//!   that permission; `as "name"`: under another name than the kind.
//! - `demo`: how to invent some.
mod registry;

pub use registry::{Kind, Records, Reference};

use super::demo::Demo;
use super::list::Batch;
use crate::auth::sessions::Sessions;
use crate::auth::{Actor, Permission, Role};
use crate::base::error::Result;
use crate::base::formats::first_line;
use crate::db::audit::Subject;
use crate::db::titles::TitleColumns;
use crate::db::types::{SessionId, UserId};
use crate::db::{Db, ReadTx, SealedColumn, WriteScope};
use futures_util::future::BoxFuture;
use poem_openapi::types::ToJSON;
use serde_json::Value;
use uuid::Uuid;

/// What a slice is about: [`record!`](crate::record!) declares one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not declared as a record",
    note = "write `crate::record! {{ … }}` beside its type: see src/api/record.rs"
)]
pub trait Record: Sized {
    type Id: Subject;
    /// The permission that reads such records.
    type Read: Permission;
    /// The permission that reads what they are called.
    type ReadTitle: Permission;
    const TABLE: &'static str;
    /// Its address, with `{id}` and `{parent}`.
    const HREF: &'static str;
    /// What it is below.
    const PARENT: Option<Parent>;
    /// None where it is never referred to.
    const TITLE: Option<TitleColumns>;
    const TEXT: &'static [(&'static str, Weight)];
    const PEOPLE: &'static [PersonColumn];
    const SEALED: &'static [SealedColumn];
    const HELD: &'static [Held];
    const DEMO: Option<Demo>;

    fn id(&self) -> Uuid;
    /// What it is called: at most [`MAX_TITLE`] characters in one line.
    fn title(&self) -> String;
    /// The id of the record that it is below.
    fn parent(&self) -> Option<Uuid>;
    /// The texts that a search looks into, and how much a word there weighs.
    fn text(&self) -> Vec<(Weight, &str)>;
    /// The users whom it concerns, and why.
    fn people(&self) -> Vec<(Concern, UserId)>;

    /// Where it can be read.
    fn href(&self) -> String {
        href(Self::HREF, self.id(), self.parent())
    }
}

/// The kind of record that another one is below, and the column with its id.
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

/// How much a word weighs in a search, by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    Low,
    Medium,
    High,
}

/// Why a record concerns a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// They made it, or it was given to them.
    Owner,
    /// They are to do it.
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

/// So many characters a title has at most.
pub const MAX_TITLE: usize = 200;

/// A text as a title: its first line.
pub fn as_title(text: &str) -> String {
    first_line(text).unwrap_or_default().chars().take(MAX_TITLE).collect()
}

/// An address of this form.
pub fn href(form: &str, id: Uuid, parent: Option<Uuid>) -> String {
    let below = form.replace("{parent}", &parent.map(|parent| parent.to_string()).unwrap_or_default());
    below.replace("{id}", &id.to_string())
}

/// A member that may be text.
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

/// A member that names users.
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

/// A person who is given all that is held about them.
pub struct DataSubject {
    pub db: Db,
    pub sessions: Sessions,
    pub actor: Actor,
    /// What they are now: it may change while they read.
    pub role: Role,
    /// The session that asks; none where an API key does.
    pub session: Option<SessionId>,
    /// All kinds of records.
    pub records: Records,
}

impl DataSubject {
    pub fn user(&self) -> UserId {
        self.actor.actor()
    }
}

/// Rows about a person, under a name of the export.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub name: &'static str,
    pub rows: Rows,
}

/// The rows that were found, in the making.
pub type Found<'a> = BoxFuture<'a, Result<Vec<Value>>>;

/// How the rows about a person are found.
#[derive(Debug, Clone, Copy)]
pub enum Rows {
    /// The next ones, in the order of their ids.
    Batches(for<'a> fn(&'a mut ReadTx, &'a DataSubject, Batch) -> Found<'a>),
    /// All of them, as they are few.
    Few(for<'a> fn(&'a mut ReadTx, &'a DataSubject) -> Found<'a>),
    /// The same, by what takes its leases itself or needs none.
    Elsewhere(for<'a> fn(&'a DataSubject) -> Found<'a>),
}

/// Rows as they are answered.
pub fn values<T: ToJSON>(rows: Vec<T>) -> Vec<Value> {
    rows.iter().filter_map(ToJSON::to_json).collect()
}

/// Declares a record: see [the module](crate::api::record).
#[macro_export]
macro_rules! record {
    ($record:ident {
        id: $id:ident $(in $($in_id:ident).+)? $(, lists: $cached:ident)?, kind: $kind:literal, table: $table:ident, href: $href:literal,
        read_by: $read:ty $(, titles_read_by: $read_title:ty)?,
        $(parent: $parent:ident $(in $($in_parent:ident).+)? of $above:literal,)?
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
            const IS_CACHED: bool = $crate::record!(@cached $($cached)?);
            const CONFIDENTIAL: &'static [&'static str] = &[$($({
                let _ = |record: &$record| {
                    let _ = &record.$($($in_secret.)+)?$secret; // there is such a member
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
            fn people(&self) -> Vec<($crate::api::record::Concern, $crate::db::types::UserId)> {
                let users: &[($crate::api::record::Concern, Vec<$crate::db::types::UserId>)] = &[$($((
                    $crate::api::record::Concern::$concern,
                    $crate::api::record::AsUsers::as_users(&self.$($($in_user.)+)?$user),
                )),+)?];
                users.iter().flat_map(|(concern, users)| users.iter().map(|user| (*concern, *user))).collect()
            }
        }
    };
    (@cached) => { false };
    (@cached cached) => { true };
    (@some) => { None };
    (@some $value:expr) => { Some($value) };
    (@first $first:ty $(, $second:ty)?) => { $first };
    // The name of a column that there is.
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
