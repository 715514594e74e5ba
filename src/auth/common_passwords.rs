//! Commonly used passwords, which attackers try first.
use crate::base::formats::normalised;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The 3,000 most common passwords of at least 8 characters, one on each line, from the frequency list of zxcvbn-ts
/// (`@zxcvbn-ts/language-common` 4.1.3, MIT, © Dan Wheeler, Dropbox, zxcvbn-ts).
const LIST: &str = include_str!("common_passwords.txt");

static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| LIST.lines().collect());

/// Whether the password is in the list. The case of its letters and their Unicode form do not matter.
pub fn is_common(password: &str) -> bool {
    COMMON.contains(normalised(password).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_are_known_in_any_letters() {
        assert_eq!(COMMON.len(), 3000);
        assert!(LIST.lines().all(|password| normalised(password) == password && password.chars().count() >= 8));
        assert!(is_common("password") && is_common("PassWord1") && is_common("１２３４５６７８９"));
        assert!(!is_common("correct horse battery"));
    }
}
