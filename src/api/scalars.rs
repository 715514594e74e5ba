//! The form of the shared column types in JSON and in parameters: always a string of one format.
use crate::base::formats::{parse_day, parse_instant, parse_uuid};
use crate::base::money::{AMOUNT_PATTERN, Amount};
pub use crate::base::password::Password;
pub use crate::db::Email;
use crate::db::types::{Day, Instant};
use chrono::SecondsFormat;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use serde_json::Value;
use std::borrow::Cow;

macro_rules! string_type {
    ($type:ident, $format:literal, parse: $parse:expr, print: $print:expr) => {
        string_type!($type as Self, $format, raw: |value| value, parse: $parse, print: $print);
    };
    // `raw` returns the value that validators such as `max_length` check.
    (
        $type:ident as $raw:ty, $format:literal, $(pattern: $pattern:expr,)?
        raw: $as_raw:expr, parse: $parse:expr, print: $print:expr
    ) => {
        impl Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = $raw;
            type RawElementValueType = $raw;

            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn schema_ref() -> MetaSchemaRef {
                let schema = MetaSchema::new_with_format("string", $format);
                $(let schema = MetaSchema { pattern: Some($pattern.to_owned()), ..schema };)?
                MetaSchemaRef::Inline(Box::new(schema))
            }
            fn as_raw_value(&self) -> Option<&$raw> {
                let as_raw: fn(&Self) -> &$raw = $as_raw;
                Some(as_raw(self))
            }
            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a $raw> + 'a> {
                Box::new(self.as_raw_value().into_iter())
            }
        }
        impl ParseFromParameter for $type {
            fn parse_from_parameter(text: &str) -> ParseResult<Self> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text).ok_or_else(|| ParseError::custom(concat!("must be a valid ", $format)))
            }
        }
        impl ParseFromJSON for $type {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                match value {
                    Some(Value::String(text)) => Self::parse_from_parameter(&text),
                    other => Err(ParseError::expected_type(other.unwrap_or_default())),
                }
            }
        }
        impl ToJSON for $type {
            fn to_json(&self) -> Option<Value> {
                let print: fn(&Self) -> String = $print;
                Some(Value::String(print(self)))
            }
        }
    };
}

macro_rules! id_types {
    ($($id:ident),+) => {$(
        const _: () = {
            use crate::db::types::$id;
            string_type!($id, "uuid", parse: |text| parse_uuid(text).map(Self), print: |id| id.0.to_string());
        };
    )+};
}
crate::db::types::for_all_ids!(id_types);

string_type!(
    Day, "date",
    parse: |text| parse_day(text).map(Self),
    print: |day| day.0.to_string()
);
string_type!(
    Instant, "date-time",
    parse: |text| parse_instant(text).map(Self),
    print: |time| time.0.to_rfc3339_opts(SecondsFormat::Micros, true)
);

string_type!(
    Amount as Self, "decimal",
    pattern: AMOUNT_PATTERN,
    raw: |amount| amount,
    parse: Amount::parse,
    print: Amount::reveal
);

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
