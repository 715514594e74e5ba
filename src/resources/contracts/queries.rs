//! Contracts in the database. Every query filters by the tenant of the transaction. Every change writes an audit row
//! and passes the change feed, which writes the history.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::rules::check_change;
use super::types::{
    Contract, ContractFilter, ContractId, ContractInput, ContractSort, ContractStatus, Row, place_of_amount,
};
use super::{Read, SeeAmounts};
use crate::api::list::{Batch, List, Page};
use crate::api::{Authorized, Locked};
use crate::auth::{Permission, Role};
use crate::base::error::{Error, Result};
use crate::base::money::Amount;
use crate::db::schema::contracts;
use crate::db::search::like;
use crate::db::sql::{JsonListMethods, for_update, text_or};
use crate::db::types::{Day, Instant, TenantId, UserId};
use crate::db::{Any, Audited, Change, Changes, Place, ReadTx, RunQueryDsl, Sealed, Unsealer, WriteTx, insert_many};
use crate::resources::tenant;
use crate::{batch, narrowed, paged};
use diesel::prelude::*;

#[diesel::dsl::auto_type(no_type_alias)]
fn all(tenant: TenantId) -> _ {
    contracts::table.filter(contracts::tenant_id.eq(tenant))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: ContractId) -> _ {
    contracts::table.filter(contracts::tenant_id.eq(tenant)).filter(contracts::id.eq(id))
}

/// The active contracts whose end date has passed.
fn over(tenant: TenantId, today: Day) -> contracts::BoxedQuery<'static, Any> {
    let is_over = contracts::status.eq(ContractStatus::Active).and(contracts::end_date.lt(today));
    all(tenant).filter(is_over).into_boxed()
}

/// The contracts that match the filters and the search of a list, not yet sorted.
fn matching(tx: &ReadTx, list: &List<ContractFilter>) -> contracts::BoxedQuery<'static, Any> {
    let ContractFilter { status, counterparty, currency, tag, starts_before, starts_after, ends_before, ends_after } =
        list.filter.clone();
    let (counterparty, search) =
        (counterparty.as_deref().map(|text| tx.pattern(text)), list.q.as_deref().map(|text| tx.pattern(text)));
    narrowed!(
        all(tx.tenant()).into_boxed(),
        status => contracts::status.eq(status),
        counterparty => like(contracts::counterparty, counterparty),
        currency => contracts::currency.eq(currency),
        tag => contracts::tags.has(tag),
        starts_before => contracts::start_date.lt(starts_before),
        starts_after => contracts::start_date.gt(starts_after),
        ends_before => contracts::end_date.lt(ends_before),
        ends_after => contracts::end_date.gt(ends_after),
        search => like(contracts::title, search.clone())
            .or(like(contracts::counterparty, search.clone()))
            .or(like(text_or(contracts::description, ""), search)),
    )
}

/// The keys that decrypt amounts. `None` if the caller may not see amounts.
pub async fn keys(tx: &mut ReadTx, with_amounts: bool) -> Result<Option<Unsealer>> {
    Ok(if with_amounts { Some(tx.unsealer().await?) } else { None })
}

async fn seen(tx: &mut ReadTx, rows: Vec<Row>, with_amounts: bool) -> Result<Vec<Contract>> {
    let keys = keys(tx, with_amounts).await?;
    rows.into_iter().map(|row| row.decrypt_for(keys.as_ref())).collect()
}

pub async fn list(tx: &mut ReadTx, list: &List<ContractFilter>, with_amounts: bool) -> Result<Page<Contract>> {
    let (rows, total) = paged!(tx, list, matching(tx, list), Row::as_select(), (contracts::id, ContractId), {
        ContractSort::Title => (contracts::title, String),
        ContractSort::Counterparty => (contracts::counterparty, String),
        ContractSort::Status => (contracts::status, ContractStatus),
        ContractSort::StartDate => (contracts::start_date, Day),
        ContractSort::EndDate => (contracts::end_date, Day),
        ContractSort::CreatedAt => (contracts::created_at, Instant),
        ContractSort::UpdatedAt => (contracts::updated_at, Instant),
    });
    Ok(list.page(seen(tx, rows, with_amounts).await?, total))
}

/// The next contracts that a person made, in the order of their ids. Empty if `role` may not read contracts, and
/// without amounts if it may not see them.
pub async fn made_by(tx: &mut ReadTx, user: UserId, next: Batch, role: Role) -> Result<Vec<Contract>> {
    if role < Read::ROLE {
        return Ok(vec![]);
    }
    let rows = batch!(all(tx.tenant()), contracts::created_by.eq(user), next, (contracts::id, ContractId));
    let rows = rows.select(Row::as_select()).load(tx).await?;
    seen(tx, rows, role >= SeeAmounts::ROLE).await
}

pub async fn find(tx: &mut ReadTx, id: ContractId, with_amounts: bool) -> Result<Contract> {
    let row = one(tx.tenant(), id).select(Row::as_select());
    let (rows, keys): (Vec<Row>, _) = match with_amounts {
        true => tx.rows_and_unsealer(row).await.map(|(rows, keys)| (rows, Some(keys)))?,
        false => (row.load(tx).await?, None),
    };
    rows.into_iter().next().ok_or(Error::NotFound)?.decrypt_for(keys.as_ref())
}

/// The contract with its amount, locked for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx, id: ContractId) -> Result<Locked<Contract>> {
    let row = one(tx.tenant(), id).select(Row::as_select());
    let row: Row = for_update(row).get_result(tx).await?;
    let keys = tx.unsealer().await?;
    Ok(Locked::new(row.decrypt_for(Some(&keys))?))
}

