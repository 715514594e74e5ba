//! Demo data: contracts with amounts, most of them active.
use super::queries;
use super::types::{Contract, ContractId, ContractInput, ContractStatus, Terms};
use crate::api::demo::words::{CLIENTS, REMARKS, SERVICES, TAGS};
use crate::api::demo::{Company, Demo, Dice, Places};
use crate::auth::Role;
use crate::base::error::Result;
use crate::base::money::Amount;
use crate::db::WriteTx;
use crate::db::types::{Day, Instant, Tags};
use chrono::Days;
use futures_util::FutureExt;

pub const DEMO: Demo = Demo {
    name: "contracts",
    help: "How many contracts, with amounts",
    usual: "30",
    number: 4,
    store: |tx, company, places| store(tx, company, places).boxed(),
};

async fn store(tx: &mut WriteTx, company: &Company, Places { these, of }: Places) -> Result<()> {
    let contract = |place| {
        let created_at = company.moment(place, of);
        contract(company, tx.new_id(), created_at, &mut company.dice(DEMO.number, place))
    };
    let made: Vec<Contract> = these.map(contract).collect();
    queries::store(tx, made).await
}

fn contract(company: &Company, id: ContractId, created_at: Instant, dice: &mut Dice) -> Contract {
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
    let created_by = company.anybody(Role::Admin, dice).id;
    // The contract is in its first version, because a later version would need a history.
    Contract { id, input, amount_visible: true, created_by, version: 1, created_at, updated_at: created_at }
}
