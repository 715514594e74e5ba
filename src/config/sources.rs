//! The sources of settings. They are parameters, so that tests can bring their own environment and files.
use super::problem::{ConfigError, Problem};
use super::{names, secrets};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

type Reads = Box<dyn Fn(&Path) -> io::Result<String>>;

/// Everything outside of the program that the loader reads.
pub struct Sources {
    /// The environment's variables.
    pub env: BTreeMap<String, String>,
    /// The file that `--config` names. If there is none, `bizcenter.toml` in the working folder is read if it exists.
    pub config_file: Option<PathBuf>,
    /// Reads a file as text.
    pub read_file: Reads,
    /// Returns the secret in the file at this path, and makes it first if there is none. Called only in development.
    pub development_secret: Reads,
}

/// What to do about development's secrets that do not exist yet.
pub enum MissingSecrets {
    /// Make each of them from 32 random bytes, which this function returns.
    Make(Box<dyn Fn() -> [u8; 32]>),
    /// Write nothing and use a stand-in, for commands that only read the configuration.
    Imagine,
}

impl Sources {
    /// This process's environment and files.
    pub fn of_process(config_file: Option<PathBuf>, missing: MissingSecrets) -> Result<Self, ConfigError> {
        let development_secret: Reads = match missing {
            MissingSecrets::Make(random) => Box::new(move |path| secrets::ensure_development_secret(path, &random)),
            MissingSecrets::Imagine => Box::new(secrets::existing_or_imagined),
        };
        let read_file = Box::new(|path: &Path| std::fs::read_to_string(path));
        Ok(Self { env: environment()?, config_file, read_file, development_secret })
    }
}

/// Reads the environment. A variable of ours that is not UTF-8 is refused, because a lossy conversion would make a
/// secret weaker.
fn environment() -> Result<BTreeMap<String, String>, ConfigError> {
    let mut variables = BTreeMap::new();
    let mut problems = vec![];
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(variables.insert(name, value)),
            Err(_) if names::find_variable(&name).is_none() => {}
            Err(_) => problems.push(Problem { setting: name, origin: None, message: "is not valid UTF-8".to_owned() }),
        }
    }
    if problems.is_empty() { Ok(variables) } else { Err(ConfigError { problems }) }
}
