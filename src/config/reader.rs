//! Hands the sections their settings, typed; what does not fit is written down, so that all problems come out at once.
use super::layers::Layers;
use super::problem::Problem;
use super::{Environment, names};
use figment::Figment;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// A value could not be had, and the reader knows why already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported;

/// What a reader gives: read every setting of a section first and use `?` only then, or problems stay hidden.
pub(super) type Read<T> = Result<T, Reported>;

pub(super) struct Reader {
    figment: Figment,
    pub environment: Environment,
    pub problems: Vec<Problem>,
    /// What was read, as it may be shown.
    shown: BTreeMap<&'static str, String>,
}

/// A list as people write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrList {
    Text(String),
    List(Vec<String>),
}

impl Reader {
    pub fn new(Layers { figment, environment, problems }: Layers) -> Self {
        Self { figment, environment, problems, shown: BTreeMap::new() }
    }

    /// Where the setting's value comes from.
    pub fn origin(&self, path: &str) -> Option<String> {
        Some(self.figment.find_metadata(path)?.name.to_string())
    }

    /// The setting's value as it may be shown, once it was read.
    pub fn shown(&self, path: &str) -> Option<&str> {
        self.shown.get(path).map(String::as_str)
    }

    /// Whether somebody set it, be it to something that can't be used: that is a problem of its own.
    pub fn is_given(&self, path: &str) -> bool {
        self.figment.contains(path) || self.is_reported(path)
    }

    /// Writes down what is wrong with a setting.
    pub fn report(&mut self, path: &str, message: impl Into<String>) -> Reported {
        let (setting, origin) = (path.to_owned(), self.origin(path));
        self.problems.push(Problem { setting, origin, message: message.into() });
        Reported
    }

    pub fn text(&mut self, path: &'static str) -> Read<String> {
        let text: Option<String> = self.optional_text(path)?;
        self.required(path, text)
    }

    pub fn optional_text(&mut self, path: &'static str) -> Read<Option<String>> {
        let text: Option<String> = self.value(path, "text")?;
        if let Some(text) = &text {
            self.show(path, format!("{text:?}"));
        }
        Ok(text)
    }

    /// A text that is not empty.
    pub fn word(&mut self, path: &'static str) -> Read<String> {
        let text = self.text(path)?;
        if text.trim().is_empty() { Err(self.report(path, "must not be empty")) } else { Ok(text) }
    }

    /// A URL with one of these schemes and a host.
    pub fn optional_url(&mut self, path: &'static str, schemes: &[&str]) -> Read<Option<Url>> {
        let Some(text) = self.optional_text(path)? else { return Ok(None) };
        network_url(&text, schemes).map(Some).map_err(|message| self.report(path, message))
    }

    /// A text that its type knows how to read.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, path: &'static str) -> Read<T> {
        let text = self.text(path)?;
        text.parse().map_err(|error: T::Err| self.report(path, error.to_string()))
    }

    pub fn flag(&mut self, path: &'static str) -> Read<bool> {
        let flag = self.value(path, "true or false")?;
        let flag = self.required(path, flag)?;
        self.show(path, flag);
        Ok(flag)
    }

    pub fn number<T: TryFrom<u64>>(&mut self, path: &'static str, range: RangeInclusive<u64>) -> Read<T> {
        let number = self.optional_number(path, range)?;
        self.required(path, number)
    }

    pub fn optional_number<T: TryFrom<u64>>(
        &mut self,
        path: &'static str,
        range: RangeInclusive<u64>,
    ) -> Read<Option<T>> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(number): Option<u64> = self.value(path, &expected)? else { return Ok(None) };
        self.show(path, number);
        match T::try_from(number) {
            Ok(fitting) if range.contains(&number) => Ok(Some(fitting)),
            _ => Err(self.report(path, format!("must be {expected}, not {number}"))),
        }
    }

    /// A setting whose name ends in `_seconds`.
    pub fn seconds(&mut self, path: &'static str, range: RangeInclusive<u64>) -> Read<Duration> {
        self.number(path, range).map(Duration::from_secs)
    }

    /// A setting whose name ends in `_ms`.
    pub fn milliseconds(&mut self, path: &'static str, range: RangeInclusive<u64>) -> Read<Duration> {
        self.number(path, range).map(Duration::from_millis)
    }

    /// A list of texts; in a variable a comma list or a JSON list.
    pub fn list(&mut self, path: &'static str) -> Read<Vec<String>> {
        let expected = "a list of texts";
        let given = self.value(path, expected)?;
        let list = match self.required(path, given)? {
            TextOrList::List(list) => list,
            TextOrList::Text(text) if text.trim_start().starts_with('[') => serde_json::from_str(&text)
                .map_err(|error| self.report(path, format!("is not a JSON list: {error}")))?,
            TextOrList::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        };
        let list: Vec<String> = list.into_iter().filter(|item| !item.is_empty()).collect();
        self.show(path, format!("{list:?}"));
        Ok(list)
    }

    /// What has members of its own; never shown.
    pub fn optional_structure<T: DeserializeOwned>(&mut self, path: &'static str, expected: &str) -> Read<Option<T>> {
        let value = self.value(path, expected)?;
        self.show(path, "***");
        Ok(value)
    }

    /// The value, figment's own conversions applied: what a variable says is text, also where a number is meant.
    fn value<T: DeserializeOwned>(&mut self, path: &'static str, expected: &str) -> Read<Option<T>> {
        let Ok(value) = self.figment.find_value(path) else {
            return if self.is_reported(path) { Err(Reported) } else { Ok(None) };
        };
        self.figment.extract_inner_lossy(path).map(Some).map_err(|_| {
            let not = if is_secret(path) { String::new() } else { format!(", not {}", value.to_actual()) };
            self.report(path, format!("must be {expected}{not}"))
        })
    }

    fn required<T>(&mut self, path: &'static str, value: Option<T>) -> Read<T> {
        value.ok_or_else(|| {
            let variable = match names::setting(path).and_then(|setting| setting.names.first()) {
                Some(name) => (*name).to_owned(),
                None => names::nested_variable(path),
            };
            let message = format!("is missing in {}; set {variable} or {variable}_FILE", self.environment);
            self.report(path, message)
        })
    }

    fn is_reported(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.setting == path)
    }

    fn show(&mut self, path: &'static str, value: impl ToString) {
        let shown = if is_secret(path) { "***".to_owned() } else { value.to_string() };
        self.shown.insert(path, shown);
    }
}

/// Reads a URL that may hold a password: errors don't repeat what was given.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| {
        format!("is no URL ({error}); characters such as @ : / # ? % in a password must be percent-encoded")
    })?;
    match url.fragment() {
        Some(_) => Err("has a #: in a password it must be percent-encoded, as %23".to_owned()),
        None => Ok(url),
    }
}

fn network_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let text = text.trim();
    let is_scheme = |(scheme, _): (&str, &str)| schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    if !text.split_once("://").is_some_and(is_scheme) {
        return Err(format!("must start with {}://", schemes.join(":// or ")));
    }
    let url = url(text)?;
    if url.host_str().is_none_or(str::is_empty) { Err("must name the host".to_owned()) } else { Ok(url) }
}

fn is_secret(path: &str) -> bool {
    // What the table does not know is better hidden than shown.
    names::setting(path).is_none_or(|setting| setting.secret)
}
