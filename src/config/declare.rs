//! How settings are declared: each one once, as a field of its section.
//!
//! ```text
//! settings! {
//!     /// `[jobs]`: what is done apart from requests.
//!     #[derive(Debug, Clone, Copy, PartialEq, Eq)]
//!     pub struct JobsConfig {
//!         /// Whether this server works off jobs (mail, sealing, pruning).
//!         pub enabled: bool = setting("jobs.enabled", Flag).default(true).in_tests(false),
//!
//!         /// After how many milliseconds the server looks for jobs again ({range}).
//!         pub poll: Duration = setting("jobs.poll_ms", milliseconds(50..=60_000)).default(1000).in_tests(50),
//!     }
//! }
//! ```
//!
//! All that BizCenter knows about a setting follows from its declaration. From the second one above:
//!
//! - the field `config.jobs.poll`, a `Duration`;
//! - its names: `poll_ms` under `[jobs]` in `bizcenter.toml`, `BIZCENTER_JOBS__POLL_MS` in the environment, and both
//!   with `_file`. [`Declared::named`] adds shorter variables;
//! - which values are refused: text, 49 and 60,001;
//! - its paragraph and line in `default.toml`, which `bizcenter config default` prints. In the text, `{range}` stands
//!   for `50 to 60000`. `{names}` stands for the shorter variables, which otherwise are listed at the end of the text,
//!   and `{default}` for a default that depends on the environment. An empty line begins a new line in the file. A
//!   setting without a text shares the text of the setting above it;
//! - its value if it is not set, and its value in tests;
//! - its line in `bizcenter config check`, with `***` as the value if the type says that the value is a secret.
//!
//! The kinds of values are in [`super::types`], and a section adds kinds of its own with [`ValueType`]. A rule that
//! relates two settings is a function of the section. [`super::types::Checked`] calls it with the value and the
//! [`Reader`].
use super::Environment;
use super::reader::{Read, Reader};
use super::types::ValueType;
use std::fmt;
use std::ops::RangeInclusive;

