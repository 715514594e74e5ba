//! The kinds of values that settings have. Each kind defines how a value is read and which values are refused.
use super::reader::{Read, Reader};
use serde::Deserialize;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// A kind of value. The field of the setting has the type `T`.
pub(super) trait ValueType<T> {
    /// Reads the setting's value, and reports what is wrong with it.
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<T>;

    /// The range of allowed numbers.
    fn range(&self) -> Option<RangeInclusive<u64>> {
        None
    }

    /// Whether the value must never be shown.
    fn is_secret(&self) -> bool {
        false
    }

    /// The suffix that the setting's name must have to show the unit.
    fn unit(&self) -> Option<&'static str> {
        None
    }
}

/// A value that may be absent.
pub(super) struct Optional<V>(pub V);

impl<T, V: ValueType<T>> ValueType<Option<T>> for Optional<V> {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<Option<T>> {
        if reader.is_given(path) { self.0.read(reader, path).map(Some) } else { Ok(None) }
    }

    fn range(&self) -> Option<RangeInclusive<u64>> {
        self.0.range()
    }

    fn is_secret(&self) -> bool {
        self.0.is_secret()
    }

    fn unit(&self) -> Option<&'static str> {
        self.0.unit()
    }
}

/// A value that must be consistent with other settings. The function returns what is wrong with it.
pub(super) struct Checked<V, C>(pub V, pub C);

impl<T, V: ValueType<T>, C: Fn(&T, &Reader) -> Result<(), &'static str>> ValueType<T> for Checked<V, C> {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<T> {
        let Self(value_type, check) = self;
        let value = value_type.read(reader, path)?;
        match check(&value, reader) {
            Ok(()) => Ok(value),
            Err(message) => Err(reader.report(path, message)),
        }
    }

    fn range(&self) -> Option<RangeInclusive<u64>> {
        self.0.range()
    }

    fn is_secret(&self) -> bool {
        self.0.is_secret()
    }

    fn unit(&self) -> Option<&'static str> {
        self.0.unit()
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl ValueType<bool> for Flag {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<bool> {
        let flag = reader.value(path, "true or false")?;
        reader.show(path, flag);
        Ok(flag)
    }
}

/// A whole number within these bounds.
pub(super) struct Number(pub RangeInclusive<u64>);

impl<T: TryFrom<u64>> ValueType<T> for Number {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<T> {
        let Self(range) = self;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number: u64 = reader.value(path, &expected)?;
        reader.show(path, number);
        match T::try_from(number) {
            Ok(fitting) if range.contains(&number) => Ok(fitting),
            _ => Err(reader.report(path, format!("must be {expected}, not {number}"))),
        }
    }

    fn range(&self) -> Option<RangeInclusive<u64>> {
        Some(self.0.clone())
    }
}

/// A duration, as a whole number of the unit at the end of the setting's name.
pub(super) struct TimeSpan {
    range: RangeInclusive<u64>,
    unit: &'static str,
    milliseconds: u64,
}

pub(super) fn milliseconds(range: RangeInclusive<u64>) -> TimeSpan {
    TimeSpan { range, unit: "_ms", milliseconds: 1 }
}

pub(super) fn seconds(range: RangeInclusive<u64>) -> TimeSpan {
    TimeSpan { range, unit: "_seconds", milliseconds: 1000 }
}

pub(super) fn minutes(range: RangeInclusive<u64>) -> TimeSpan {
    TimeSpan { range, unit: "_minutes", milliseconds: 60 * 1000 }
}

pub(super) fn days(range: RangeInclusive<u64>) -> TimeSpan {
    TimeSpan { range, unit: "_days", milliseconds: 24 * 60 * 60 * 1000 }
}

impl ValueType<Duration> for TimeSpan {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<Duration> {
        let count: u64 = Number(self.range.clone()).read(reader, path)?;
        Ok(Duration::from_millis(count * self.milliseconds))
    }

    fn range(&self) -> Option<RangeInclusive<u64>> {
        Some(self.range.clone())
    }

    fn unit(&self) -> Option<&'static str> {
        Some(self.unit)
    }
}

/// Any text.
pub(super) struct Text;

impl<T: From<String>> ValueType<T> for Text {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<T> {
        reader.text(path).map(T::from)
    }
}

/// A text that is not empty.
pub(super) struct NonEmptyText;

impl<T: From<String>> ValueType<T> for NonEmptyText {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<T> {
        let text = reader.text(path)?;
        if text.trim().is_empty() { Err(reader.report(path, "must not be empty")) } else { Ok(text.into()) }
    }
}

/// One of a few words. The type of the field parses them.
pub(super) struct Choice;

impl<T: FromStr<Err: Display>> ValueType<T> for Choice {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<T> {
        let text = reader.text(path)?;
        text.parse().map_err(|error: T::Err| reader.report(path, error.to_string()))
    }
}

/// The two ways to write a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrList {
    Text(String),
    List(Vec<String>),
}

/// Reads a list of texts. In a variable, it is a comma-separated list or a JSON list.
pub(super) fn read_list(reader: &mut Reader, path: &'static str) -> Read<Vec<String>> {
    let list = match reader.value(path, "a list of texts")? {
        TextOrList::List(list) => list,
        TextOrList::Text(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str(&text).map_err(|error| reader.report(path, format!("is not a JSON list: {error}")))?
        }
        TextOrList::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    let list: Vec<String> = list.into_iter().filter(|item| !item.is_empty()).collect();
    reader.show(path, format!("{list:?}"));
    Ok(list)
}

/// Reads a URL with one of these schemes and a host. Errors don't repeat the given text, because it may contain a
/// password.
pub(super) fn read_url(reader: &mut Reader, path: &'static str, schemes: &[&str]) -> Read<Url> {
    let text = reader.text(path)?;
    network_url(text.trim(), schemes).map_err(|message| reader.report(path, message))
}

/// Whether the host of a URL is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn network_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let is_scheme = |(scheme, _): (&str, &str)| schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    if !text.split_once("://").is_some_and(is_scheme) {
        return Err(format!("must start with {}://", schemes.join(":// or ")));
    }
    let url = Url::parse(text).map_err(|error| {
        format!("is no URL ({error}); characters such as @ : / # ? % in a password must be percent-encoded")
    })?;
    if url.fragment().is_some() {
        return Err("has a #: in a password it must be percent-encoded, as %23".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) { Err("must name the host".to_owned()) } else { Ok(url) }
}
