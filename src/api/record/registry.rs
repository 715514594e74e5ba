//! The registry of all kinds of records, for features that work on records of every slice. `resources` makes
//! the list. Slices that need it get it as a parameter, because slices do not depend on each other.
use super::{Concern, Held, Parent, PersonColumn, Record, Weight, as_title, href};
use crate::api::demo::Demo;
use crate::auth::{Permission, Role};
use crate::base::error::Result;
use crate::db::audit::Subject;
use crate::db::search_terms::{TextSource, VisibleWith};
use crate::db::titles::{TitleColumns, Titled};
use crate::db::{ReadTx, SealedColumn};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A kind of record: the content of its declaration, without its Rust type.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub table: &'static str,
    /// The lowest role that may read such records.
    pub role: Role,
    /// The lowest role that may read their titles.
    pub title_role: Role,
    pub href: &'static str,
    pub parent: Option<Parent>,
    pub title: Option<TitleColumns>,
    pub text: &'static [(&'static str, Weight)],
    pub visible_with: &'static [VisibleWith],
    pub private_to: Option<&'static str>,
    pub people: &'static [PersonColumn],
    pub confidential: &'static [&'static str],
    pub sealed: &'static [SealedColumn],
    pub held: &'static [Held],
    pub demo: Option<Demo>,
}

impl Kind {
    pub const fn of<R: Record>() -> Self {
        Self {
            name: R::Id::KIND,
            table: R::TABLE,
            role: R::Read::ROLE,
            title_role: R::ReadTitle::ROLE,
            href: R::HREF,
            parent: R::PARENT,
            title: R::TITLE,
            text: R::TEXT,
            visible_with: R::VISIBLE_WITH,
            private_to: R::PRIVATE_TO,
            people: R::PEOPLE,
            confidential: R::Id::CONFIDENTIAL,
            sealed: R::SEALED,
            held: R::HELD,
            demo: R::DEMO,
        }
    }

    /// Where the texts are that a search looks into. `None` if records of this kind have none.
    pub fn texts(&self) -> Option<TextSource> {
        let source = TextSource {
            kind: self.name,
            table: self.table,
            texts: self.text,
            parent: Parent::column_of(self.parent),
            visible_with: self.visible_with,
            private_to: self.private_to,
        };
        (!self.text.is_empty()).then_some(source)
    }

    /// The columns of such records that refer to a record of another kind, with which they are deleted.
    pub fn below(&self, other: &str) -> impl Iterator<Item = &'static str> {
        let parent = self.parent.filter(|parent| parent.kind == other).map(|parent| parent.column);
        let visible_with = self.visible_with.iter().filter(move |with| with.kind == other).map(|with| with.column);
        parent.into_iter().chain(visible_with)
    }

    /// The name that the contract gives to a path parameter with an id of this kind.
    pub fn parameter(&self) -> String {
        format!("{}_id", self.name)
    }
}

/// A reference to a record, as its reader may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub kind: &'static str,
    pub id: Uuid,
    pub title: String,
    /// The path of the record.
    pub href: String,
}

/// All kinds of records, in the order of a personal export.
#[derive(Debug, Clone, Copy)]
pub struct Records(&'static [Kind]);

impl Records {
    pub const fn new(kinds: &'static [Kind]) -> Self {
        Self(kinds)
    }

    pub fn kinds(self) -> impl Iterator<Item = &'static Kind> {
        self.0.iter()
    }

    pub fn kind(self, name: &str) -> Option<&'static Kind> {
        self.0.iter().find(|kind| kind.name == name)
    }

    /// The functions that find the rows about a person, in the order of the personal export.
    pub fn held(self) -> Vec<&'static Held> {
        self.kinds().flat_map(|kind| kind.held).collect()
    }

    /// All columns that hold sealed values.
    pub fn sealed(self) -> Vec<SealedColumn> {
        self.kinds().flat_map(|kind| kind.sealed).copied().collect()
    }

    /// The kinds of demo records, in the order of their numbers.
    pub fn demos(self) -> Vec<Demo> {
        let mut demos: Vec<_> = self.kinds().filter_map(|kind| kind.demo).collect();
        demos.sort_by_key(|demo| demo.number);
        demos
    }

    /// The columns with the users whom records concern, and why: table, column and concern.
    pub fn people(self) -> impl Iterator<Item = (&'static str, &'static str, Concern)> {
        let people = self.kinds().flat_map(|kind| kind.people);
        people.map(|PersonColumn { table, column, concern }| (*table, *column, *concern))
    }

    /// References to the wanted records, which are given by kind and id. The result has only records in the lease's
    /// tenant whose titles a reader of this role may read. It has each record once, in the order of `wanted`. Unknown
    /// kinds, unknown ids and ids of other tenants are left out. The query runs one statement for each wanted kind.
    pub async fn references(self, tx: &mut ReadTx, reader: Role, wanted: &[(&str, Uuid)]) -> Result<Vec<Reference>> {
        let mut ids: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for (kind, id) in wanted {
            ids.entry(kind).or_default().push(*id);
        }
        let mut found = HashMap::new();
        for (name, mut ids) in ids {
            let kind = self.kind(name).filter(|kind| reader >= kind.title_role);
            let Some((kind, columns)) = kind.and_then(|kind| Some((kind, kind.title?))) else { continue };
            ids.sort_unstable();
            ids.dedup();
            for Titled { id, title, parent } in tx.titles(columns, &ids).await? {
                let (title, href) = (as_title(&title), href(kind.href, id, parent));
                found.insert((kind.name, id), Reference { kind: kind.name, id, title, href });
            }
        }
        Ok(wanted.iter().filter_map(|(kind, id)| found.remove(&(*kind, *id))).collect())
    }
}
