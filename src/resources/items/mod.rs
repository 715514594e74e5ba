//! Items: the price list. Editors keep their own items, admins everybody's; the owner of an item is a member of it.
mod demo;
mod handlers;
mod queries;
mod types;

pub use handlers::ItemsApi;
pub use queries::store;
pub use types::{Item, ItemContent};

crate::permissions! {
    Read(read): Viewer,
    Write: Editor if own else Admin,
}
