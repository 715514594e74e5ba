//! A connection pooler between the server and its database.
use std::str::FromStr;

/// The connection pooler that stands between the server and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// There is no pooler: each connection has a PostgreSQL session of its own for as long as it is open.
    None,
    /// The pooler gives a connection a PostgreSQL session for one transaction at a time, as PgBouncer does with
    /// `pool_mode = transaction`.
    Transaction,
}

impl FromStr for Pooler {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "transaction" => Ok(Self::Transaction),
            _ => Err("must be none or transaction"),
        }
    }
}
