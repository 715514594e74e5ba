//! Converts errors of tokio-postgres to diesel's.
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind as Kind, Error};
use tokio_postgres::error::{DbError, ErrorPosition, Severity, SqlState};

/// Returns the error as diesel would report it. If PostgreSQL did not answer, or if the connection can't be used after
/// its answer, the kind is [`Kind::UnableToSendCommand`].
pub(super) fn of(error: tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        return Error::DatabaseError(Kind::UnableToSendCommand, Box::new(format!("{:#}", anyhow::Error::from(error))));
    };
    let kind = match *answer.code() {
        // PostgreSQL closes the connection, or a prepared statement is gone, or its result has other columns now.
        _ if matches!(answer.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) => Kind::UnableToSendCommand,
        SqlState::INVALID_SQL_STATEMENT_NAME => Kind::UnableToSendCommand,
        SqlState::FEATURE_NOT_SUPPORTED if answer.message().starts_with("cached plan") => Kind::UnableToSendCommand,
        SqlState::UNIQUE_VIOLATION => Kind::UniqueViolation,
        SqlState::FOREIGN_KEY_VIOLATION => Kind::ForeignKeyViolation,
        SqlState::RESTRICT_VIOLATION => Kind::RestrictViolation,
        SqlState::EXCLUSION_VIOLATION => Kind::ExclusionViolation,
        SqlState::T_R_SERIALIZATION_FAILURE => Kind::SerializationFailure,
        SqlState::READ_ONLY_SQL_TRANSACTION => Kind::ReadOnlyTransaction,
        SqlState::NOT_NULL_VIOLATION => Kind::NotNullViolation,
        SqlState::CHECK_VIOLATION => Kind::CheckViolation,
        _ => Kind::Unknown,
    };
    Error::DatabaseError(kind, Box::new(Answer(answer.clone())))
}

struct Answer(DbError);

impl DatabaseErrorInformation for Answer {
    fn message(&self) -> &str {
        self.0.message()
    }
    fn details(&self) -> Option<&str> {
        self.0.detail()
    }
    fn hint(&self) -> Option<&str> {
        self.0.hint()
    }
    fn table_name(&self) -> Option<&str> {
        self.0.table()
    }
    fn column_name(&self) -> Option<&str> {
        self.0.column()
    }
    fn constraint_name(&self) -> Option<&str> {
        self.0.constraint()
    }
    fn statement_position(&self) -> Option<i32> {
        let (ErrorPosition::Original(position) | ErrorPosition::Internal { position, .. }) = self.0.position()?;
        (*position).try_into().ok()
    }
}
