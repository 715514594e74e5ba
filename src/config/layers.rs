//! Puts the sources on top of each other, as figment layers. Finds sources that can't be read and values that
//! contradict each other.
use super::declare::{Literal, Setting};
use super::names::{self, Found, SETTINGS};
use super::problem::Problem;
use super::sources::Sources;
use super::{Environment, database_parts, dotenv, encryption, rate_limit};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// All layers, and the problems with them.
pub(super) struct Layers {
    pub figment: Figment,
    pub environment: Environment,
    pub problems: Vec<Problem>,
}

/// One setting's value from one source. Each is a figment provider of its own, so that figment knows the origin of each
/// value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub setting: &'static Setting,
    pub origin: String,
    pub value: Value,
}

impl Provider for Entry {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(self.setting.path, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

/// A value as it was given, with the name under which it was given.
struct Given {
    name: String,
    found: Found,
    value: Value,
}

/// The kind of source that a value comes from.
enum Place<'a> {
    File(&'a Path),
    DotEnv,
    Environment,
}

impl Place<'_> {
    fn origin(&self, given: &Given) -> String {
        match self {
            Self::File(path) if given.found.in_file => format!("{} in {}", given.name, path.display()),
            Self::File(path) => path.display().to_string(),
            Self::DotEnv => format!("{} in .env", given.name),
            Self::Environment => given.name.clone(),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::DotEnv => ".env".to_owned(),
            Self::Environment => "the environment".to_owned(),
        }
    }
}

/// Reads all sources. A value that can't be used becomes a problem, and reading goes on, so that all problems are
/// found.
pub(super) fn collect(sources: &Sources) -> Layers {
    let mut collector = Collector { sources, problems: vec![] };
    let defaults = entries("default", |setting| setting.fixed_default().cloned());
    let mut file = collector.config_file();
    let mut env = collector.variables(&mut sources.env.clone().into_iter(), &Place::Environment);
    // Whether `.env` is read at all depends on what the other sources say.
    let environment = environment_of(&stack([&defaults, &file, &env]));
    let mut dotenv = if environment == Some(Environment::Development) { collector.dotenv() } else { vec![] };
    database_parts::join(&mut dotenv, &mut env, &mut collector.problems);
    for layer in [&mut dotenv, &mut env] {
        rate_limit::per_hour(layer, &mut collector.problems);
    }
    for layer in [&mut file, &mut dotenv, &mut env] {
        encryption::read_key_files(layer, &sources.read_file, &mut collector.problems);
    }

    // If the environment is misspelt, the stricter rules apply. The misspelling is reported separately.
    let rules = environment.unwrap_or(Environment::Production);
    let defaults_of_rules = entries(&format!("default in {rules}"), |setting| setting.default_in(rules).cloned());
    let mut figment = stack([&defaults, &defaults_of_rules, &file, &dotenv, &env]);
    if environment_of(&figment) != environment {
        let origin = figment.find_metadata("environment").map(|metadata| metadata.name.to_string());
        collector.report("environment", origin.as_deref(), "only development reads .env; set it elsewhere");
    }
    if rules == Environment::Development {
        for entry in collector.development_secrets(&figment) {
            figment = figment.merge(entry);
        }
    }
    Layers { figment, environment: rules, problems: collector.problems }
}

fn stack<'a>(layers: impl IntoIterator<Item = &'a Vec<Entry>>) -> Figment {
    layers.into_iter().flatten().fold(Figment::new(), Figment::merge)
}

fn environment_of(figment: &Figment) -> Option<Environment> {
    figment.extract_inner::<String>("environment").ok()?.parse().ok()
}

/// The values that `of` finds in the declarations.
fn entries(origin: &str, of: impl Fn(&Setting) -> Option<Literal>) -> Vec<Entry> {
    let entry =
        |setting: &'static Setting| Some(Entry { setting, origin: origin.to_owned(), value: (&of(setting)?).into() });
    SETTINGS.iter().filter_map(entry).collect()
}

