//! Column types that differ between the three databases.
//!
//! | here         | PostgreSQL    | MariaDB       | SQLite                           |
//! |--------------|---------------|---------------|----------------------------------|
//! | `Uid`        | `uuid`        | `BINARY(16)`  | `BLOB`, 16 bytes                 |
//! | `UtcInstant` | `timestamptz` | `DATETIME(6)` | `TEXT`, RFC 3339 with µs and `Z` |
//! | `JsonList`   | `jsonb`       | `JSON`        | `TEXT`                           |
use super::any::{Any, AnyValue};
use crate::base::formats::{parse_day, parse_instant};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, SubsecRound, Utc};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::mysql::Mysql;
use diesel::pg::Pg;
use diesel::query_builder::QueryId;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{self, Binary, Date, Datetime, HasSqlType, SqlType, Text, Timestamptz};
use diesel::sqlite::Sqlite;
use std::io::Write;
use uuid::Uuid;

#[derive(SqlType, QueryId, Clone, Copy, Default, Debug)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951), mysql_type(name = "Blob"), sqlite_type(name = "Binary"))]
pub struct Uid;

#[derive(SqlType, QueryId, Clone, Copy, Default, Debug)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185), mysql_type(name = "DateTime"), sqlite_type(name = "Text"))]
pub struct UtcInstant;

#[derive(SqlType, QueryId, Clone, Copy, Default, Debug)]
#[diesel(postgres_type(oid = 3802, array_oid = 3807), mysql_type(name = "String"), sqlite_type(name = "Text"))]
pub struct JsonList;

impl sql_types::SqlOrd for Uid {}
impl sql_types::SqlOrd for UtcInstant {}

/// Maps a type on `Any`, by its mappings on the three real databases.
macro_rules! any_type {
    ($sql:ident, $rust:ty) => {
        impl HasSqlType<$sql> for Any {
            fn metadata(lookup: &mut Self::MetadataLookup) -> Self::TypeMetadata {
                Any::lookup_sql_type::<$sql>(lookup)
            }
        }
        impl ToSql<$sql, Any> for $rust {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Any>) -> serialize::Result {
                out.set_value(($sql, self));
                Ok(IsNull::No)
            }
        }
        impl FromSql<$sql, Any> for $rust {
            fn from_sql(value: AnyValue<'_>) -> deserialize::Result<Self> {
                value.from_sql::<Self, $sql>()
            }
        }
    };
}
any_type!(Uid, Uuid);
any_type!(UtcInstant, DateTime<Utc>);
any_type!(JsonList, Vec<String>);

type Raw<'a, DB> = <DB as Backend>::RawValue<'a>;

// --- Uid
impl ToSql<Uid, Pg> for Uuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<sql_types::Uuid, Pg>::to_sql(self, out)
    }
}
impl ToSql<Uid, Mysql> for Uuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        out.write_all(self.as_bytes())?;
        Ok(IsNull::No)
    }
}
impl ToSql<Uid, Sqlite> for Uuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.as_bytes().as_slice());
        Ok(IsNull::No)
    }
}
impl FromSql<Uid, Pg> for Uuid {
    fn from_sql(value: Raw<'_, Pg>) -> deserialize::Result<Self> {
        FromSql::<sql_types::Uuid, Pg>::from_sql(value)
    }
}
impl FromSql<Uid, Mysql> for Uuid {
    fn from_sql(value: Raw<'_, Mysql>) -> deserialize::Result<Self> {
        Ok(Uuid::from_slice(&<Vec<u8> as FromSql<Binary, Mysql>>::from_sql(value)?)?)
    }
}
impl FromSql<Uid, Sqlite> for Uuid {
    fn from_sql(value: Raw<'_, Sqlite>) -> deserialize::Result<Self> {
        Ok(Uuid::from_slice(&<Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?)?)
    }
}

// --- UtcInstant
const SQLITE_INSTANT: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

impl ToSql<UtcInstant, Pg> for DateTime<Utc> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<Timestamptz, Pg>::to_sql(self, out)
    }
}
impl ToSql<UtcInstant, Mysql> for DateTime<Utc> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        ToSql::<Datetime, Mysql>::to_sql(&self.naive_utc(), &mut out.reborrow())
    }
}
impl ToSql<UtcInstant, Sqlite> for DateTime<Utc> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.format(SQLITE_INSTANT).to_string());
        Ok(IsNull::No)
    }
}
impl FromSql<UtcInstant, Pg> for DateTime<Utc> {
    fn from_sql(value: Raw<'_, Pg>) -> deserialize::Result<Self> {
        FromSql::<Timestamptz, Pg>::from_sql(value)
    }
}
impl FromSql<UtcInstant, Mysql> for DateTime<Utc> {
    fn from_sql(value: Raw<'_, Mysql>) -> deserialize::Result<Self> {
        Ok(<NaiveDateTime as FromSql<Datetime, Mysql>>::from_sql(value)?.and_utc())
    }
}
impl FromSql<UtcInstant, Sqlite> for DateTime<Utc> {
    fn from_sql(value: Raw<'_, Sqlite>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(DateTime::parse_from_rfc3339(&text)?.to_utc())
    }
}

