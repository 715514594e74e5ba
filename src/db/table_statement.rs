//! Statements that are the same for many tables, whose names are known only when they run. Diesel's own statements would be
//! compiled once a table. The names come from `schema.rs` and from the declarations of records, never from a request.
use super::any::Any;
use super::types::{AnyId, Instant, Sealed, Uid, UtcInstant};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Binary;
use std::borrow::Cow;
use std::marker::PhantomData;
use uuid::Uuid;

/// A statement in the making: `TableStatement::new().sql("DELETE FROM ").name(table)…`. `ST`: the SQL types of the columns that it
/// finds, if it finds some.
pub(super) struct TableStatement<ST = ()> {
    parts: Vec<Part>,
    finds: PhantomData<fn() -> ST>,
}

enum Part {
    Sql(Cow<'static, str>),
    Name(&'static str),
    Id(AnyId),
    Instant(Instant),
    Sealed(Sealed),
}

impl<ST> TableStatement<ST> {
    pub fn new() -> Self {
        Self { parts: vec![], finds: PhantomData }
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    pub fn sql(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.with(Part::Sql(text.into()))
    }

    /// The name of a table or of a column.
    pub fn name(self, name: &'static str) -> Self {
        self.with(Part::Name(name))
    }

    pub fn id(self, id: Uuid) -> Self {
        self.with(Part::Id(AnyId(id)))
    }

    /// These ids with commas between.
    pub fn ids(self, ids: &[Uuid]) -> Self {
        ids.iter().enumerate().fold(self, |statement, (index, id)| {
            let comma = if index == 0 { "" } else { ", " };
            statement.sql(comma).id(*id)
        })
    }

    pub fn instant(self, instant: Instant) -> Self {
        self.with(Part::Instant(instant))
    }

    pub fn sealed(self, sealed: Sealed) -> Self {
        self.with(Part::Sealed(sealed))
    }
}

impl<ST> Query for TableStatement<ST> {
    type SqlType = ST;
}

/// Prepared statements are known by their text.
impl<ST> QueryId for TableStatement<ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST> QueryFragment<Any> for TableStatement<ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        for part in &self.parts {
            match part {
                Part::Sql(text) => out.push_sql(text),
                Part::Name(name) => out.push_identifier(name)?,
                Part::Id(id) => out.push_bind_param::<Uid, AnyId>(id)?,
                Part::Instant(instant) => out.push_bind_param::<UtcInstant, Instant>(instant)?,
                Part::Sealed(sealed) => out.push_bind_param::<Binary, Sealed>(sealed)?,
            }
        }
        Ok(())
    }
}
