//! The server's tenants, for its operators. Operators see none of the tenants' rows.
mod handlers;
mod queries;
mod types;

pub use handlers::AdminApi;

crate::operators! {
    Read(read),
    Write,
}
