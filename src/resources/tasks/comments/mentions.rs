//! Finds the users that a text mentions as `@username`.

/// The greatest number of users that one text can mention. Further mentions are ordinary text.
pub const MOST: usize = 20;

/// Whether a username can contain the character. A mention may be in upper or lower case.
fn is_of_username(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Whether this character before an `@` makes it part of a word, an e-mail address or a path
/// (`https://example.com/@ada`).
fn joins_before(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/' | '@')
}

/// Whether this character after a name continues the word, so that the name is no username. In scripts without case, an
/// ending may follow a name directly: `@ada님` mentions `ada`.
fn joins_after(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || c == '@'
}

/// The usernames after an `@`, in lower case, each once, in their order. A `.` or `-` at the end is punctuation.
pub fn usernames(text: &str) -> Vec<String> {
    let mut names = vec![];
    for (at, sign) in text.match_indices('@') {
        let (before, rest) = (&text[..at], &text[at + sign.len()..]);
        let (name, after) = rest.split_at(rest.find(|c| !is_of_username(c)).unwrap_or(rest.len()));
        if before.ends_with(joins_before) || after.starts_with(joins_after) {
            continue;
        }
        let name = name.trim_end_matches(['.', '-']).to_ascii_lowercase();
        if (3..=50).contains(&name.len()) && !names.contains(&name) {
            names.push(name);
        }
        if names.len() == MOST {
            break;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_found_among_words() {
        let fifty = "a".repeat(50);
        for (text, names) in [
            ("@ada", &["ada"][..]),
            ("@ada please", &["ada"]),
            ("Ask @ada, @Grace.Hopper and @l-t_9!", &["ada", "grace.hopper", "l-t_9"]),
            ("@ADA @ada @Ada", &["ada"]),
            ("(@ada) [@bob] \"@eve\" '@max' *@kim*", &["ada", "bob", "eve", "max", "kim"]),
            ("@ada's, @bob; @eve: @max? @kim…", &["ada", "bob", "eve", "max", "kim"]),
            ("Thanks @ada. And @bob... @eve- @max-.", &["ada", "bob", "eve", "max"]),
            ("@.ada @_bob_ @-eve", &[".ada", "_bob_", "-eve"]),
            ("first\n@ada\r\n\t@bob", &["ada", "bob"]),
            ("cc:@ada,@bob", &["ada", "bob"]),
            ("@ada님 확인 부탁드립니다, @bob에게도", &["ada", "bob"]),
            ("@ada😀 😀@bob", &["ada", "bob"]),
            (&format!("@{fifty}"), &[fifty.as_str()]),
            (&format!("@{fifty}."), &[fifty.as_str()]),
        ] {
            assert_eq!(usernames(text), names, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_name_is_none() {
        for text in [
            "",
            "@",
            "@@",
            "@ ada",
            "@ab",
            "@ab.",
            "@a-.-.-",
            "@...",
            "ada",
            "a@ada",
            "ada@example.com",
            "<ada.lovelace@example.com>",
            "ada+tag@example.com",
            "ada.@example.com",
            "ada_@example",
            "한@ada",
            "é@ada",
            "9@ada",
            "@@ada",
            "@ada@example.com",
            "@ada.@bob",
            "https://example.com/@ada",
            "@adaé",
            "@ada\u{212a}", // the Kelvin sign, whose lower case is a k
            "＠ada",
            "@аda", // its first letter is Cyrillic
            &format!("@{}", "a".repeat(51)),
        ] {
            assert_eq!(usernames(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn only_the_first_twenty_count() {
        let text: String = (100..150).map(|n| format!("@user{n} @user100 ")).collect();
        let first: Vec<_> = (100..120).map(|n| format!("user{n}")).collect();
        assert_eq!(usernames(&text), first);
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_every_name_stands_in_it(text in "([@.a-cA-C_-]|\\PC|@[a-z]{3,9} ){0,80}") {
            let names = usernames(&text);
            prop_assert!(names.len() <= MOST);
            for (index, name) in names.iter().enumerate() {
                prop_assert!((3..=50).contains(&name.len()), "{name}");
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)));
                prop_assert!(text.to_ascii_lowercase().contains(&["@", name].concat()));
                prop_assert!(!names[..index].contains(name));
            }
        }

        #[test]
        fn a_name_between_spaces_is_found(before in "[^@]{0,20}", name in "[a-z0-9._-]{2,49}[a-z0-9_]", after in "\\PC{0,20}") {
            let upper = name.to_ascii_uppercase();
            prop_assert_eq!(&usernames(&format!("{before} @{upper} {after}"))[0], &name);
        }
    }
}
