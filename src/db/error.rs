//! Converts errors of the databases to errors of this API. The text of a database error is never sent to clients.
use super::deadline::TOO_LATE;
use crate::base::error::{Detail, Error};
use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};

impl From<Diesel> for Error {
    fn from(error: Diesel) -> Self {
        match &error {
            Diesel::NotFound => Self::NotFound,
            Diesel::DatabaseError(Kind::UniqueViolation, _) => Self::Conflict(Detail::default()),
            // A conflict with another transaction, or a lost connection. A retry may succeed.
            Diesel::DatabaseError(
                Kind::SerializationFailure | Kind::UnableToSendCommand | Kind::ClosedConnection,
                _,
            )
            | Diesel::BrokenTransactionManager => Self::Unavailable(error.into()),
            Diesel::DatabaseError(_, info) if is_too_slow(info.message()) => {
                Self::SlowStatement(Detail::default(), error.into())
            }
            Diesel::DatabaseError(_, info) if is_passing(info.message()) => Self::Unavailable(error.into()),
            Diesel::DatabaseError(_, info) if is_full(info.message()) => Self::StorageFull(error.into()),
            _ => Self::Internal(error.into()),
        }
    }
}

/// Temporary failures for which diesel has no kind, recognised by the message of each database.
fn is_passing(message: &str) -> bool {
    ["database is locked", "Deadlock found", "Lock wait timeout", "deadlock detected"]
        .iter()
        .any(|words| message.contains(words))
}

/// No space on the disk of the database, recognised by the message of each database: SQLite's `SQLITE_FULL`,
/// PostgreSQL's 53100, MariaDB's 1021 and 1114.
fn is_full(message: &str) -> bool {
    ["database or disk is full", "No space left on device", "Disk full", "' is full"]
        .iter()
        .any(|words| message.contains(words))
}

/// A statement that took longer than its deadline, recognised by the message of each database.
fn is_too_slow(message: &str) -> bool {
    ["statement timeout", "max_statement_time exceeded", TOO_LATE].iter().any(|words| message.contains(words))
}

/// Says which member of the request is meant if a statement violates a constraint.
pub trait Constraint<T> {
    /// `column` is the only foreign key of the table that clients can set. PostgreSQL and MariaDB name the violated
    /// foreign key, and it must be this one. SQLite does not name it.
    fn refers_to(self, column: &str) -> Result<T, Error>;

    /// `member` is the only member with a value that must be unique in this table.
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
