//! Passwords in the form in which people type them, and in the one that is counted, hashed and compared.
use unicode_normalization::{UnicodeNormalization, is_nfkc};
use zeroize::Zeroizing;

/// A password in NFKC, so that it does not depend on the keyboard: a Mac may decompose 한 into its three letters, and a
/// Japanese keyboard may type wide digits. `Debug` prints `***`, and the password is wiped from memory when it is
/// dropped.
#[derive(Clone)]
pub struct Password {
    normalised: Zeroizing<String>,
    /// The text as it was typed, if that is not NFKC.
    typed: Option<Zeroizing<String>>,
}

impl Password {
    pub fn new(typed: &str) -> Self {
        if is_nfkc(typed) {
            return Self { normalised: Zeroizing::new(typed.to_owned()), typed: None };
        }
        // The capacity is set in advance, because a string that grows leaves copies of the password in memory.
        let mut normalised = Zeroizing::new(String::with_capacity(typed.nfkc().map(char::len_utf8).sum()));
        for c in typed.nfkc() {
            normalised.push(c);
        }
        Self { normalised, typed: Some(Zeroizing::new(typed.to_owned())) }
    }

    /// The normalised text, which is counted, hashed and compared.
    pub fn exposed(&self) -> &String {
        &self.normalised
    }

    /// The text as it was typed, if it differs from the normalised one. Hashes from before passwords were normalised
    /// were made from it.
    pub fn as_typed(&self) -> Option<&str> {
        self.typed.as_ref().map(|typed| typed.as_str())
    }

    /// The length in bytes of UTF-8, which bcrypt limits.
    pub fn bytes(&self) -> usize {
        self.normalised.len()
    }
}

/// The number of characters of a password after normalisation.
pub fn characters(typed: &str) -> usize {
    typed.nfkc().count()
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decomposed_password_is_the_composed_one() {
        let composed = "한글로된비밀번호스물네글자를꼭채워서적어봅니다요";
        let decomposed: String = composed.nfd().collect();
        assert_eq!((composed.chars().count(), characters(&decomposed)), (24, 24));
        let (typed, expected) = (Password::new(&decomposed), Password::new(composed));
        assert_eq!((typed.exposed(), typed.bytes()), (expected.exposed(), 72));
        assert_eq!((typed.as_typed(), expected.as_typed()), (Some(decomposed.as_str()), None));
        assert_eq!(Password::new("ｐａｓｓ１２３４").exposed(), "pass1234");
        assert_eq!(format!("{typed:?}"), "***");
    }
}
