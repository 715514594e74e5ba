//! From what a database says to what the product says. The database's own words never leave the server.
use super::deadline::TOO_LATE;
use crate::base::error::{Detail, Error};
use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match &error {
            Diesel::NotFound => Self::NotFound,
            Diesel::DatabaseError(Kind::UniqueViolation, _) => Self::Conflict(Detail::default()),
            // Another transaction was in the way, or the line is gone: worth another try.
            Diesel::DatabaseError(
                Kind::SerializationFailure | Kind::UnableToSendCommand | Kind::ClosedConnection,
                _,
            )
            | Diesel::BrokenTransactionManager => Self::Unavailable(error.into()),
            Diesel::DatabaseError(_, info) if is_too_slow(info.message()) => {
                Self::SlowStatement(Detail::default(), error.into())
            }
            Diesel::DatabaseError(_, info) if is_passing(info.message()) => Self::Unavailable(error.into()),
            _ => Self::Internal(error.into()),
        }
    }
}

/// Failures that diesel gives no kind of their own, by the words of each database.
fn is_passing(message: &str) -> bool {
    ["database is locked", "Deadlock found", "Lock wait timeout", "deadlock detected"]
        .iter()
        .any(|words| message.contains(words))
}

/// The statement's deadline was over, by the words of each database.
fn is_too_slow(message: &str) -> bool {
    ["statement timeout", "max_statement_time exceeded", TOO_LATE].iter().any(|words| message.contains(words))
}

/// Lets a statement say which member of the request a broken constraint means.
pub trait Constraint<T> {
    /// `column`: the one foreign key of this table that clients can set. PostgreSQL and MariaDB name the key that
    /// broke and are held to it; SQLite only says that one did.
    fn refers_to(self, column: &str) -> Result<T, Error>;

    /// `member`: the one member whose value must be unique in this table.
    fn taken(self, member: &str) -> Result<T, Error>;
}

impl<T> Constraint<T> for Result<T, Diesel> {
    fn refers_to(self, column: &str) -> Result<T, Error> {
        self.map_err(|error| match &error {
            Diesel::DatabaseError(Kind::ForeignKeyViolation, info)
                if info.message() == "FOREIGN KEY constraint failed"
                    || info.constraint_name().unwrap_or(info.message()).contains(column) =>
            {
                Error::unprocessable(column, "does not exist")
            }
            _ => error.into(),
        })
    }

    fn taken(self, member: &str) -> Result<T, Error> {
        self.map_err(|error| match error {
            Diesel::DatabaseError(Kind::UniqueViolation, _) => Error::Conflict(Detail::of(member, "is taken")),
            error => error.into(),
        })
    }
}
