//! Where settings come from, as parameters: tests bring their own environment and files.
use super::problem::{ConfigError, Problem};
use super::{names, secrets};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

type Reads = Box<dyn Fn(&Path) -> io::Result<String>>;

/// The world as the loader sees it.
pub struct Sources {
    /// The environment's variables.
    pub env: BTreeMap<String, String>,
    /// The file that was asked for by `--config`; without one, `bizcenter.toml` in the working folder if it exists.
    pub config_file: Option<PathBuf>,
    /// Reads a file as text.
    pub read_file: Reads,
    /// The secret kept at this path, made first where there is none yet. Only asked for in development.
    pub development_secret: Reads,
}

/// What to do about development's secrets that do not exist yet.
pub enum MissingSecrets {
    /// Make them from 32 bytes of this randomness each.
    Make(Box<dyn Fn() -> [u8; 32]>),
    /// Leave the disk alone and go on with a stand-in: for commands that only look.
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

/// The environment. A variable of ours that is not UTF-8 is refused: read anyhow, a secret would lose its strength.
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
