//! Items: the price list. Editors write their own items, admins write all items. The owner of an item is one of its
//! members.
mod demo;
mod handlers;
mod queries;
mod types;

pub use handlers::ItemsApi;
pub use queries::store;
pub use types::{Item, ItemContent, ItemId};

crate::tag!(Items);

crate::permissions! {
    Read(read): Viewer,
    Write: Editor if own else Admin,
}
