//! The types of items in the contract of the API, and the rules that a schema can't express.
use crate::api::Input;
use crate::api::list::Filter;
use crate::base::error::Detail;
use crate::db::Any;
use crate::db::schema::items;
use crate::db::types::{Instant, UserId};
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

/// The members of an item that are stored as clients write them.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = items, check_for_backend(Any))]
#[diesel(treat_none_as_null = true, treat_none_as_default_value = false)]
pub struct ItemContent {
    #[oai(validator(min_length = 1, max_length = 200))]
    pub title: String,
    #[oai(nullable, validator(max_length = 10000))]
    pub description: Option<String>,
    /// The price in minor units of the currency. The maximum is the largest integer that JavaScript holds exactly.
    #[oai(default, validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    pub price: i64,
}

/// The members of an item that clients write. POST and PUT take the whole object, PATCH takes any of its members.
#[derive(Debug, Clone, Object, Serialize)]
pub struct ItemInput {
    #[oai(flatten)]
    #[serde(flatten)]
    pub content: ItemContent,
    /// If it is absent, the tenant's currency is used.
    #[oai(validator(min_length = 3, max_length = 3, pattern = "^[A-Z]{3}$"))]
    pub currency: Option<String>,
    /// If it is absent, a new item belongs to the caller, and an existing item keeps its owner.
    pub owner_id: Option<UserId>,
}

impl Input for ItemInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("title", &self.content.title);
        if let Some(currency) = &self.currency {
            problems.currency("currency", currency);
        }
    }
}

/// An item as stored and as returned to clients.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = items, check_for_backend(Any))]
pub struct Item {
    pub id: ItemId,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub content: ItemContent,
    pub currency: String,
    pub owner_id: UserId,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

impl Item {
    /// The input that would leave the item unchanged.
    pub fn as_input(&self) -> ItemInput {
        let Self { content, currency, owner_id, .. } = self.clone();
        ItemInput { content, currency: Some(currency), owner_id: Some(owner_id) }
    }
}

crate::resource!(Item, record, owner: owner_id);

crate::record! {
    Item {
        id: new ItemId, kind: "item", table: items, href: "/api/v1/items/{id}", read_by: super::Read,
        title: title in content,
        text: [title in content = High, description in content = Low],
        people: [owner_id = Owner],
        held: [|tx, person, next| super::queries::of_owner(tx, person.user(), next)],
        demo: super::demo::DEMO,
    }
}

/// The filters of a list of items. Each member is a query parameter.
#[derive(Debug, Clone, Object)]
pub struct ItemFilter {
    pub owner_id: Option<UserId>,
    #[oai(validator(min_length = 3, max_length = 3, pattern = "^[A-Z]{3}$"))]
    pub currency: Option<String>,
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    pub min_price: Option<i64>,
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    pub max_price: Option<i64>,
}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ItemSort {
    Title,
    Price,
    #[default]
    CreatedAt,
    UpdatedAt,
}

impl Filter for ItemFilter {
    type Item = Item;
    type Column = ItemSort;
}
