use super::*;

fn found(text: &str) -> Vec<String> {
    terms([(Weight::Low, text)], 1000).terms.into_iter().map(|term| term.text).collect()
}

fn wanted(text: &str) -> Vec<(String, bool)> {
    Wish::parse(text).unwrap().terms.into_iter().map(|term| (term.text, term.is_beginning)).collect()
}

/// Whether a search finds a text, as the database decides it.
fn finds(query: &str, text: &str) -> bool {
    let terms = found(text);
    let has = |wanted: &Wanted| match wanted.is_beginning {
        true => terms.iter().any(|term| term.starts_with(&wanted.text)),
        false => terms.contains(&wanted.text),
    };
    Wish::parse(query).unwrap().terms.iter().all(has)
}

#[test]
fn words_are_one_term_and_runs_of_korean_are_cut_into_pairs() {
    assert_eq!(found("Send the offer, send it!"), ["send", "the", "offer", "it"]);
    assert_eq!(found("제3회 회의록"), ["제", "3", "회", "회의", "의록", "록"]);
    assert_eq!(found("a1-b2_c3"), ["a1", "b2", "c3"]);
    assert_eq!(found("データ"), ["デー", "ータ", "タ"]);
    assert!(found(" …!? 🙂 ❤\u{fe0f}").is_empty());
}

#[test]
fn all_forms_of_the_same_letters_are_equal() {
    for (one, other) in [
        ("STRASSE", "straße"),
        ("ﬁn", "fin"),
        ("Ａｂ１", "ab1"),
        ("Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
        ("café", "cafe\u{301}"),
        ("회의", "\u{1112}\u{116c}\u{110b}\u{1174}"),
        ("ｶﾞｽ", "ガス"),
        ("ﾡￂ", "가"),
        ("soft\u{ad}ware", "software"),
        ("⚠\u{fe0f}Urgent", "urgent"),
        ("L\u{b4}amour", "L amour"),
        ("ПРИВЕТ", "привет"),
    ] {
        assert_eq!(found(one), found(other), "{one} {other}");
    }
}

#[test]
fn the_last_word_may_be_a_beginning() {
    assert_eq!(wanted("Offer for Ac"), [("offer".into(), false), ("for".into(), false), ("ac".into(), true)]);
    assert_eq!(wanted("회의록"), [("회의".into(), false), ("의록".into(), false)]);
    assert_eq!(wanted("회 a"), [("회".into(), true), ("a".into(), true)]);
    assert_eq!(wanted("a a"), [("a".into(), false)], "a whole word is its own beginning");
    assert_eq!(wanted("회의ㄹ"), [("회의".into(), false)], "a syllable that is not typed yet to its end");
    assert_eq!(wanted("ㄹ").len(), 1);
}

#[test]
fn a_part_of_a_korean_word_finds_it_wherever_it_stands() {
    for query in ["회", "총회", "회를", "를", "정기 총회", "정기총"] {
        let is_there = query != "정기총";
        assert_eq!(finds(query, "정기 총회를 연다"), is_there, "{query}");
    }
}

#[test]
fn a_search_has_a_word_and_not_too_many() {
    assert_eq!(Wish::parse(" !? "), Err(Unusable::NoWords));
    assert_eq!(Wish::parse("a b c d e f g h i"), Err(Unusable::TooManyWords));
    assert_eq!(Wish::parse(&"a-".repeat(25)), Err(Unusable::TooManyWords));
    assert_eq!(wanted("R & D – plan – 2030 – Q1 –").len(), 5, "signs are no words");
    assert_eq!(wanted("제3회 정기총회 2030년 1월 5일").len(), 12, "five words");
    let both = wanted(&format!("{} acme", "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허"));
    assert!(both.contains(&("acme".into(), true)) && both.len() == MAX_WANTED, "no word is left out");
    assert!(finds("ータ", "データ"));
    assert_eq!(wanted("a b c d e f g h").len(), MAX_WORDS);
    assert_eq!(wanted(&"가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허".repeat(2)).len(), MAX_WANTED);
    let long = "x".repeat(200);
    assert_eq!(wanted(&long), [("x".repeat(MAX_TERM), true)]);
    assert!(finds(&long, &format!("the {long}")));
}

#[test]
fn the_greatest_weight_counts_and_the_rest_is_cut() {
    let texts = [(Weight::Low, "plan for the year"), (Weight::High, "the plan")];
    let Terms { terms: found, is_cut } = terms(texts, 3);
    let found: Vec<_> = found.iter().map(|term| (&*term.text, term.weight)).collect();
    assert_eq!((found, is_cut), (vec![("the", Weight::High), ("plan", Weight::High), ("for", Weight::Low)], true));
    assert!(!terms(texts, 4).is_cut);
}

fn shown(query: &str, text: &str) -> Option<String> {
    let parts = Wish::parse(query).unwrap().snippet(text)?;
    Some(parts.iter().map(|part| if part.is_hit { format!("[{}]", part.text) } else { part.text.clone() }).collect())
}

#[test]
fn a_snippet_shows_the_hits_as_they_are_written() {
    assert_eq!(shown("off", "The Offers\nare OFF").unwrap(), "The [Offers] are [OFF]");
    assert_eq!(shown("회의", "정기회의록, 회사").unwrap(), "정기[회의]록, 회사");
    assert_eq!(shown("회", "정기회의록, 총회").unwrap(), "정기[회]의록, 총[회]");
    assert_eq!(shown("strasse", "Hauptstraße, Straße 1").unwrap(), "Hauptstraße, [Straße] 1");
    assert_eq!(shown("none", "nothing"), None);
    assert_eq!(shown("<b", "a <b> c").unwrap(), "a <[b]> c");
}

#[test]
fn a_snippet_of_a_long_text_is_short_and_around_the_first_hit() {
    let text = format!("{}needle{}", "가 ".repeat(500), " b".repeat(500));
    let shown = shown("needle", &text).unwrap();
    assert!(shown.starts_with('…') && shown.ends_with('…') && shown.contains("[needle]"), "{shown}");
    assert!(shown.chars().count() <= MAX_SNIPPET + 4, "{shown}");
    let at_end = Wish::parse("needle").unwrap().snippet(&format!("{}needle", "x ".repeat(500))).unwrap();
    assert!(at_end.last().unwrap().is_hit);
    let nothing_but_hits = Wish::parse("x").unwrap().snippet(&"x ".repeat(500)).unwrap();
    assert!(nothing_but_hits.iter().map(|part| part.text.chars().count()).sum::<usize>() <= MAX_SNIPPET + 1);
}

proptest::proptest! {
    #[test]
    fn any_text_is_found_by_its_own_words(text in "\\PC{0,40}") {
        let words: Vec<_> = text.split_whitespace().collect();
        for word in words {
            if Wish::parse(word).is_ok() {
                proptest::prop_assert!(finds(word, &text), "{word:?} in {text:?}");
                proptest::prop_assert!(shown(word, &text).is_some());
            }
        }
    }
}
