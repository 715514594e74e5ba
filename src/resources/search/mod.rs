//! The search over all records with text, whatever their kind. `text` in the declaration of a record makes its kind
//! searchable. The change feed keeps the terms of each record ([`crate::db::search_terms`]) equal to its texts.
mod handlers;
mod index;
mod queries;
mod types;

pub use handlers::SearchApi;
pub use index::{IndexTexts, follow, rebuild, remove_below};

crate::tag!(Search);

crate::permissions! {
    Read(read): Viewer,
}
