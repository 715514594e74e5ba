//! The tenants of the server, for its operators. Operators can't see the rows of the tenants.
mod handlers;
mod queries;
mod types;

pub use handlers::AdminApi;

crate::tag!(Admin);

crate::operators! {
    Read(read),
    Write,
}
