//! All kinds of records, as what crosses the slices sees them. `resources::records` makes the list; slices that need it are
//! given it, as they can't know one another.
use super::{Concern, Held, Parent, PersonColumn, Record, Weight, as_title, href};
use crate::api::demo::Demo;
use crate::auth::{Permission, Role};
use crate::base::error::Result;
use crate::db::audit::Subject;
use crate::db::titles::{TitleColumns, Titled};
use crate::db::{ReadTx, SealedColumn};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A kind of record: what its declaration says, without its type.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub table: &'static str,
    /// The least role that reads such records.
    pub role: Role,
    /// The least role that learns what they are called.
    pub title_role: Role,
    pub href: &'static str,
    pub parent: Option<Parent>,
    pub title: Option<TitleColumns>,
    pub text: &'static [(&'static str, Weight)],
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
            people: R::PEOPLE,
            confidential: R::Id::CONFIDENTIAL,
            sealed: R::SEALED,
            held: R::HELD,
            demo: R::DEMO,
        }
    }

    /// What the contract calls a path parameter with an id of this kind.
    pub fn parameter(&self) -> String {
        format!("{}_id", self.name)
    }
}

/// A record that something refers to, as its reader may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub kind: &'static str,
    pub id: Uuid,
    pub title: String,
    /// Where it can be read.
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

    /// What is held about a person, in the order of its export.
    pub fn held(self) -> Vec<&'static Held> {
        self.kinds().flat_map(|kind| kind.held).collect()
    }

    /// All columns that hold sealed values.
    pub fn sealed(self) -> Vec<SealedColumn> {
        self.kinds().flat_map(|kind| kind.sealed).copied().collect()
    }

    /// What can be invented, in the order of its numbers.
    pub fn demos(self) -> Vec<Demo> {
        let mut demos: Vec<_> = self.kinds().filter_map(|kind| kind.demo).collect();
        demos.sort_by_key(|demo| demo.number);
        demos
    }

    /// The columns with users whom records concern, and why.
    pub fn people(self) -> impl Iterator<Item = (&'static str, &'static str, Concern)> {
        let people = self.kinds().flat_map(|kind| kind.people);
        people.map(|PersonColumn { table, column, concern }| (*table, *column, *concern))
    }

    /// Those of these records, by kind and id, that a reader of this role may see in the lease's tenant: each once, in the order
    /// in which they were first asked for. Kinds that there are not and ids that are nobody's, or another tenant's, are left
    /// out. It takes one statement for each kind that is asked for.
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
