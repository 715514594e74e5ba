//! The types of a contract's history in the API.
use crate::api::list::Filter;
use crate::base::error::Result;
use crate::db::schema::contract_history;
use crate::db::types::{Instant, UserId};
use crate::db::{Any, Place, Sealed, SealedColumn, Unsealer};
use crate::resources::contracts::types::opened;
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

crate::api::scalars::id!(HistoryId);

/// An entry as stored. Values that are amounts are in the sealed columns, all others are in the plain ones.
#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = contract_history, check_for_backend(Any), treat_none_as_default_value = false)]
pub struct Row {
    pub id: HistoryId,
    pub version: i64,
    pub created_at: Instant,
    pub changed_by: Option<UserId>,
    pub field: String,
    pub from_value: Option<String>,
    pub to_value: Option<String>,
    pub from_sealed: Option<Sealed>,
    pub to_sealed: Option<Sealed>,
}

/// The columns with the sealed amounts of an entry.
pub const FROM: SealedColumn = crate::sealed_column!(contract_history.from_sealed);
pub const TO: SealedColumn = crate::sealed_column!(contract_history.to_sealed);

/// The place to which a sealed amount of an entry is bound.
pub fn place(id: HistoryId, column: SealedColumn) -> Place {
    column.of(id.0)
}

impl Row {
    /// The entry as the caller may see it: values of the amount are decrypted only with an `unsealer`.
    pub fn decrypt_for(self, unsealer: Option<&Unsealer>) -> Result<ContractHistoryEntry> {
        let Self { id, version, created_at, changed_by, field, from_value, to_value, from_sealed, to_sealed } = self;
        let from_amount = opened(unsealer, place(id, FROM), from_sealed.as_ref())?;
        let to_amount = opened(unsealer, place(id, TO), to_sealed.as_ref())?;
        let from = from_value.or(from_amount.map(|amount| amount.reveal()));
        let to = to_value.or(to_amount.map(|amount| amount.reveal()));
        let amount_visible = unsealer.is_some();
        Ok(ContractHistoryEntry { id, version, created_at, changed_by, field, from, to, amount_visible })
    }
}

/// An entry as it is returned to clients.
#[derive(Debug, Object, Serialize)]
pub struct ContractHistoryEntry {
    pub id: HistoryId,
    /// The version of the contract after the change.
    pub version: i64,
    pub created_at: Instant,
    /// Null if the server made the change by itself.
    #[oai(nullable)]
    pub changed_by: Option<UserId>,
    /// The member that changed.
    pub field: String,
    #[oai(nullable)]
    pub from: Option<String>,
    #[oai(nullable)]
    pub to: Option<String>,
    /// Whether the caller may see amounts.
    pub amount_visible: bool,
}

/// A history has no filters.
#[derive(Debug, Clone, Object)]
pub struct HistoryFilter {}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum HistorySort {
    /// The order is not by time: if two changes run at the same time, the one that waits for the other may have begun
    /// first.
    #[default]
    Version,
}

impl Filter for HistoryFilter {
    type Item = ContractHistoryEntry;
    type Column = HistorySort;
    const IS_PLAIN: bool = true;
}
