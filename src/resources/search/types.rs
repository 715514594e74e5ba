//! The types of the search in the contract of the API.
use super::queries::Reader;
use crate::api::list::{Filter, List};
use crate::api::query::QueryParams;
use crate::base::error::{Error, Result};
use crate::base::terms::{Part, Wish};
use crate::db::search_terms::Search;
use crate::db::types::AnyId;
use crate::resources::RECORDS;
use poem_openapi::registry::{MetaSchema, Registry};
use poem_openapi::{Enum, Object};
use serde::Serialize;
use serde_json::{Map, Value};

/// What a search looks for.
#[derive(Debug, Clone, Object)]
pub struct SearchFilter {
    /// The words to find.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub q: String,
    /// The only kind of records to find.
    #[oai(validator(max_length = 20))]
    pub kind: Option<String>,
}

/// The order of what was found.
#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum SearchSort {
    #[default]
    Score,
}

impl Filter for SearchFilter {
    type Item = SearchResult;
    type Column = SearchSort;
    const IS_PLAIN: bool = true;
}

impl SearchFilter {
    /// The search, with what a reader may find. Fails with 422 if there is nothing to search for.
    pub fn search(&self, reader: Reader) -> Result<Search> {
        let wish = Wish::parse(&self.q).map_err(|problem| Error::unprocessable("q", problem.to_string()))?;
        let kind = match &self.kind {
            None => None,
            Some(name) => match RECORDS.kind(name).filter(|kind| !kind.text.is_empty()) {
                None => return Err(Error::unprocessable("kind", "is no kind of records that can be searched for")),
                known => known,
            },
        };
        Ok(Search { wish, audiences: reader.audiences(kind), kind: self.kind.clone() })
    }
}

/// The parameters of a search.
pub struct SearchQuery(pub List<SearchFilter>);

impl QueryParams for SearchQuery {
    fn describe(registry: &mut Registry) -> MetaSchema {
        MetaSchema { required: vec!["q"], ..List::<SearchFilter>::describe(registry) }
    }
    fn parse(members: Map<String, Value>) -> Result<Self> {
        List::parse(members).map(Self)
    }
}

/// A part of a text.
#[derive(Debug, Clone, Object, Serialize)]
pub struct SnippetPart {
    pub text: String,
    /// Whether this part is what was searched for.
    pub hit: bool,
}

impl From<Part> for SnippetPart {
    fn from(Part { text, is_hit }: Part) -> Self {
        Self { text, hit: is_hit }
    }
}

/// A record that was found.
#[derive(Debug, Clone, Object, Serialize)]
pub struct SearchResult {
    pub kind: String,
    pub id: AnyId,
    pub title: String,
    /// The address of the record.
    pub href: String,
    /// A piece of the text that contains what was searched for.
    pub snippet: Vec<SnippetPart>,
    /// How well the record fits.
    pub score: i16,
}
