//! The names that people sign in with, in the one form in which they are compared.
use unicode_normalization::UnicodeNormalization;

/// Trimmed, in NFKC, in lower case: look-alikes that people can't tell apart are one address.
pub fn normalised(name: &str) -> String {
    let folded: String = name.trim().nfkc().collect::<String>().to_lowercase().nfkc().collect();
    folded.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_are_one() {
        for name in [
            "ada@example.com",
            " ADA@example.com ",
            "Ada@Example.COM",
            "\u{ff41}da@example.com",
            "ada@example.com\u{a0}",
        ] {
            assert_eq!(normalised(name), "ada@example.com", "{name:?}");
        }
        assert_eq!(normalised("E\u{301}lan@example.com"), "élan@example.com");
        let twice = normalised("\u{212a}ELVIN");
        assert_eq!(normalised(&twice), twice);
    }
}
