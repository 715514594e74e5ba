//! Tenants: the companies that share a server and never see one another. Their own operations come with their settings.
mod queries;

pub use queries::{NewTenant, insert};
