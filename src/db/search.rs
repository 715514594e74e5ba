//! Case-insensitive searches for text. By itself, PostgreSQL folds only the letters that the database's `LC_CTYPE`
//! knows. With `C`, these are the letters of ASCII, so searches then name another collation.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::any::Any;
use super::sql::contains;
use super::{Db, ReadTx, RunQueryDsl};
use crate::base::error::Result;
use crate::db::scope::System;
use diesel::dsl::sql;
use diesel::expression::{AppearsOnTable, AsExpression, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Bool, Text};
use std::sync::{Arc, OnceLock};

/// The collations that fold the letters of all scripts, the fastest first. Not every server has all of them: the first
/// comes with PostgreSQL 17, the next two come with the system, and the last comes with ICU.
const COLLATIONS: [&str; 4] = ["pg_c_utf8", "C.utf8", "C.UTF-8", "und-x-icu"];

/// How the database folds case in searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// The database folds by its own rules.
    Own,
    /// Searches name this collation, which makes them slower.
    By(&'static str),
    /// The database folds by its own rules, and only ASCII. It has no collation that folds more.
    AsciiAlone,
}

/// The [`Folding`] of a database, once it is known. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownFolding(Arc<OnceLock<Folding>>);

impl Db {
    /// Finds out how the database folds case. Anything unusual is logged.
    pub async fn folding(&self) -> Result<Folding> {
        self.read(&System::probe(), async |tx: &mut ReadTx| tx.find_folding().await).await
    }
}

impl ReadTx {
    /// Returns the pattern with which [`like`] finds texts that contain this one.
    pub fn pattern(&self, text: &str) -> Pattern {
        let collation = match self.known_folding.0.get() {
            Some(Folding::By(collation)) => Some(*collation),
            Some(Folding::Own | Folding::AsciiAlone) | None => None,
        };
        Pattern { text: contains(text), collation }
    }

    /// Returns the folding. Only the first call asks the database.
    pub(super) async fn find_folding(&mut self) -> Result<Folding> {
        if let Some(known) = self.known_folding.0.get() {
            return Ok(*known);
        }
        let found = match self.is_postgres() {
            true => self.probe_folding().await?,
            false => Folding::Own,
        };
        if self.known_folding.0.set(found).is_ok() {
            match found {
                Folding::Own => {}
                Folding::By(collation) => tracing::info!(
                    collation,
                    "The database's LC_CTYPE does not fold all letters: searches use a collation, and take longer"
                ),
                Folding::AsciiAlone => tracing::warn!(
                    "The database's LC_CTYPE folds only the letters of ASCII, and there is no other collation: searches for \
                     all others are case-sensitive"
                ),
            }
        }
        Ok(found)
    }

    async fn probe_folding(&mut self) -> Result<Folding> {
        let is_unicode = diesel::select(sql::<Bool>("getdatabaseencoding() = 'UTF8'"));
        if !is_unicode.get_result(self).await? {
            tracing::warn!("The database's encoding is not UTF8: it can't hold the texts of all scripts");
            return Ok(Folding::Own); // it would refuse the letters of the query below
        }
        if diesel::select(sql::<Bool>("lower('П') = 'п'")).get_result(self).await? {
            return Ok(Folding::Own);
        }
        let there = sql::<Text>(
            "c.collname::text FROM pg_collation c JOIN pg_database d ON d.datname = current_database() \
             WHERE c.collnamespace = 'pg_catalog'::regnamespace AND c.collencoding IN (-1, d.encoding)",
        );
        let there: Vec<String> = diesel::select(there).load(self).await?;
        for collation in COLLATIONS {
            let folds = format!("lower('П' COLLATE \"{collation}\") = 'п'");
            if there.iter().any(|name| name == collation)
                && diesel::select(sql::<Bool>(&folds)).get_result(self).await?
            {
                return Ok(Folding::By(collation));
            }
        }
        Ok(Folding::AsciiAlone)
    }
}

/// The pattern of a search: see [`ReadTx::pattern`].
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    collation: Option<&'static str>,
}

/// Whether a text matches a pattern, regardless of case. The database folds both of them, because no two databases
/// agree on all letters.
pub fn like<T>(text: T, pattern: Pattern) -> Like<T>
where
    T: Expression<SqlType = Text>,
{
    let Pattern { text: pattern, collation } = pattern;
    Like { text, pattern: AsExpression::<Text>::as_expression(pattern), collation }
}

#[derive(Debug, Clone)]
pub struct Like<T> {
    text: T,
    pattern: <String as AsExpression<Text>>::Expression,
    collation: Option<&'static str>,
}

impl<T> Expression for Like<T> {
    type SqlType = Bool;
}
impl<T, QS> AppearsOnTable<QS> for Like<T> where T: AppearsOnTable<QS> {}
impl<T, QS> SelectableExpression<QS> for Like<T> where T: SelectableExpression<QS> {}
impl<T, G> ValidGrouping<G> for Like<T> {
    type IsAggregate = is_aggregate::Never;
}
/// The statement has no static query id, because its type does not contain the collation.
impl<T> QueryId for Like<T> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: QueryFragment<Any>> QueryFragment<Any> for Like<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Any>) -> QueryResult<()> {
        let end = match (out.backend(), self.collation) {
            (Any::Pg(_), Some(collation)) => format!(" COLLATE \"{collation}\")"),
            _ => ")".to_owned(),
        };
        out.push_sql("lower(");
        self.text.walk_ast(out.reborrow())?;
        out.push_sql(&end);
        out.push_sql(" LIKE lower(");
        self.pattern.walk_ast(out.reborrow())?;
        out.push_sql(&end);
        out.push_sql(" ESCAPE '!'");
        Ok(())
    }
}
