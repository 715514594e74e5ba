//! Comments on tasks, and the users that they mention.
mod handlers;
mod mentions;
mod queries;
mod types;

pub use handlers::TaskCommentsApi;
pub use queries::{delete_of, store};
pub use types::{Comment, CommentId, CommentInput, Stored};

crate::permissions! {
    Read(read): Viewer,
    Write: Analyst,
    /// To change comments, which only their authors may do.
    Change: Analyst if own else Nobody,
    Delete: Analyst if own else Admin,
}
