//! Demo data: a price list.
use super::queries;
use super::types::{Item, ItemContent, ItemId};
use crate::api::demo::words::{CLIENTS, OBJECTS, REMARKS, SERVICES};
use crate::api::demo::{Company, Demo, Dice, Places};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::WriteTx;
use crate::db::types::Instant;
use futures_util::FutureExt;

pub const DEMO: Demo = Demo {
    name: "items",
    help: "How many items",
    usual: "40",
    number: 2,
    store: |tx, company, places| store(tx, company, places).boxed(),
};

async fn store(tx: &mut WriteTx, company: &Company, Places { these, of }: Places) -> Result<()> {
    let item = |place| {
        let at = company.moment(place, of);
        item(company, tx.new_id(), at, &mut company.dice(DEMO.number, place))
    };
    let made: Vec<Item> = these.map(item).collect();
    queries::store(tx, &made).await
}

fn item(company: &Company, id: ItemId, at: Instant, dice: &mut Dice) -> Item {
    let title = match dice.percent(20) {
        true => format!("{} for {}", dice.one(&SERVICES), dice.one(&CLIENTS)),
        false => format!("{}, {}", dice.one(&SERVICES), dice.one(&OBJECTS)),
    };
    let content = ItemContent {
        title,
        description: dice.percent(40).then(|| dice.one(&REMARKS).to_owned()),
        price: dice.one(&[9, 49, 120, 480, 950, 2_400]) * 100 + 100 * dice.below(40),
    };
    let owner_id = company.anybody(Role::Editor, dice).id;
    Item { id, content, currency: "USD".to_owned(), owner_id, version: 1, created_at: at, updated_at: at }
}
