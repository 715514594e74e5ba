//! Properties of search patterns.
#![expect(clippy::disallowed_methods, reason = "asks SQLite what it makes of a pattern")]
use super::*;
use diesel::SqliteConnection;
use proptest::prelude::*;

/// What `LIKE … ESCAPE '!'` means in standard SQL.
fn is_like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| is_like(&text[skipped..], rest)),
        ['_', rest @ ..] => !text.is_empty() && is_like(&text[1..], rest),
        ['!', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && is_like(&text[1..], rest),
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Short texts of the characters that matter. They often contain each other.
fn text(longest: usize) -> impl Strategy<Value = String> {
    let letters =
        prop::sample::select(vec!['%', '_', '!', '\\', '\'', '"', '*', '?', '[', 'a', 'b', 'é', '한', '😀', '\n']);
    prop::collection::vec(letters, 0..=longest).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn a_pattern_finds_the_text_as_it_is(haystack in text(12), needle in text(3)) {
        let pattern = contains(&needle);
        prop_assert_eq!(is_like(&chars(&haystack), &chars(&pattern)), haystack.contains(&needle));
    }

    #[test]
    fn within_a_pattern_any_text_stands_for_itself(needle in any::<String>()) {
        let pattern = chars(&contains(&needle));
        let [first, fixed @ .., last] = &pattern[..] else { panic!("no wildcards") };
        prop_assert_eq!((first, last), (&'%', &'%'));
        let mut signs = fixed.iter();
        let mut meant = String::new();
        while let Some(sign) = signs.next() {
            prop_assert!(!matches!(sign, '%' | '_'), "a wildcard within");
            meant.push(if *sign == '!' { *signs.next().expect("something is escaped") } else { *sign });
        }
        prop_assert_eq!(meant, needle);
    }

    #[test]
    fn letters_are_folded_one_by_one(a in any::<String>(), b in any::<String>()) {
        let both = lowered(&(a.clone() + &b));
        prop_assert_eq!(&both, &(lowered(&a) + &lowered(&b)));
        prop_assert_eq!(both.chars().count(), a.chars().count() + b.chars().count());
        prop_assert_eq!(lowered(&both), both);
    }
}

#[test]
fn sqlite_reads_patterns_as_the_model_does() {
    let conn = std::cell::RefCell::new(SqliteConnection::establish(":memory:").expect("memory"));
    proptest!(|(haystack in text(8), needle in text(3))| {
        let like = haystack.clone().into_sql::<Text>().like(contains(&needle)).escape('!');
        let found: bool = diesel::select(like).get_result(&mut *conn.borrow_mut()).expect("it answers");
        prop_assert_eq!(found, haystack.contains(&needle));
    });
}
