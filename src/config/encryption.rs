//! `[encryption]`: the keys that encrypt stored data.
use super::declare::{Section, Setting, setting, settings};
use super::layers::Entry;
use super::problem::Problem;
use super::reader::{Read, Reader};
use super::types::{Optional, Text, ValueType};
use super::weak::{self, Measure, Secret};
use crate::base::key_ring::MasterKey;
use figment::value::{Dict, Value};
use secrecy::SecretString;
use serde::Deserialize;
use std::io;
use std::path::Path;

/// The id of the key in `encryption.key`, which is the simple form, among the other keys.
const SIMPLE: &str = "default";
const KEY: &str = "encryption.key";
const KEYS: &str = "encryption.keys";
const ACTIVE: &str = "encryption.active";

settings! {
    /// `[encryption]` as it is written. [`EncryptionConfig`] is made of it.
    struct EncryptionSettings {
        /// Encrypts stored idempotency answers and contract amounts: 32 characters at least. Needed outside development, which
        /// makes its own once. Without it those amounts are lost: back it up.
        key: Option<SecretString> = setting(KEY, UnlessThereIsARing(Secret(Measure::Characters)))
            .named(&["CONTRACT_ENCRYPTION_KEY"])
            .example("replace-this-by-48-other-random-bytes-in-base64")
            .made_in_development("secrets/encryption_key")
            .in_tests("the encryption key of all the tests"),

        /// Several such keys, each in a file, so that one can follow another: `active` encrypts, all open. In a variable, the
        /// list is JSON. The key above goes on as "default", until `bizcenter keys rotate` has made it superfluous.
        keys: Option<Vec<MasterKey>> = setting(KEYS, Optional(Ring)).example_in_toml(
            r#"[{ id = "2026", key_file = "/run/secrets/key-2026" }, { id = "2027", key_file = "/run/secrets/key-2027" }]"#
        ),

        /// The id of the key that encrypts; needed with `keys`, else "default".
        active: Option<String> = setting(ACTIVE, Optional(Text)).example("2027"),
    }
}

#[derive(Debug, Clone)]
pub struct EncryptionConfig {
    /// The secrets from which the encryption keys are derived. Each has 32 characters at least.
    pub keys: Vec<MasterKey>,
    /// The id of the key that encrypts.
    pub active: String,
}

impl Section for EncryptionConfig {
    fn list() -> Vec<Setting> {
        EncryptionSettings::list()
    }

    fn read(reader: &mut Reader) -> Read<Self> {
        let EncryptionSettings { key, keys, active } = EncryptionSettings::read(reader)?;
        let mut keys = keys.unwrap_or_default();
        let active = match active {
            Some(active) => active,
            None if keys.is_empty() => SIMPLE.to_owned(),
            None => return Err(reader.report(ACTIVE, "is missing: it names the key that encrypts")),
        };
        if let Some(secret) = key {
            keys.push(MasterKey { id: SIMPLE.to_owned(), secret });
        }
        if !keys.iter().any(|key| key.id == active) {
            let ids: Vec<_> = keys.iter().map(|key| key.id.as_str()).collect();
            return Err(reader.report(ACTIVE, format!("must be one of the keys there are: {}", ids.join(", "))));
        }
        // A secret that signs tokens must not encrypt data.
        for MasterKey { id, secret } in &keys {
            let others = ["auth.jwt_secret_previous", "auth.jwt_secret"];
            weak::refuse_equal(reader, Self::setting_of(id), secret, &others);
        }
        Ok(Self { keys, active })
    }
}

impl EncryptionConfig {
    /// The setting that holds the key with this id.
    pub fn setting_of(id: &str) -> &'static str {
        if id == SIMPLE { KEY } else { KEYS }
    }
}

/// A secret that may be absent if `encryption.keys` contains at least one key.
struct UnlessThereIsARing(Secret);

impl ValueType<Option<SecretString>> for UnlessThereIsARing {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<Option<SecretString>> {
        let has_ring =
            reader.peek(KEYS).and_then(|given| ring(reader, given).ok()).is_some_and(|ring| !ring.is_empty());
        if has_ring && !reader.is_given(path) { Ok(None) } else { self.0.read(reader, path).map(Some) }
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// A list of keys, each with its id.
struct Ring;

impl ValueType<Vec<MasterKey>> for Ring {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<Vec<MasterKey>> {
        let given = reader.value(path, "a list of {id, key_file}")?;
        reader.show(path, "a list");
        ring(reader, given).map_err(|message| reader.report(path, message))
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// A key of the ring after its file was read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingKey {
    id: String,
    key: String,
}

/// Checks the keys of the ring. The error says what is wrong with one of them.
fn ring(reader: &Reader, given: Vec<RingKey>) -> Result<Vec<MasterKey>, String> {
    let mut keys: Vec<MasterKey> = vec![];
    for RingKey { id, key } in given {
        let is_id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > 40 || !id.chars().all(is_id) {
            return Err(format!("{id:?} is no id: 1 to 40 of a-z, 0-9, -, _ and ."));
        }
        if id == SIMPLE || keys.iter().any(|key| key.id == id) {
            return Err(format!("the id {id} is taken"));
        }
        if let Some(problem) = weak::problem(reader.environment, Measure::Characters, &key) {
            return Err(format!("the key {id} {problem}"));
        }
        keys.push(MasterKey { id, secret: key.into() });
    }
    Ok(keys)
}

/// Reads the files that `encryption.keys` names. This is done for each layer, because a variable contains the list as
/// JSON.
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
        // A value that is not a list of tables is left as it is. It is refused when the setting is read.
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
