//! SQL statements that are the same for many tables and get the names of tables and columns at run time. With Diesel's
//! own query builder, each statement would be compiled once for each table. The names come from `schema.rs` and from
//! `record!` declarations, never from a request.
use super::any::Any;
use super::deadline::InTime;
use super::types::{AnyId, Instant, Sealed, Uid, UtcInstant};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{self, Binary};
use std::borrow::Cow;
use std::marker::PhantomData;
use uuid::Uuid;

/// A statement that is built from parts: `TableStatement::new().sql("DELETE FROM ").name(table)…`. `ST` is the SQL type
/// of the rows that it returns, and `()` if it returns none.
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
    Text(String),
    InTime,
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

    /// Appends the quoted name of a table or column.
    pub fn name(self, name: &'static str) -> Self {
        self.with(Part::Name(name))
    }

    pub fn id(self, id: Uuid) -> Self {
        self.with(Part::Id(AnyId(id)))
    }

    /// Appends the ids, separated by commas.
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

    pub fn text(self, text: impl Into<String>) -> Self {
        self.with(Part::Text(text.into()))
    }

    /// Appends the condition that ends a slow statement on SQLite.
    pub fn in_time(self) -> Self {
        self.with(Part::InTime)
    }
}

impl<ST> Query for TableStatement<ST> {
    type SqlType = ST;
}

/// The statement has no static query id, because its text depends on the table. Diesel caches prepared statements by
/// their text instead.
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
                Part::Text(text) => out.push_bind_param::<sql_types::Text, String>(text)?,
                Part::InTime => InTime.walk_ast(out.reborrow())?,
            }
        }
        Ok(())
    }
}
