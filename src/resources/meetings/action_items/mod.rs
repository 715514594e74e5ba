//! Action items: work that somebody has to do after a meeting. A task can be created from an action item.
mod handlers;
mod queries;
mod types;

pub use handlers::ActionItemsApi;
pub use queries::{delete_all, store, unlink_task};
pub use types::{ActionItem, ActionItemId, ActionItemInput};

crate::permissions! {
    Read(read): Viewer,
    Write: Editor,
}
