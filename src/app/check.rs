//! Checks settings that are valid by themselves and still can't be used, which `serve` would find out only at its
//! start. The code is the same as that of `serve`, so that `config check` refuses what `serve` refuses, with the name
//! of the setting.
use super::auth::key_pairs;
use crate::config::{Config, ConfigError, DatabaseConfig, DatabaseKind, EncryptionConfig, Loaded, Problem};
use crate::db::connect::Target;
use crate::db::key_checks::{MasterKeyState, Verdict};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// Reads what the settings name, without connecting to anything.
pub fn check(loaded: &Loaded) -> Result<(), ConfigError> {
    let found = database(&loaded.config.database).into_iter().chain(keys(&loaded.config));
    let origin = |path: &str| {
        let setting = loaded.settings.iter().find(|setting| setting.path == path);
        setting.and_then(|setting| setting.origin.clone())
    };
    let problem =
        |(setting, message): (&str, String)| Problem { setting: setting.to_owned(), origin: origin(setting), message };
    let problems: Vec<Problem> = found.map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
}

/// A setting and what is wrong with it.
type Fault = (&'static str, String);

fn database(DatabaseConfig { url, ca_file, .. }: &DatabaseConfig) -> Vec<Fault> {
    let mut faults = vec![];
    if let Err(error) = Target::parse(url.expose(), None) {
        faults.push(("database.url", format!("can't be used: {error:#}")));
    }
    let ca_file = ca_file.as_deref().filter(|_| url.kind() != DatabaseKind::Sqlite);
    if let Some(problem) = ca_file.and_then(problem_of_authorities) {
        faults.push(("database.ca_file", problem));
    }
    faults
}

/// Returns what is wrong with a file of CA certificates. The database drivers read it in the same way, but that of
/// MariaDB does so only when it connects.
fn problem_of_authorities(file: &Path) -> Option<String> {
    let certificates = match CertificateDer::pem_file_iter(file) {
        Ok(certificates) => certificates.collect::<Result<Vec<_>, _>>(),
        Err(error) => return Some(format!("{} can't be read: {error}", file.display())),
    };
    let mut roots = rustls::RootCertStore::empty();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Some(format!("{} holds no certificate in PEM", file.display())),
        Ok(certificates) => {
            let refused = certificates.into_iter().find_map(|certificate| roots.add(certificate).err())?;
            Some(format!("{} holds what is no certificate of an authority: {refused}", file.display()))
        }
        Err(error) => Some(format!("{} can't be read: {error}", file.display())),
    }
}

/// Reads each key by itself, so that the fault names the setting of the key.
fn keys(Config { auth, .. }: &Config) -> Vec<Fault> {
    let Some(read) = key_pairs(auth.jwt_algorithm) else { return vec![] };
    let given = [("auth.jwt_key", &auth.jwt_key), ("auth.jwt_key_previous", &auth.jwt_key_previous)];
    let fault = |(setting, key): (&'static str, &Option<SecretString>)| {
        let error = read(key.as_ref()?.expose_secret(), None).err()?;
        Some((setting, format!("can't be used for {}: {error}", auth.jwt_algorithm)))
    };
    given.into_iter().filter_map(fault).collect()
}

/// Fails if a master key is not the one under which this database is encrypted. The error names the setting and the id
/// of each such key. Missing keys are only logged.
pub fn refuse_wrong_keys(found: &[MasterKeyState]) -> Result<(), ConfigError> {
    for key in found.iter().filter(|key| key.verdict == Verdict::Missing) {
        tracing::error!(key.id = %key.id, key.data_keys, "The settings lack a master key: what is encrypted under it can't be read");
    }
    let wrong = found.iter().filter(|key| key.verdict == Verdict::DoesNotOpen);
    let problem = |key: &MasterKeyState| {
        tracing::error!(key.id = %key.id, key.data_keys, "The settings have another master key under this id than before");
        let message = format!(
            "the key {} is another one than this database is encrypted under. Use the earlier key again (development keeps \
             its own in data_dir/secrets/encryption_key), or give the new one an id of its own in encryption.keys",
            key.id
        );
        Problem { setting: EncryptionConfig::setting_of(&key.id).to_owned(), origin: None, message }
    };
    match wrong.map(problem).collect::<Vec<_>>() {
        problems if problems.is_empty() => Ok(()),
        problems => Err(ConfigError { problems }),
    }
}
