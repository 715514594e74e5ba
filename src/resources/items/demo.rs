//! A price list.
use super::dice::Dice;
use super::words::{CLIENTS, OBJECTS, REMARKS, SERVICES};
use super::{Company, anybody};
use crate::auth::Role;
use crate::base::error::Result;
use crate::db::WriteTx;
use crate::db::types::ItemId;
use crate::resources::items;
use crate::resources::items::{Item, ItemContent};
use std::ops::Range;

/// Tells these dice from those of another kind.
const KIND: u64 = 2;

pub async fn store(tx: &mut WriteTx, company: &Company, places: Range<u64>) -> Result<()> {
    let [seed, tenant] = company.seed;
    let made: Vec<Item> =
        places.map(|place| item(company, tx.new_id(), place, &mut Dice::at(&[seed, tenant, KIND, place]))).collect();
    items::store(tx, &made).await
}

fn item(company: &Company, id: ItemId, place: u64, dice: &mut Dice) -> Item {
    let title = match dice.percent(20) {
        true => format!("{} for {}", dice.one(&SERVICES), dice.one(&CLIENTS)),
        false => format!("{}, {}", dice.one(&SERVICES), dice.one(&OBJECTS)),
    };
    let content = ItemContent {
        title,
        description: dice.percent(40).then(|| dice.one(&REMARKS).to_owned()),
        price: dice.one(&[9, 49, 120, 480, 950, 2_400]) * 100 + 100 * dice.below(40),
    };
    let at = company.moment(place, company.amounts.items);
    let owner_id = anybody(company, Role::Editor, dice).id;
    Item { id, content, currency: "USD".to_owned(), owner_id, version: 1, created_at: at, updated_at: at }
}
