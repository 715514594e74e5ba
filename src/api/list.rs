//! What all lists share: pages, cursors, sorting and search. This module has no HTTP and no SQL.
use crate::base::error::{Error, Result};
use crate::db::sql::NO_DAY;
use crate::db::{Cost, Db, ReadTx, Scope, SendAsyncFn};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use poem_openapi::{Enum, Object};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

mod batch;
pub use batch::{Batch, BatchSize};

pub const MAX_OFFSET: i64 = 100_000;

/// The filters of a slice's list. The members of the struct become query parameters.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no filter of a list",
    label = "a list needs a filter that knows its items and their order",
    note = "write `impl Filter for {Self}` with `Item` and `Column`, or `plain_list!({Self} of Item)` where there is nothing to filter by"
)]
pub trait Filter: Type + ParseFromJSON + ToJSON + Clone + 'static {
    type Item: Type + ToJSON + Send + Sync + 'static;
    /// The columns by which the list can be sorted. Each is also a member of `Item` with the same name.
    type Column: Column;
    /// Whether the list is plain. A plain list has a fixed order, so that it does not take `sort`, and it does not search in
    /// its items by `q`.
    const IS_PLAIN: bool = false;
    /// Whether a plain list begins with its oldest items.
    const IS_OLDEST_FIRST: bool = false;
}

/// The order of plain lists.
#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum PlainSort {
    #[default]
    CreatedAt,
}

/// Declares the filter of a plain list. It has no members: `plain_list!(InvitationFilter of Invitation)`.
#[macro_export]
macro_rules! plain_list {
    ($filter:ident of $item:ty) => {
        #[derive(Debug, Clone, poem_openapi::Object)]
        pub struct $filter {}

        impl $crate::api::list::Filter for $filter {
            type Item = $item;
            type Column = $crate::api::list::PlainSort;
            const IS_PLAIN: bool = true;
        }
    };
}

pub trait Column: Type + ParseFromJSON + ToJSON + Default + Copy + 'static {}
impl<T: Type + ParseFromJSON + ToJSON + Default + Copy + 'static> Column for T {}

#[derive(Debug, Clone, Copy)]
pub struct Sort<C> {
    pub by: C,
    pub descending: bool,
}

impl<C: Column> Sort<C> {
    fn column(self) -> String {
        self.by.to_json().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The value of the parameter `sort`, such as `-created_at`.
    fn name(self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.column())
    }
}

/// The requested part of a list.
pub struct List<F: Filter> {
    pub filter: F,
    pub q: Option<String>,
    pub sort: Sort<F::Column>,
    pub per_page: i32,
    pub at: At,
}

pub enum At {
    Page(i32),
    /// After this cursor, or at the start if there is none. The rows are not counted.
    Cursor(Option<String>),
}

impl<F: Filter> List<F> {
    /// The request in canonical form. Two requests are for the same rows if it is equal.
    pub fn canonical(&self) -> String {
        let at = match &self.at {
            At::Page(page) => json!(page),
            At::Cursor(cursor) => json!([cursor]),
        };
        json!([self.filter.to_json(), self.q, self.sort.name(), self.per_page, at]).to_string()
    }

    /// How much work a page is for the database. A search reads every row and its texts.
    pub fn cost(&self) -> Cost {
        match (&self.q, self.filter.to_json()) {
            (Some(_), _) => Cost::Long,
            (None, Some(Value::Object(members))) if members.values().any(|member| !member.is_null()) => Cost::List,
            (None, _) => Cost::WholeList,
        }
    }

    /// As [`Self::cost`], for a batch of an export.
    pub fn cost_of_export(&self) -> Cost {
        match self.cost() {
            Cost::WholeList => Cost::WholeExport,
            Cost::Ordinary | Cost::List | Cost::Long | Cost::WholeExport => Cost::Long,
        }
    }