/// The layers of a test's server: the values that are declared for tests. `values` overrides them.
pub(super) fn of_tests(values: impl Fn(&Setting) -> Option<Literal>) -> Layers {
    let environment = Environment::Development;
    let defaults = entries("default", |setting| setting.fixed_default().or(setting.default_in(environment)).cloned());
    let declared = entries("tests", |setting| values(setting).or(setting.in_tests.clone()));
    Layers { figment: stack([&defaults, &declared]), environment, problems: vec![] }
}

/// Adds an entry. If the same source already has another value for the setting, that is a problem.
pub(super) fn add(entries: &mut Vec<Entry>, entry: Entry, problems: &mut Vec<Problem>) {
    match entries.iter().find(|earlier| earlier.setting.path == entry.setting.path) {
        None => entries.push(entry),
        Some(earlier) if earlier.value == entry.value => {}
        Some(earlier) => problems.push(Problem {
            setting: entry.setting.path.to_owned(),
            origin: None,
            message: format!("{} and {} have different values; keep one", earlier.origin, entry.origin),
        }),
    }
}

struct Collector<'a> {
    sources: &'a Sources,
    problems: Vec<Problem>,
}

impl Collector<'_> {
    fn report(&mut self, setting: &str, origin: Option<&str>, message: impl Into<String>) {
        let (setting, origin) = (setting.to_owned(), origin.map(str::to_owned));
        self.problems.push(Problem { setting, origin, message: message.into() });
    }

    fn config_file(&mut self) -> Vec<Entry> {
        let asked_for = self.sources.config_file.clone();
        let path = asked_for.clone().unwrap_or_else(|| PathBuf::from("bizcenter.toml"));
        match (self.sources.read_file)(&path) {
            Ok(text) => self.toml(&text, &Place::File(&path)),
            Err(error) if error.kind() == ErrorKind::NotFound && asked_for.is_none() => vec![],
            Err(error) => {
                self.report(&path.display().to_string(), None, format!("cannot be read: {error}"));
                vec![]
            }
        }
    }

    fn toml(&mut self, text: &str, place: &Place<'_>) -> Vec<Entry> {
        let mut given = vec![];
        match Toml::from_str::<Dict>(text) {
            Ok(dict) => self.flatten(dict, "", place, &mut given),
            // The error's own `Display` would show the line, which may contain a secret.
            Err(error) => {
                let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                self.report(&place.name(), None, format!("line {line}: {}", error.message().replace('\n', ", ")));
            }
        }
        self.resolve(given, place)
    }

    fn flatten(&mut self, dict: Dict, section: &str, place: &Place<'_>, given: &mut Vec<Given>) {
        for (key, value) in dict {
            let name = if section.is_empty() { key } else { format!("{section}.{key}") };
            match (names::find_path(&name), value) {
                (Some(found), value) => given.push(Given { name, found, value }),
                (None, Value::Dict(_, inner)) => self.flatten(inner, &name, place, given),
                (None, _) => {
                    let hint = names::nearest_path(&name).map(str::to_owned);
                    self.unknown(&name, hint, place);
                }
            }
        }
    }

    fn unknown(&mut self, name: &str, hint: Option<String>, place: &Place<'_>) {
        let hint = hint.map(|hint| format!("; did you mean {hint}?")).unwrap_or_default();
        self.report(name, Some(&place.name()), format!("there is no such setting{hint}"));
    }

    fn dotenv(&mut self) -> Vec<Entry> {
        let text = match (self.sources.read_file)(Path::new(".env")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return vec![],
            Err(error) => {
                self.report(".env", None, format!("cannot be read: {error}"));
                return vec![];
            }
        };
        let mut variables = vec![];
        for line in dotenv::parse(&text) {
            match line {
                Ok(variable) => variables.push(variable),
                Err(number) => self.report(".env", None, format!("line {number} is not NAME=value")),
            }
        }
        self.variables(&mut variables.into_iter(), &Place::DotEnv)
    }

    fn variables(&mut self, all: &mut dyn Iterator<Item = (String, String)>, place: &Place<'_>) -> Vec<Entry> {
        let mut given = vec![];
        for (name, value) in all.filter(|(name, value)| !names::is_service_link(name, value)) {
            match (names::find_variable(&name), names::nested_path(&name)) {
                (Some(_), _) if value.is_empty() => {}
                (Some(found), _) => {
                    let value =
                        if matches!(place, Place::Environment) { self.unquoted(&name, found, value) } else { value };
                    given.push(Given { name, found, value: value.into() });
                }
                (None, Some(path)) => {
                    let hint = names::nearest_path(&path).map(names::nested_variable);
                    self.unknown(&name, hint, place);
                }
                (None, None) => {}
            }
        }
        self.resolve(given, place)
    }

    /// Refuses a value in quotation marks. Shells and our reader of `.env` remove these, but docker's `--env-file` does
    /// not, and a secret would silently be a different one. The text within the marks is still read, so that all
    /// problems are found.
    fn unquoted(&mut self, name: &str, found: Found, value: String) -> String {
        let inside = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        let Some(inside) = inside.map(str::to_owned) else { return value };
        let otherwise = match found.in_file {
            true => String::new(),
            false => format!(", or put a value that really has them into a file, which {name}_FILE names"),
        };
        let message = format!(
            "is in quotation marks, which are part of the value here (docker's --env-file keeps them): leave them out{otherwise}"
        );
        self.report(joined_into(found.setting.path), Some(name), message);
        inside
    }

    /// Reads the files that `…_FILE` names, and refuses a setting that is set twice in this source.
    fn resolve(&mut self, given: Vec<Given>, place: &Place<'_>) -> Vec<Entry> {
        let names: Vec<(String, bool)> = given.iter().map(|given| (given.name.clone(), given.found.in_file)).collect();
        let mut entries = vec![];
        for given in given {
            let setting = given.found.setting;
            let direct = |(name, in_file): &&(String, bool)| !in_file && is_file_form(&given.name, name);
            if let (true, Some((name, _))) = (given.found.in_file, names.iter().find(direct)) {
                let message = format!("{name} and {} are both set; keep one", given.name);
                self.report(setting.path, Some(&place.name()), message);
                continue;
            }
            let origin = place.origin(&given);
            let Some(value) = self.value(given, &origin) else { continue };
            add(&mut entries, Entry { setting, origin, value }, &mut self.problems);
        }
        entries
    }

    fn value(&mut self, given: Given, origin: &str) -> Option<Value> {
        let Given { found: Found { setting, in_file }, value, .. } = given;
        if !in_file {
            return Some(value);
        }
        let Some(path) = value.as_str() else {
            self.report(setting.path, Some(origin), "must be the path of a file");
            return None;
        };
        match (self.sources.read_file)(Path::new(path)) {
            Ok(text) => Some(without_newline(&text).into()),
            Err(error) => {
                self.report(setting.path, Some(origin), format!("{path} cannot be read: {error}"));
                None
            }
        }
    }

    fn development_secrets(&mut self, figment: &Figment) -> Vec<Entry> {
        let Ok(data_dir) = figment.extract_inner::<PathBuf>("data_dir") else { return vec![] };
        let mut entries = vec![];
        let made = |setting: &'static Setting| Some((setting, setting.made_in_development?));
        for (setting, file) in SETTINGS.iter().filter_map(made) {
            let path = setting.path;
            let reported = self.problems.iter().any(|problem| problem.setting == path);
            if reported || figment.find_value(path).is_ok() {
                continue;
            }
            let file = data_dir.join(file);
            let origin = file.display().to_string();
            match (self.sources.development_secret)(&file) {
                Ok(secret) => entries.push(Entry { setting, origin, value: secret.into() }),
                Err(error) => self.report(path, Some(&origin), format!("cannot be read or made: {error}")),
            }
        }
        entries
    }
}

/// The setting into which a part is converted. Any other path is returned as it is.
fn joined_into(path: &str) -> &str {
    match path.split_once(".parts.") {
        Some(("database", _)) => "database.url",
        Some(_) => "rate_limit.user_per_hour",
        None => path,
    }
}

fn is_file_form(name: &str, of: &str) -> bool {
    name.strip_prefix(of).is_some_and(|suffix| suffix.eq_ignore_ascii_case("_file"))
}

/// Removes one newline at the end, because editors add it and it is no part of the secret.
fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}
