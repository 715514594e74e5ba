//! `[encryption]`: the keys of what is stored sealed.
use super::auth::AuthConfig;
use super::layers::Entry;
use super::problem::Problem;
use super::reader::{Read, Reader};
use super::weak::{self, Measure};
use crate::base::key_ring::MasterKey;
use figment::value::{Dict, Value};
use secrecy::SecretString;
use serde::Deserialize;
use std::io;
use std::path::Path;

/// What `encryption.key`, the simple form, is called among the others.
const SIMPLE: &str = "default";
const KEYS: &str = "encryption.keys";
const ACTIVE: &str = "encryption.active";

#[derive(Debug, Clone)]
pub struct EncryptionConfig {
    /// The secrets that the sealing keys are derived from; each has 32 characters at least.
    pub keys: Vec<MasterKey>,
    /// The one that encrypts.
    pub active: String,
}

/// A key of the ring once its file was read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingKey {
    id: String,
    key: String,
}

impl EncryptionConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let ring = ring(reader);
        let has_ring = matches!(&ring, Ok(ring) if !ring.is_empty());
        let simple = match (has_ring, reader.is_given("encryption.key")) {
            (true, false) => Ok(None),
            _ => weak::secret(reader, "encryption.key", Measure::Characters).map(Some),
        };
        let active = reader.optional_text(ACTIVE);
        let mut keys = ring?;
        if let Some(secret) = simple? {
            keys.push(MasterKey { id: SIMPLE.to_owned(), secret });
        }
        let active = match active? {
            Some(active) => active,
            None if has_ring => return Err(reader.report(ACTIVE, "is missing: it names the key that encrypts")),
            None => SIMPLE.to_owned(),
        };
        if !keys.iter().any(|key| key.id == active) {
            let ids: Vec<_> = keys.iter().map(|key| key.id.as_str()).collect();
            return Err(reader.report(ACTIVE, format!("must be one of the keys there are: {}", ids.join(", "))));
        }
        Ok(Self { keys, active })
    }

    /// What tokens are signed with encrypts nothing.
    pub(super) fn refuse_secrets_of(&self, auth: &AuthConfig, reader: &mut Reader) {
        let previous = auth.jwt_secret_previous.iter().map(|secret| ("auth.jwt_secret_previous", secret));
        let others: Vec<_> = previous.chain([("auth.jwt_secret", &auth.jwt_secret)]).collect();
        for MasterKey { id, secret } in &self.keys {
            weak::refuse_equal(reader, Self::setting_of(id), secret, &others);
        }
    }

    /// The setting that holds the key with this id.
    pub fn setting_of(id: &str) -> &'static str {
        if id == SIMPLE { "encryption.key" } else { KEYS }
    }

    pub(super) fn for_tests() -> Self {
        let secret = SecretString::from("the encryption key of all the tests");
        Self { keys: vec![MasterKey { id: SIMPLE.to_owned(), secret }], active: SIMPLE.to_owned() }
    }
}

fn ring(reader: &mut Reader) -> Read<Vec<MasterKey>> {
    let given: Vec<RingKey> = reader.optional_structure(KEYS, "a list of {id, key_file}")?.unwrap_or_default();
    let mut keys: Vec<MasterKey> = vec![];
    for RingKey { id, key } in given {
        let is_id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        let problem = if id.is_empty() || id.len() > 40 || !id.chars().all(is_id) {
            Some(format!("{id:?} is no id: 1 to 40 of a-z, 0-9, -, _ and ."))
        } else if id == SIMPLE || keys.iter().any(|key| key.id == id) {
            Some(format!("the id {id} is taken"))
        } else {
            weak::problem(reader.environment, Measure::Characters, &key)
                .map(|problem| format!("the key {id} {problem}"))
        };
        if let Some(problem) = problem {
            return Err(reader.report(KEYS, problem));
        }
        keys.push(MasterKey { id, secret: key.into() });
    }
    Ok(keys)
}

/// Reads the files that `encryption.keys` names, in each layer: a variable holds the list as JSON.
pub(super) fn read_key_files(
    layer: &mut [Entry],
    read_file: &dyn Fn(&Path) -> io::Result<String>,
    problems: &mut Vec<Problem>,
) {
    for entry in layer.iter_mut().filter(|entry| entry.setting.path == KEYS) {
        let parsed = match entry.value.as_str() {
            Some(json) => serde_json::from_str(json).ok(),
            None => Some(entry.value.clone()),
        };
        // What is no list of tables is left as it is, and refused where it is read.
        let Some(Value::Array(tag, items)) = parsed else { continue };
        let mut report = |message: String| {
            let origin = Some(entry.origin.clone());
            problems.push(Problem { setting: KEYS.to_owned(), origin, message });
        };
        let resolved = items.into_iter().map(|item| match item {
            Value::Dict(tag, dict) => Value::Dict(tag, with_key(dict, read_file, &mut report)),
            other => other,
        });
        entry.value = Value::Array(tag, resolved.collect());
    }
}

fn with_key(mut dict: Dict, read_file: &dyn Fn(&Path) -> io::Result<String>, report: &mut dyn FnMut(String)) -> Dict {
    if dict.contains_key("key") {
        report("takes key_file, not key: secrets of a ring stand in files".to_owned());
    }
    let Some(path) = dict.remove("key_file").and_then(|path| path.as_str().map(str::to_owned)) else { return dict };
    match read_file(Path::new(&path)) {
        Ok(text) => drop(dict.insert("key".to_owned(), text.trim_end_matches(['\r', '\n']).into())),
        Err(error) => report(format!("{path} cannot be read: {error}")),
    }
    dict
}