// --- JsonList
impl ToSql<JsonList, Pg> for Vec<String> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[1])?; // jsonb's format version
        serde_json::to_writer(out, self)?;
        Ok(IsNull::No)
    }
}
impl ToSql<JsonList, Mysql> for Vec<String> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        serde_json::to_writer(out, self)?;
        Ok(IsNull::No)
    }
}
impl ToSql<JsonList, Sqlite> for Vec<String> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(serde_json::to_string(self)?);
        Ok(IsNull::No)
    }
}
impl FromSql<JsonList, Pg> for Vec<String> {
    fn from_sql(value: Raw<'_, Pg>) -> deserialize::Result<Self> {
        match value.as_bytes() {
            [1, json @ ..] => Ok(serde_json::from_slice(json)?),
            _ => Err("unknown jsonb format".into()),
        }
    }
}
impl FromSql<JsonList, Mysql> for Vec<String> {
    fn from_sql(value: Raw<'_, Mysql>) -> deserialize::Result<Self> {
        Ok(serde_json::from_slice(value.as_bytes())?)
    }
}
impl FromSql<JsonList, Sqlite> for Vec<String> {
    fn from_sql(value: Raw<'_, Sqlite>) -> deserialize::Result<Self> {
        Ok(serde_json::from_str(&<String as FromSql<Text, Sqlite>>::from_sql(value)?)?)
    }
}

// --- the Rust side: newtypes that borrow the mappings above, on any backend
macro_rules! column_newtype {
    ($(#[$attribute:meta])* $name:ident($(#[$of_inner:meta])* $inner:ty) as $sql:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = $crate::db::types::$sql)]
        #[serde(transparent)]
        pub struct $name($(#[$of_inner])* pub $inner);

        impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<$crate::db::types::$sql, DB> for $name
        where
            $inner: diesel::serialize::ToSql<$crate::db::types::$sql, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut diesel::serialize::Output<'b, '_, DB>) -> diesel::serialize::Result {
                self.0.to_sql(out)
            }
        }
        impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<$crate::db::types::$sql, DB> for $name
        where
            $inner: diesel::deserialize::FromSql<$crate::db::types::$sql, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                <$inner>::from_sql(value).map(Self)
            }
        }
    };
}
pub(crate) use column_newtype;

/// Reads a value from the text in a token or cursor. The parser is the same as for any other text that clients send.
macro_rules! read_from_text {
    ($name:ident, $parse:path) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                let unreadable = || serde::de::Error::custom(concat!("not of the form of ", stringify!($name)));
                $parse(&text).map(Self).ok_or_else(unreadable)
            }
        }
    };
}
pub(crate) use read_from_text;

/// Declares the type of the ids of one kind, as a column. New ids are made by `WriteTx::new_id`.
macro_rules! column_id {
    ($(#[$attribute:meta])* $name:ident) => {
        $crate::db::types::column_newtype!($(#[$attribute])* #[derive(Copy)] $name(uuid::Uuid) as Uid);
        $crate::db::types::read_from_text!($name, $crate::base::formats::parse_uuid);
        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self {
                Self(id)
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use column_id;

macro_rules! ids {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        $(column_id!($(#[$attribute])* $name);)*

        /// Gives the names of these ids to a macro.
        macro_rules! for_all_ids {
            ($macro:ident) => {
                $macro!($($name),*);
            };
        }
        pub(crate) use for_all_ids;
    };
}
// The ids that layers below the resources use. All others are declared by the resources, with their records.
ids! {
    TenantId,
    UserId,
    SessionId,
    CalendarFeedId,
    ApiKeyId,
    /// A token that was mailed.
    TokenId,
    JobId,
    /// A version of a tenant's cached lists of one kind.
    CacheVersion,
    AuditId,
    FileId,
    /// An id of any kind, for columns and statements that serve several kinds.
    AnyId,
}

column_newtype!(Instant(#[serde(serialize_with = "with_micros")] DateTime<Utc>) as UtcInstant);
read_from_text!(Instant, parse_instant);
impl Copy for Instant {}

/// Prints a time as the contract has it: in UTC, with all six digits of its microseconds.
pub fn print_instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn with_micros<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print_instant(*time))
}

impl From<DateTime<Utc>> for Instant {
    /// Truncates the time to microseconds, as the databases keep it, so that a value that is read back equals the one
    /// that was written.
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.trunc_subsecs(6))
    }
}

column_newtype!(
    #[derive(Default, poem_openapi::NewType)]
    #[oai(from_multipart = false, to_header = false)]
    Tags(Vec<String>) as JsonList
);

column_newtype!(
    /// A value that [`WriteTx::seal`](super::WriteTx::seal) has encrypted.
    Sealed(Vec<u8>) as Binary
);

column_newtype!(Day(NaiveDate) as Date);
read_from_text!(Day, parse_day);
impl Copy for Day {}
