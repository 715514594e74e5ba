//! The form of the shared column types in JSON and in parameters: always a string of one format.
use crate::base::formats::{parse_day, parse_instant};
use crate::base::money::{AMOUNT_PATTERN, Amount};
pub use crate::base::password::Password;
pub use crate::db::Email;
use crate::db::types::{Day, Instant, print_instant};

/// Implements what poem-openapi asks of a type that is a string in JSON.
macro_rules! string_type {
    ($type:ident, $format:literal, parse: $parse:expr, print: $print:expr) => {
        $crate::api::scalars::string_type!($type as Self, $format, raw: |value| value, parse: $parse, print: $print);
    };
    // `raw` returns the value that validators such as `max_length` check.
    (
        $type:ident as $raw:ty, $format:literal, $(pattern: $pattern:expr,)?
        raw: $as_raw:expr, parse: $parse:expr, print: $print:expr
    ) => {
        impl poem_openapi::types::Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = $raw;
            type RawElementValueType = $raw;

            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                let schema = poem_openapi::registry::MetaSchema::new_with_format("string", $format);
                $(let schema = poem_openapi::registry::MetaSchema { pattern: Some($pattern.to_owned()), ..schema };)?
                poem_openapi::registry::MetaSchemaRef::Inline(Box::new(schema))
            }
            fn as_raw_value(&self) -> Option<&$raw> {
                let as_raw: fn(&Self) -> &$raw = $as_raw;
                Some(as_raw(self))
            }
            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a $raw> + 'a> {
                Box::new(poem_openapi::types::Type::as_raw_value(self).into_iter())
            }
        }
        impl poem_openapi::types::ParseFromParameter for $type {
            fn parse_from_parameter(text: &str) -> poem_openapi::types::ParseResult<Self> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text).ok_or_else(|| poem_openapi::types::ParseError::custom(concat!("must be a valid ", $format)))
            }
        }
        impl poem_openapi::types::ParseFromJSON for $type {
            fn parse_from_json(value: Option<serde_json::Value>) -> poem_openapi::types::ParseResult<Self> {
                match value {
                    Some(serde_json::Value::String(text)) => poem_openapi::types::ParseFromParameter::parse_from_parameter(&text),
                    other => Err(poem_openapi::types::ParseError::expected_type(other.unwrap_or_default())),
                }
            }
        }
        impl poem_openapi::types::ToJSON for $type {
            fn to_json(&self) -> Option<serde_json::Value> {
                let print: fn(&Self) -> String = $print;
                Some(serde_json::Value::String(print(self)))
            }
        }
    };
}

pub(crate) use string_type;

/// Gives the type of an id its form in JSON and in parameters.
macro_rules! json_id {
    ($id:ident) => {
        $crate::api::scalars::string_type!(
            $id, "uuid",
            parse: |text| $crate::base::formats::parse_uuid(text).map(Self),
            print: |id| id.0.to_string()
        );
    };
}
pub(crate) use json_id;

/// Declares the type of the ids of one kind: as a column, in JSON and in parameters. A record declares its own with
/// `id: new …` in [`record!`](crate::record!).
macro_rules! id {
    ($(#[$attribute:meta])* $id:ident) => {
        $crate::db::types::column_id!($(#[$attribute])* $id);
        $crate::api::scalars::json_id!($id);
    };
}
pub(crate) use id;

macro_rules! json_ids {
    ($($id:ident),+) => {$(
        const _: () = {
            use crate::db::types::$id;
            json_id!($id);
        };
    )+};
}
crate::db::types::for_all_ids!(json_ids);

string_type!(
    Day, "date",
    parse: |text| parse_day(text).map(Self),
    print: |day| day.0.to_string()
);
string_type!(
    Instant, "date-time",
    parse: |text| parse_instant(text).map(Self),
    print: |time| print_instant(time.0)
);

string_type!(
    Amount as Self, "decimal",
    pattern: AMOUNT_PATTERN,
    raw: |amount| amount,
    parse: Amount::parse,
    print: Amount::reveal
);

impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

// Addresses from clients were checked against the schema before. An address that was stored before these rules existed
// stays as it is when a caller changes another member of its record.
string_type!(
    Email, "email",
    parse: |text| Some(Self::of_stored(text)),
    print: Email::to_string
);

string_type!(
    Password as String, "password",
    raw: Password::exposed,
    parse: |text| Some(Self::new(text)),
    print: |_| "***".to_owned()
);
