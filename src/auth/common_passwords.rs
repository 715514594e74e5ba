//! The passwords that are tried first.
use crate::base::formats::normalised;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The 3,000 commonest that have the least length, one a line, from the frequency list of zxcvbn-ts
/// (`@zxcvbn-ts/language-common` 4.1.3, MIT, © Dan Wheeler, Dropbox, zxcvbn-ts).
const LIST: &str = include_str!("common_passwords.txt");

static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| LIST.lines().collect());

/// Whether it is one of them, in any letters.
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
