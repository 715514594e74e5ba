//! The types of contracts in the API, and the rules that a schema can't express.
use crate::api::Input;
use crate::api::list::Filter;
use crate::base::error::{Detail, Error, Result};
use crate::base::money::{Amount, places_of};
use crate::db::schema::contracts;
use crate::db::types::{Day, Instant, Tags, UserId};
use crate::db::{Any, Place, Sealed, Unsealer};
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

crate::text_enum! {
    #[derive(Default)]
    pub enum ContractStatus {
        #[default]
        Draft = "draft",
        Active = "active",
        Expired = "expired",
        Terminated = "terminated",
    }
}

/// The members of a contract that clients write and that the database stores as they are.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = contracts, check_for_backend(Any))]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct Terms {
    #[oai(validator(min_length = 1, max_length = 200))]
    pub title: String,
    #[oai(validator(min_length = 1, max_length = 200))]
    pub counterparty: String,
    #[oai(nullable, validator(max_length = 10000))]
    pub description: Option<String>,
    #[oai(default)]
    pub status: ContractStatus,
    pub start_date: Day,
    pub end_date: Day,
    #[oai(default, validator(max_items = 20, min_length = 1, max_length = 50))]
    pub tags: Tags,
}

/// The members of a contract that clients write. POST and PUT take the whole object, PATCH takes any of its members.
#[derive(Debug, Clone, Object, Serialize)]
pub struct ContractInput {
    #[oai(flatten)]
    #[serde(flatten)]
    pub terms: Terms,
    /// The amount in `currency`. Null if there is none, or if the caller may not see it.
    #[oai(nullable)]
    pub amount: Option<Amount>,
    /// The ISO 4217 code. If it is absent, the tenant's currency is used, so that a stored contract always has one.
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    pub currency: Option<String>,
}

impl Input for ContractInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("title", &self.terms.title);
        problems.one_line("counterparty", &self.terms.counterparty);
        if self.terms.end_date < self.terms.start_date {
            problems.add("end_date", "is before `start_date`");
        }
        let Some(currency) = &self.currency else { return };
        problems.currency("currency", currency);
        if let (Some(places), Some(amount)) = (places_of(currency), &self.amount)
            && amount.with_places(places).is_none()
        {
            problems.add("amount", format!("has more than the {places} decimal places of {currency}"));
        }
    }
}

impl ContractInput {
    /// Sets the currency, and writes the amount with as many decimal places as the currency has. Fails with 422 if the
    /// result is not valid.
    pub fn with_currency(mut self, currency: String) -> Result<Self> {
        self.amount = self.amount.map(|amount| written_in(&currency, amount));
        self.currency = Some(currency);
        let mut problems = Detail::default();
        self.check(&mut problems);
        if problems.is_empty() { Ok(self) } else { Err(Error::Unprocessable(problems)) }
    }
}

/// The amount with as many decimal places as the currency has. Unchanged if the amount needs more.
fn written_in(currency: &str, amount: Amount) -> Amount {
    places_of(currency).and_then(|places| amount.with_places(places)).unwrap_or(amount)
}

/// A contract as stored.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = contracts, check_for_backend(Any))]
pub struct Row {
    pub id: ContractId,
    #[diesel(embed)]
    pub terms: Terms,
    pub amount_sealed: Option<Sealed>,
    pub currency: String,
    pub created_by: UserId,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

/// The place to which the sealed amount of a contract is bound. The amount can't be decrypted for another place.
pub fn place_of_amount(id: ContractId) -> Place {
    crate::sealed_column!(contracts.amount_sealed).of(id.0)
}

/// Decrypts a sealed amount. `None` if there is no amount or no `unsealer`.
pub fn opened(unsealer: Option<&Unsealer>, place: Place, sealed: Option<&Sealed>) -> Result<Option<Amount>> {
    let (Some(unsealer), Some(sealed)) = (unsealer, sealed) else { return Ok(None) };
    let amount = Amount::from_bytes(&unsealer.open(place, sealed)?);
    amount.map(Some).ok_or_else(|| Error::Internal(anyhow::anyhow!("what was sealed is no amount")))
}

impl Row {
    /// The contract as the caller may see it: the amount is decrypted only with an `unsealer`.
    pub fn decrypt_for(self, unsealer: Option<&Unsealer>) -> Result<Contract> {
        let Self { id, terms, amount_sealed, currency, created_by, version, created_at, updated_at } = self;
        let amount = opened(unsealer, place_of_amount(id), amount_sealed.as_ref())?;
        let amount = amount.map(|amount| written_in(&currency, amount));
        let input = ContractInput { terms, amount, currency: Some(currency) };
        let amount_visible = unsealer.is_some();
        Ok(Contract { id, input, amount_visible, created_by, version, created_at, updated_at })
    }
}

/// A contract as it is returned to clients.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Contract {
    pub id: ContractId,
    #[oai(flatten)]
    #[serde(flatten)]
    pub input: ContractInput,
    /// Whether the caller may see amounts.
    pub amount_visible: bool,
    pub created_by: UserId,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

impl Contract {
    /// A new contract in its first version. The amount is visible, because the creator may see it.
    pub fn new(id: ContractId, input: ContractInput, created_by: UserId, now: Instant) -> Self {
        Self { id, input, amount_visible: true, created_by, version: 1, created_at: now, updated_at: now }
    }

    /// The next version of this contract.
    pub fn changed(&self, input: ContractInput, now: Instant) -> Self {
        Self { input, version: self.version + 1, updated_at: now, ..self.clone() }
    }
}

crate::resource!(Contract, record, owner: created_by, {
    const IS_CONFIDENTIAL: bool = true;
    /// The tag depends on whether amounts are visible, because callers get different answers under the same URL.
    fn tag(&self) -> String {
        format!("{}{}", self.version, if self.amount_visible { ".all" } else { "" })
    }
});

crate::record! {
    Contract {
        id: new ContractId, kind: "contract", table: contracts, href: "/api/v1/contracts/{id}", read_by: super::Read,
        title: title in input.terms,
        text: [title in input.terms = High, counterparty in input.terms = High, description in input.terms = Low],
        people: [created_by = Owner],
        confidential: [amount in input],
        sealed: [contracts.amount_sealed, contract_history.from_sealed, contract_history.to_sealed],
        held: [|tx, person, next| super::queries::made_by(tx, person.user(), next, person.role)],
        demo: super::demo::DEMO,
    }
}

/// The filters of a list of contracts. None of them is about amounts.
#[derive(Debug, Clone, Object)]
pub struct ContractFilter {
    pub status: Option<ContractStatus>,
    /// Contracts with a counterparty whose name contains this text, regardless of case.
    #[oai(validator(max_length = 200))]
    pub counterparty: Option<String>,
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    pub currency: Option<String>,
    /// Contracts that have this tag.
    #[oai(validator(max_length = 50))]
    pub tag: Option<String>,
    pub starts_before: Option<Day>,
    pub starts_after: Option<Day>,
    pub ends_before: Option<Day>,
    pub ends_after: Option<Day>,
}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ContractSort {
    Title,
    Counterparty,
    Status,
    StartDate,
    EndDate,
    #[default]
    CreatedAt,
    UpdatedAt,
}

impl Filter for ContractFilter {
    type Item = Contract;
    type Column = ContractSort;
}
