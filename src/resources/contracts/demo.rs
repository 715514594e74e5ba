//! Contracts, most of them running, with amounts.
use super::dice::Dice;
use super::words::{CLIENTS, REMARKS, SERVICES, TAGS};
use super::{Company, anybody};
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::money::Amount;
use crate::db::WriteTx;
use crate::db::types::{ContractId, Day, Tags};
use crate::resources::contracts;
use crate::resources::contracts::{Contract, ContractInput, ContractStatus, Terms};
use chrono::Days;
use std::ops::Range;

/// Tells these dice from those of another kind.
const KIND: u64 = 4;

pub async fn store(tx: &mut WriteTx, company: &Company, places: Range<u64>) -> Result<()> {
    let [seed, tenant] = company.seed;
    let made: Vec<Contract> = places
        .map(|place| contract(company, tx.new_id(), place, &mut Dice::at(&[seed, tenant, KIND, place])))
        .collect();
    contracts::store(tx, made).await
}

fn contract(company: &Company, id: ContractId, place: u64, dice: &mut Dice) -> Contract {
    let created_at = company.moment(place, company.amounts.contracts);
    let start = created_at.0.date_naive() + Days::new(dice.below(30).unsigned_abs());
    let end = start + Days::new(dice.one(&[30, 90, 180, 365, 365, 730]));
    let today = company.now.0.date_naive();
    let status = match end < today {
        true => ContractStatus::Expired,
        false if dice.percent(10) => ContractStatus::Terminated,
        false if dice.percent(15) => ContractStatus::Draft,
        false => ContractStatus::Active,
    };
    let terms = Terms {
        title: dice.one(&SERVICES).to_owned(),
        counterparty: dice.one(&CLIENTS).to_owned(),
        description: dice.percent(30).then(|| dice.one(&REMARKS).to_owned()),
        status,
        start_date: Day(start),
        end_date: Day(end),
        tags: Tags(vec![dice.one(&TAGS).to_owned()]),
    };
    let dollars = dice.one(&[900, 2_400, 12_000, 48_000, 120_000]) + 50 * dice.below(100);
    let input =
        ContractInput { terms, amount: Amount::parse(&format!("{dollars}.00")), currency: Some("USD".to_owned()) };
    let created_by = anybody(company, Role::Admin, dice).id;
    // The first version: another one would have a history.
    Contract { id, input, amount_visible: true, created_by, version: 1, created_at, updated_at: created_at }
}
