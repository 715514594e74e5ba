//! Passwords, as people type them and as they are counted, hashed and compared.
use unicode_normalization::{UnicodeNormalization, is_nfkc};
use zeroize::Zeroizing;

/// A password in NFKC, so that it is the same whatever keyboard it was typed on: a Mac may decompose 한 into its three
/// letters, and a Japanese keyboard may type wide digits. It prints as `***`, and is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Password {
    normalised: Zeroizing<String>,
    /// What was typed, where that is not NFKC.
    typed: Option<Zeroizing<String>>,
}

impl Password {
    pub fn new(typed: &str) -> Self {
        if is_nfkc(typed) {
            return Self { normalised: Zeroizing::new(typed.to_owned()), typed: None };
        }
        // With all the room that it needs, as a text that grows leaves copies behind.
        let mut normalised = Zeroizing::new(String::with_capacity(typed.nfkc().map(char::len_utf8).sum()));
        for c in typed.nfkc() {
            normalised.push(c);
        }
        Self { normalised, typed: Some(Zeroizing::new(typed.to_owned())) }
    }

    /// What is counted, hashed and compared.
    pub fn exposed(&self) -> &String {
        &self.normalised
    }

    /// What was typed, where that is another text. Hashes from before passwords were normalised are of this.
    pub fn as_typed(&self) -> Option<&str> {
        self.typed.as_ref().map(|typed| typed.as_str())
    }

    /// Its length in UTF-8, which is what bcrypt counts.
    pub fn bytes(&self) -> usize {
        self.normalised.len()
    }
}

/// How many characters of a password count.
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