    /// Reads the list: `list.read(&self.db, &caller, async |tx| queries::list(tx, &list).await)`.
    pub async fn read<R, W>(&self, db: &Db, scope: &impl Scope, work: W) -> Result<R>
    where
        for<'tx> W: AsyncFnOnce(&'tx mut ReadTx) -> Result<R> + SendAsyncFn<&'tx mut ReadTx, Result<R>, Fut: Send>,
    {
        db.read_at(self.cost(), scope, work).await.map_err(|error| self.advise(error))
    }

    /// Adds advice to the error of a search that took the database too long.
    pub fn advise(&self, error: Error) -> Error {
        match error {
            Error::SlowStatement(mut detail, cause) if self.q.is_some() => {
                detail.add(
                    "q",
                    "took too long to search for. Use a longer or rarer text, or narrow the list with a filter.",
                );
                Error::SlowStatement(detail, cause)
            }
            error => error,
        }
    }

    /// The number of rows to read: one more than a page holds, to see whether another page follows.
    pub fn limit(&self) -> i64 {
        i64::from(self.per_page) + 1
    }

    pub fn offset(&self) -> Result<i64> {
        let At::Page(page) = self.at else { return Ok(0) };
        match (i64::from(page) - 1) * i64::from(self.per_page) {
            offset if offset > MAX_OFFSET => {
                Err(Error::unprocessable("page", "is too far into the list. Follow `next_cursor` instead."))
            }
            offset => Ok(offset),
        }
    }

    pub fn is_counted(&self) -> bool {
        matches!(self.at, At::Page(_))
    }

    /// The position before this page: the value of the sort column and the id of the row.
    pub fn after<K: DeserializeOwned, Id: DeserializeOwned>(&self) -> Result<Option<(K, Id)>> {
        let At::Cursor(Some(cursor)) = &self.at else { return Ok(None) };
        let decode = || {
            let (sort, key, id): (String, Value, Value) = serde_json::from_slice(&BASE64.decode(cursor).ok()?).ok()?;
            let key = if key.is_null() { json!(NO_DAY) } else { key };
            let has_nul = key.as_str().is_some_and(|text| text.contains('\0')); // PostgreSQL refuses them
            let is_ours = sort == self.sort.name() && !has_nul;
            is_ours.then_some((serde_json::from_value(key).ok()?, serde_json::from_value(id).ok()?))
        };
        let invalid = || Error::invalid("cursor", "does not belong to this list in this order");
        decode().map(Some).ok_or_else(invalid)
    }

    /// Selects from rows in memory what a query would find, those with the greatest place first. This is for the few lists
    /// that the database does not sort. `place` returns the value of the sort column and the id of a row.
    pub fn pick<T, K, Id>(&self, rows: Vec<T>, place: impl Fn(&T) -> (K, Id)) -> Result<(Vec<T>, Option<i64>)>
    where
        K: DeserializeOwned + PartialOrd,
        Id: DeserializeOwned + PartialOrd,
    {
        let total = self.is_counted().then(|| i64::try_from(rows.len()).unwrap_or(i64::MAX));
        let count = |number: i64| usize::try_from(number).unwrap_or_default();
        let (after, offset, limit) = (self.after::<K, Id>()?, count(self.offset()?), count(self.limit()));
        let is_next = |row: &T| after.as_ref().is_none_or(|after| place(row) < *after);
        Ok((rows.into_iter().filter(is_next).skip(offset).take(limit).collect(), total))
    }

    /// The cursor with which the list continues after an item.
    pub fn cursor_after(&self, item: &Value) -> String {
        let position = (self.sort.name(), &item[self.sort.column()], &item["id"]);
        BASE64.encode(json!(position).to_string())
    }

    /// Makes a page of the rows that were read, which are at most [`Self::limit`].
    pub fn page(&self, mut items: Vec<F::Item>, total: Option<i64>) -> Page<F::Item> {
        let per_page = usize::try_from(self.per_page).unwrap_or_default();
        let more = items.len() > per_page;
        items.truncate(per_page);
        let next_cursor = items.last().filter(|_| more).and_then(ToJSON::to_json).map(|last| self.cursor_after(&last));
        let page = match self.at {
            At::Page(page) => Some(page),
            At::Cursor(_) => None,
        };
        let pages = total.map(|total| (total + i64::from(self.per_page) - 1) / i64::from(self.per_page));
        Page { items, meta: PageMeta { page, per_page: self.per_page, total, pages, next_cursor } }
    }
}

pub struct Page<T> {
    pub items: Vec<T>,
    pub meta: PageMeta,
}

/// The position of a page in its list.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PageMeta {
    pub page: Option<i32>,
    pub per_page: i32,
    pub total: Option<i64>,
    pub pages: Option<i64>,
    /// The value of `cursor` for the next page. Absent on the last page.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests;