/// The contract, locked for its deletion. It has no amount, so that a contract whose amount can't be decrypted can be
/// deleted too.
pub async fn find_to_delete(tx: &mut WriteTx, id: ContractId) -> Result<Locked<Contract>> {
    let row = one(tx.tenant(), id).select(Row::as_select());
    let row: Row = for_update(row).get_result(tx).await?;
    Ok(Locked::new(Contract { amount_visible: true, ..row.decrypt_for(None)? }))
}

/// Encrypts an amount for the place where it is stored.
pub async fn sealed(tx: &mut WriteTx, place: Place, amount: Option<&Amount>) -> Result<Option<Sealed>> {
    match amount {
        Some(amount) => Ok(Some(tx.seal(place, &*amount.to_bytes()).await?)),
        None => Ok(None),
    }
}

async fn with_currency(tx: &mut WriteTx, input: ContractInput) -> Result<ContractInput> {
    let currency = tenant::currency_or_own(tx, input.currency.clone()).await?;
    input.with_currency(currency)
}

pub async fn insert(tx: &mut WriteTx, input: ContractInput) -> Result<Audited<Contract>> {
    let input = with_currency(tx, input).await?;
    check_change(None, &input.terms)?;
    let contract = Contract::new(tx.new_id(), input, tx.actor(), tx.now());
    let amount = sealed(tx, place_of_amount(contract.id), contract.input.amount.as_ref()).await?;
    let row = diesel::insert_into(contracts::table).values((
        contracts::tenant_id.eq(tx.tenant()),
        contracts::id.eq(contract.id),
        &contract.input.terms,
        contracts::amount_sealed.eq(amount),
        contracts::currency.eq(contract.input.currency.clone().unwrap_or_default()),
        contracts::created_by.eq(contract.created_by),
        contracts::version.eq(contract.version),
        contracts::created_at.eq(contract.created_at),
        contracts::updated_at.eq(contract.updated_at),
    ));
    let change = Change::created(contract.id, &contract).telling(Changes::created(&contract.input));
    Ok(tx.changed(change, row).await?.with(contract))
}

/// Inserts many new contracts. `new` must not be empty.
pub async fn store(tx: &mut WriteTx, new: Vec<Contract>) -> Result<()> {
    let mut amounts = vec![];
    for contract in &new {
        amounts.push(sealed(tx, place_of_amount(contract.id), contract.input.amount.as_ref()).await?);
    }
    let tenant = tx.tenant();
    let row = |(contract, amount): (Contract, Option<Sealed>)| {
        (
            contracts::tenant_id.eq(tenant),
            contracts::id.eq(contract.id),
            contract.input.terms,
            contracts::amount_sealed.eq(amount),
            contracts::currency.eq(contract.input.currency.unwrap_or_default()),
            contracts::created_by.eq(contract.created_by),
            contracts::version.eq(contract.version),
            contracts::created_at.eq(contract.created_at),
            contracts::updated_at.eq(contract.updated_at),
        )
    };
    tx.changed_in_bulk::<ContractId>(insert_many(contracts::table, new.into_iter().zip(amounts).map(row))).await
}

pub async fn update(tx: &mut WriteTx, before: Authorized<Contract>, input: ContractInput) -> Result<Audited<Contract>> {
    let input = with_currency(tx, input).await?;
    check_change(Some(&before.input.terms), &input.terms)?;
    save(tx, &before, input).await
}

/// Stores the next version of a contract. The amount is written only if it has changed.
async fn save(tx: &mut WriteTx, before: &Contract, input: ContractInput) -> Result<Audited<Contract>> {
    let contract = before.changed(input, tx.now());
    let amount = match &contract.input.amount {
        same if *same == before.input.amount => None,
        new => Some(contracts::amount_sealed.eq(sealed(tx, place_of_amount(contract.id), new.as_ref()).await?)),
    };
    let row = diesel::update(one(tx.tenant(), contract.id)).set((
        &contract.input.terms,
        amount,
        contracts::currency.eq(contract.input.currency.clone().unwrap_or_default()),
        contracts::version.eq(contract.version),
        contracts::updated_at.eq(contract.updated_at),
    ));
    let changes = Changes::updated(&before.input, &contract.input);
    let change = Change::updated(contract.id, before, &contract).telling(changes);
    Ok(tx.changed(change, row).await?.with(contract))
}

pub async fn delete(tx: &mut WriteTx, contract: Authorized<Contract>) -> Result<Audited<()>> {
    let row = diesel::delete(one(tx.tenant(), contract.id));
    let change = Change::deleted(contract.id, &*contract).telling(Changes::deleted(&contract.input));
    tx.changed(change, row).await
}

/// The next active contracts whose end date has passed, in the order of their ids.
pub async fn due_to_expire(tx: &mut ReadTx, after: ContractId) -> Result<Vec<ContractId>> {
    let rows = over(tx.tenant(), tenant::today(tx).await?).filter(contracts::id.gt(after)).order(contracts::id);
    Ok(rows.limit(500).select(contracts::id).load(tx).await?)
}

/// Sets the status of a contract to expired. Fails with 404 if the contract was changed meanwhile and need not expire
/// any more.
pub async fn expire(tx: &mut WriteTx, id: ContractId) -> Result<Audited<Contract>> {
    let row = over(tx.tenant(), tenant::today(tx).await?).filter(contracts::id.eq(id)).select(Row::as_select());
    let row: Row = for_update(row).get_result(tx).await?;
    let before = row.decrypt_for(None)?; // the amount is not needed here
    let mut input = before.input.clone();
    input.terms.status = ContractStatus::Expired;
    save(tx, &before, input).await
}
