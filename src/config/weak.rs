//! Checks secrets. They must be long enough everywhere. Outside development, they must also be nothing that others know
//! or can guess.
use super::Environment;
use super::reader::{Read, Reader};
use super::types::ValueType;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeSet;

/// The minimum length of a secret, in bytes or characters (see [`Measure`]).
const MINIMUM: usize = 32;

/// A secret with fewer different characters than this is not random.
const MINIMUM_DISTINCT: usize = 8;

/// Words that examples and templates contain instead of a secret. They are compared in lower case without `-`, `_` and
/// spaces. A random text of 48 characters contains the shortest of them by chance once in twenty million times.
const PLACEHOLDERS: [&str; 8] =
    ["changeme", "changethis", "secret", "example", "password", "placeholder", "replace", "yourkey"];

/// How the length of a secret is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    Bytes,
    Characters,
}

impl Measure {
    fn is_enough(self, secret: &str) -> bool {
        match self {
            Self::Bytes => secret.len() >= MINIMUM,
            Self::Characters => secret.chars().count() >= MINIMUM,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Characters => "characters",
        }
    }
}

/// A text of at most this many characters does not become a secret by being repeated.
const LONGEST_PART: usize = 16;

/// A text that is long enough to be a secret and, outside development, strong enough.
pub(super) struct Secret(pub Measure);

impl ValueType<SecretString> for Secret {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<SecretString> {
        let secret = reader.text(path)?;
        match problem(reader.environment, self.0, &secret) {
            Some(problem) => Err(reader.report(path, problem)),
            None => Ok(secret.into()),
        }
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// The reason why this can't be a secret in this environment, or `None` if it can.
pub(super) fn problem(environment: Environment, measure: Measure, secret: &str) -> Option<String> {
    if !measure.is_enough(secret) {
        return Some(format!("must have at least {MINIMUM} {}", measure.name()));
    }
    let weakness = weakness(secret).filter(|_| environment != Environment::Development)?;
    Some(format!("{weakness}; make one by `openssl rand -base64 48`"))
}

/// The reason why others may know or guess this secret, or `None` if there is none.
pub(super) fn weakness(secret: &str) -> Option<String> {
    let plain: String = secret.to_lowercase().chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
    if let Some(word) = PLACEHOLDERS.iter().find(|word| plain.contains(**word)) {
        return Some(format!("looks like a placeholder (it contains {word:?})"));
    }
    let characters: Vec<char> = secret.chars().collect();
    if characters.iter().collect::<BTreeSet<_>>().len() < MINIMUM_DISTINCT {
        return Some(format!("must have at least {MINIMUM_DISTINCT} different characters"));
    }
    let repeats = |part: usize| characters.iter().skip(part).eq(&characters[..characters.len() - part]);
    if (1..=LONGEST_PART.min(characters.len() / 2)).any(repeats) {
        return Some("says the same over and over".to_owned());
    }
    let is_step = |pair: &&[char]| u32::from(pair[0]).abs_diff(u32::from(pair[1])) == 1;
    let is_sequence = characters.windows(2).filter(is_step).count() * 4 >= characters.len() * 3;
    is_sequence.then(|| "is a sequence".to_owned())
}

/// Refuses one secret for two purposes: an attacker who learns or guesses it in one place would have it for both.
pub(super) fn refuse_equal(reader: &mut Reader, path: &str, of: &SecretString, others: &[&str]) {
    if reader.environment.is_development() {
        return;
    }
    let is_same = |other: &&&str| reader.peek::<String>(other).is_some_and(|other| other == of.expose_secret());
    if let Some(other) = others.iter().find(is_same) {
        let _ = reader.report(path, format!("must not be the same as {other}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_repetitions_are_weak() {
        for weak in [
            "changeme-changeme-changeme-changeme",
            "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
            "your-secret-key-your-secret-key-0123",
            "replace-this-by-48-random-bytes-in-base64",
            "an-example-of-a-key-0123456789abcdef",
            "Password1234567890Password1234567890",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabcabcabcabcabcabcabcabcabc",
            "abcdefghabcdefghabcdefghabcdefgh",
            "q7vN2xK0mB4tZ8wRq7vN2xK0mB4tZ8wRq7vN",
            "0123456789abcdef0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "zyxwvutsrqponmlkjihgfedcba987654",
        ] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
    }

    #[test]
    fn random_text_is_not_weak() {
        for strong in ["q7vN2xK0mB4tZ8wR5yL1cH6jD9sF3gPa", "0f1e2d3c4b5a69788796a5b4c3d2e1f00123456789abcdef"] {
            assert_eq!(weakness(strong), None);
        }
    }
}