/// Declares a section and its settings; the module's documentation has an example.
macro_rules! settings {
    ($(#[$of_struct:meta])* $struct_visibility:vis struct $Section:ident {
        $($(#[doc = $text:literal])* $visibility:vis $field:ident: $Type:ty = $declaration:expr),+ $(,)?
    }) => {
        $(#[$of_struct])*
        $struct_visibility struct $Section {
            $($(#[doc = $text])* $visibility $field: $Type,)+
        }

        impl $crate::config::declare::Section for $Section {
            fn list() -> Vec<$crate::config::declare::Setting> {
                let mut settings = vec![];
                $($crate::config::declare::Declaration::<$Type>::list(&$declaration, &[$($text),*], &mut settings);)+
                settings
            }

            fn read(reader: &mut $crate::config::reader::Reader) -> $crate::config::reader::Read<Self> {
                // All are read before the first `?`, so that all problems are found.
                $(let $field = $crate::config::declare::Declaration::<$Type>::read(&$declaration, reader);)+
                Ok(Self { $($field: $field?),+ })
            }
        }
    };
}
pub(super) use settings;

/// A group of settings that one type holds.
pub(super) trait Section: Sized {
    /// Its settings, in the order of the file.
    fn list() -> Vec<Setting>;

    /// Reads all of its settings, and reports every problem with them.
    fn read(reader: &mut Reader) -> Read<Self>;
}

/// The declaration after the `=` of a field: a setting, or a section of settings. The type of the field is `T`.
pub(super) trait Declaration<T> {
    /// Adds the settings that are declared here. `text` is the field's documentation, line by line.
    fn list(&self, text: &'static [&'static str], settings: &mut Vec<Setting>);

    fn read(&self, reader: &mut Reader) -> Read<T>;
}

/// The declared facts about a setting, without the type of its value.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// Its name in the file with its section, such as `server.port`.
    pub path: &'static str,
    /// The plain variables that set it. The first is the one that we recommend.
    pub names: &'static [&'static str],
    /// Whether its value must never be shown.
    pub secret: bool,
    /// Its default in development.
    pub in_development: Option<Literal>,
    /// Its default in staging and production.
    pub elsewhere: Option<Literal>,
    /// An example in TOML, for a setting without a default.
    pub example: Option<String>,
    /// The file in `data_dir` with the secret that a development server makes if none is set.
    pub made_in_development: Option<&'static str>,
    /// Its value in tests, if that is not the default.
    pub in_tests: Option<Literal>,
    /// The range of allowed numbers.
    pub range: Option<RangeInclusive<u64>>,
    /// The text of its declaration, line by line.
    pub text: &'static [&'static str],
}

impl Setting {
    const fn new(path: &'static str, names: &'static [&'static str]) -> Self {
        Self {
            path,
            names,
            secret: false,
            in_development: None,
            elsewhere: None,
            example: None,
            made_in_development: None,
            in_tests: None,
            range: None,
            text: &[],
        }
    }

    /// Something that has names like a setting, but is converted into another setting before settings are read.
    pub const fn part(path: &'static str, names: &'static [&'static str]) -> Self {
        Self::new(path, names)
    }

    /// Like [`Self::part`], for a value that must never be shown.
    pub const fn secret_part(path: &'static str, names: &'static [&'static str]) -> Self {
        let mut part = Self::new(path, names);
        part.secret = true;
        part
    }

    /// The default that is the same in every environment.
    pub fn fixed_default(&self) -> Option<&Literal> {
        self.in_development.as_ref().filter(|_| self.in_development == self.elsewhere)
    }

    /// The default that depends on the environment.
    pub fn default_in(&self, environment: Environment) -> Option<&Literal> {
        let default = if environment.is_development() { &self.in_development } else { &self.elsewhere };
        default.as_ref().filter(|_| self.in_development != self.elsewhere)
    }
}

/// A setting and the type of its value. The methods complete the declaration.
pub(super) struct Declared<V> {
    setting: Setting,
    value_type: V,
}

/// Declares a setting by its name in the file and the type of its value.
pub(super) fn setting<V>(path: &'static str, value_type: V) -> Declared<V> {
    Declared { setting: Setting::new(path, &[]), value_type }
}

impl<V> Declared<V> {
    /// Adds the plain variables that set it too. The first is the one that we recommend. `.env.example` lists all of
    /// them.
    pub fn named(mut self, names: &'static [&'static str]) -> Self {
        self.setting.names = names;
        self
    }

    /// Sets the default.
    pub fn default(self, value: impl Into<Literal>) -> Self {
        let value = value.into();
        self.default_in_development(value.clone()).default_elsewhere(value)
    }

    /// Sets the default in development.
    pub fn default_in_development(mut self, value: impl Into<Literal>) -> Self {
        self.setting.in_development = Some(value.into());
        self
    }

    /// Sets the default in staging and production.
    pub fn default_elsewhere(mut self, value: impl Into<Literal>) -> Self {
        self.setting.elsewhere = Some(value.into());
        self
    }

    /// Adds an example that shows the form of the value, for a setting without a default.
    pub fn example(mut self, value: impl Into<Literal>) -> Self {
        self.setting.example = Some(value.into().to_string());
        self
    }

    /// Like [`Self::example`], for a value that is not a [`Literal`].
    pub fn example_in_toml(mut self, toml: &str) -> Self {
        self.setting.example = Some(toml.to_owned());
        self
    }

    /// A development server makes this secret if it is not set, and keeps it in this file of `data_dir`.
    pub fn made_in_development(mut self, file: &'static str) -> Self {
        self.setting.made_in_development = Some(file);
        self
    }

    /// Sets the value in tests, if that is not the default.
    pub fn in_tests(mut self, value: impl Into<Literal>) -> Self {
        self.setting.in_tests = Some(value.into());
        self
    }
}

impl<T, V: ValueType<T>> Declaration<T> for Declared<V> {
    fn list(&self, text: &'static [&'static str], settings: &mut Vec<Setting>) {
        let path = self.setting.path;
        let unit = self.value_type.unit();
        debug_assert!(unit.is_none_or(|unit| path.ends_with(unit)), "the name of {path} lacks its unit: {unit:?}");
        let (range, secret) = (self.value_type.range(), self.value_type.is_secret());
        settings.push(Setting { range, secret, text, ..self.setting.clone() });
    }

    fn read(&self, reader: &mut Reader) -> Read<T> {
        self.value_type.read(reader, self.setting.path)
    }
}

/// A field that is a section of its own.
pub(super) struct Nested;

/// Declares a section of settings as a field of the whole.
pub(super) fn section() -> Nested {
    Nested
}

impl<T: Section> Declaration<T> for Nested {
    fn list(&self, _text: &'static [&'static str], settings: &mut Vec<Setting>) {
        settings.extend(T::list());
    }

    fn read(&self, reader: &mut Reader) -> Read<T> {
        T::read(reader)
    }
}

/// A plain value in a declaration. It is displayed as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(&'static str),
    Number(u64),
    Flag(bool),
    List(Vec<&'static str>),
}

impl Literal {
    /// The value as it is written within a sentence.
    pub fn in_words(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(list) => write!(f, "{list:?}"),
        }
    }
}

impl From<&'static str> for Literal {
    fn from(text: &'static str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Literal {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Literal {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<const N: usize> From<[&'static str; N]> for Literal {
    fn from(list: [&'static str; N]) -> Self {
        Self::List(list.to_vec())
    }
}

impl From<&Literal> for figment::value::Value {
    fn from(literal: &Literal) -> Self {
        match literal {
            Literal::Text(text) => (*text).into(),
            Literal::Number(number) => (*number).into(),
            Literal::Flag(flag) => (*flag).into(),
            Literal::List(list) => list.as_slice().into(),
        }
    }
}
