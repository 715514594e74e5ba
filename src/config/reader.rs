//! Reads the values of settings. Problems are collected, so that all of them are reported at once.
use super::layers::Layers;
use super::problem::Problem;
use super::{EffectiveSetting, Environment, names};
use figment::Figment;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The value can't be used, and the reader has reported the problem already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported;

/// The result of reading a value. All settings of a section must be read before the first `?`, because otherwise
/// problems would stay hidden.
pub(super) type Read<T> = Result<T, Reported>;

pub(super) struct Reader {
    figment: Figment,
    pub environment: Environment,
    pub problems: Vec<Problem>,
    /// The values that were read, in the form in which they may be shown.
    shown: BTreeMap<&'static str, String>,
}

impl Reader {
    pub fn new(Layers { figment, environment, problems }: Layers) -> Self {
        Self { figment, environment, problems, shown: BTreeMap::new() }
    }

    /// The setting as it is in force. Its value is only known after it was read.
    pub fn effective(&self, path: &'static str) -> EffectiveSetting {
        EffectiveSetting { path, value: self.shown.get(path).cloned(), origin: self.origin(path) }
    }

    /// Where the setting's value comes from.
    fn origin(&self, path: &str) -> Option<String> {
        Some(self.figment.find_metadata(path)?.name.to_string())
    }

    /// Whether the setting was set, even to a value that can't be used. Such a value is a problem of its own.
    pub fn is_given(&self, path: &str) -> bool {
        self.figment.contains(path) || self.is_reported(path)
    }

    /// Reports a problem with a setting.
    pub fn report(&mut self, path: &str, message: impl Into<String>) -> Reported {
        let (setting, origin) = (path.to_owned(), self.origin(path));
        self.problems.push(Problem { setting, origin, message: message.into() });
        Reported
    }

    /// Reads a text.
    pub fn text(&mut self, path: &'static str) -> Read<String> {
        let text: String = self.value(path, "text")?;
        self.show(path, format!("{text:?}"));
        Ok(text)
    }

    /// Reads a value with figment's own conversions, because the value of a variable is text even if a number is
    /// expected. Reports a setting that is missing.
    pub fn value<T: DeserializeOwned>(&mut self, path: &'static str, expected: &str) -> Read<T> {
        let Ok(value) = self.figment.find_value(path) else { return Err(self.report_missing(path)) };
        self.figment.extract_inner_lossy(path).map_err(|_| {
            let not = if is_secret(path) { String::new() } else { format!(", not {}", value.to_actual()) };
            self.report(path, format!("must be {expected}{not}"))
        })
    }

    /// The value of another setting. Problems with that setting are reported when it is read itself.
    pub fn peek<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        self.figment.extract_inner_lossy(path).ok()
    }

    fn report_missing(&mut self, path: &str) -> Reported {
        if self.is_reported(path) {
            return Reported;
        }
        let variable = match names::find(path).and_then(|setting| setting.names.first()) {
            Some(name) => (*name).to_owned(),
            None => names::nested_variable(path),
        };
        let message = format!("is missing in {}; set {variable} or {variable}_FILE", self.environment);
        self.report(path, message)
    }

    fn is_reported(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.setting == path)
    }

    /// Records how the value is shown. A secret is shown as `***`.
    pub fn show(&mut self, path: &'static str, value: impl ToString) {
        let shown = if is_secret(path) { "***".to_owned() } else { value.to_string() };
        self.shown.insert(path, shown);
    }

    /// Records a text that is shown instead of the value. The text must contain no secret.
    pub fn show_instead(&mut self, path: &'static str, text: String) {
        self.shown.insert(path, text);
    }
}

fn is_secret(path: &str) -> bool {
    // To be safe, a path that is not in the table counts as secret.
    names::find(path).is_none_or(|setting| setting.secret)
}
