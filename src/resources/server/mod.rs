//! The server about itself: what it is, whether it lives, whether it can work.
mod handlers;

pub use handlers::ServerApi;
