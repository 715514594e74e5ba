//! Files: what people attach to tasks, meetings and contracts, or keep by itself. The database has what is known about
//! a file. Its content is an object in the storage.
mod handlers;
mod queries;
mod types;
pub mod uploads;

pub use handlers::FilesApi;
pub use queries::delete_of;
pub use types::{File, Parent};

crate::tag!(Files);

crate::permissions! {
    Read(read): Viewer,
    /// All files, whatever they belong to.
    ReadAll(read): Admin,
    Upload: Editor,
    Delete: Editor if own else Admin,
}
