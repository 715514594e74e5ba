//! The history of contracts in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{ContractHistoryEntry, FROM, HistoryFilter, HistoryId, HistorySort, Row, TO, place};
use crate::api::list::{List, Page};
use crate::base::error::Result;
use crate::db::deadline::InTime;
use crate::db::schema::contract_history as history;
use crate::db::types::TenantId;
use crate::db::{Any, ReadTx, Statement, WriteTx};
use crate::paged;
use crate::resources::contracts::ContractId;
use crate::resources::contracts::queries::{find, keys, sealed};
use crate::resources::contracts::types::{Contract, ContractInput};
use diesel::prelude::*;
use poem_openapi::types::ToJSON;
use serde_json::Value;

#[diesel::dsl::auto_type(no_type_alias)]
fn of(tenant: TenantId, contract: ContractId) -> _ {
    history::table.filter(history::tenant_id.eq(tenant)).filter(history::contract_id.eq(contract))
}

pub async fn list(
    tx: &mut ReadTx,
    contract: ContractId,
    list: &List<HistoryFilter>,
    with_amounts: bool,
) -> Result<Page<ContractHistoryEntry>> {
    find(tx, contract, false).await?;
    let tenant = tx.tenant();
    let matching = || of(tenant, contract).into_boxed::<Any>();
    let (rows, total): (Vec<Row>, _) = paged!(tx, list, matching().filter(InTime), Row::as_select(), (history::id, HistoryId), {
        HistorySort::Version => (history::version, i64),
    });
    let keys = keys(tx, with_amounts).await?;
    let entries = rows.into_iter().map(|row| row.decrypt_for(keys.as_ref())).collect::<Result<_>>()?;
    Ok(list.page(entries, total))
}

/// Writes an entry for each member of a contract that has changed.
pub async fn record(tx: &mut WriteTx, before: &Contract, after: &Contract) -> Result<()> {
    let (from, to) = (&before.input.amount, &after.input.amount);
    if from != to {
        let entry = entry(tx, after, "amount");
        let from_sealed = sealed(tx, place(entry.id, FROM), from.as_ref()).await?;
        let to_sealed = sealed(tx, place(entry.id, TO), to.as_ref()).await?;
        insert(tx, after.id, Row { from_sealed, to_sealed, ..entry });
    }
    let others = |contract: &Contract| ContractInput { amount: None, ..contract.input.clone() }.to_json();
    let (from, to) = (others(before).unwrap_or_default(), others(after).unwrap_or_default());
    for (field, to) in to.as_object().into_iter().flatten().filter(|(field, to)| from[*field] != **to) {
        let (from_value, to_value) = (text(&from[field]), text(to));
        let entry = Row { from_value, to_value, ..entry(tx, after, field) };
        insert(tx, after.id, entry);
    }
    Ok(())
}

/// An entry without its values.
fn entry(tx: &WriteTx, after: &Contract, field: &str) -> Row {
    Row {
        id: tx.new_id(),
        version: after.version,
        created_at: tx.now(),
        changed_by: tx.author().user(),
        field: field.to_owned(),
        from_value: None,
        to_value: None,
        from_sealed: None,
        to_sealed: None,
    }
}

fn insert(tx: &mut WriteTx, contract: ContractId, entry: Row) {
    let row = (history::tenant_id.eq(tx.tenant()), history::contract_id.eq(contract), entry);
    let insert = Statement::of(diesel::insert_into(history::table).values(row));
    tx.write_at_end("the contract's row tells of the change", insert);
}

/// The value as text for people. Tags are separated by commas.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(items) => Some(items.iter().filter_map(text).collect::<Vec<_>>().join(", ")),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Deletes the history of a contract that is about to be deleted.
pub async fn delete_of(tx: &mut WriteTx, contract: ContractId) -> Result<()> {
    let rows = diesel::delete(of(tx.tenant(), contract));
    tx.execute_unaudited("the contract's row tells of it", rows).await?;
    Ok(())
}
