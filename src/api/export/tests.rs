//! Tests the rendering of cells and rows.
use super::*;
use proptest::prelude::*;
use serde_json::json;

/// Restores the original text of a defused cell, as the contract describes.
fn read_back(defused: &str) -> String {
    let begins = |rest: &str| rest.chars().find(|c| !is_passed_over(*c)).is_some_and(is_formula_sign);
    let part = |rest: &str| rest.split(separates).next().unwrap_or_default().to_owned();
    let mut text = String::new();
    for (at, c) in defused.char_indices() {
        let rest = &defused[at..];
        let is_marked = match at {
            0 => begins(rest),
            _ => defused[..at].ends_with(separates) && begins(&part(rest)),
        };
        if !(is_marked && c == '\'') {
            text.push(c);
        }
    }
    text
}

#[test]
fn cells_can_not_become_formulas() {
    for sign in ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "﹢", "﹣", "﹫"] {
        let before = [
            "",
            " ",
            "\u{a0}",
            "\u{3000}",
            "\u{2003}",
            "\u{200b}",
            "\u{feff}",
            "\u{202e}",
            "\u{2066}",
            "\u{ad}",
            "\u{1}",
            " \u{200b} ",
            "'",
            "''",
            "' ",
        ];
        for before in before {
            let text = format!("{before}{sign}1");
            assert_eq!(cell(json!(text)), format!("'{text}"));
            for separator in [';', '\t', '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}'] {
                let inner = format!("a{separator}{text}");
                assert_eq!(cell(json!(inner)), format!("a{separator}'{text}"), "{inner:?}");
                let leading = format!("{separator}{text}");
                let starts_text = separator != ';'; // `;` is no blank, so the text does not begin with a formula
                let mark = if starts_text { "'" } else { "" };
                assert_eq!(cell(json!(leading)), format!("{mark}{separator}'{text}"), "{leading:?}");
            }
        }
    }
    assert_eq!(cell(json!("a\r\n=1\r\n\r\n-2;b; @c")), "a\r\n'=1\r\n\r\n'-2;b;' @c");
}

#[test]
fn other_cells_stay_as_they_are() {
    for text in ["", "a=1", "a, =1", "a b = c", "1-2", "ada@example.com", "'a", " a", "\ta", "a;b\nc", "; ", "한글＝1"]
    {
        assert_eq!(cell(json!(text)), text);
    }
    assert_eq!((cell(json!(-5)), cell(json!(true))), ("-5".to_owned(), "true".to_owned()));
    assert_eq!(cell(json!({"to": "a", "from": -1})), r#"{"to":"a","from":-1}"#);
    assert_eq!(cell(json!({"to": "a;=1"})), r#"{"to":"a;'=1"}"#);
    assert_eq!(cell(json!(["=x", "b", "y;+z"])), "'=x, b, y;'+z");
    assert_eq!(cell(Value::Null), "");
}

#[test]
fn a_long_text_is_looked_at_once() {
    let blanks = "\t".repeat(1_000_000);
    assert_eq!(cell(json!(format!("{blanks}=1"))), format!("'{blanks}'=1"));
}

#[test]
fn rows_are_quoted_as_rfc_4180_says() {
    assert_eq!(csv_row(["a,b", "c\"d", "e\nf", ""].iter()), "\"a,b\",\"c\"\"d\",\"e\nf\",\r\n");
}

proptest! {
    #[test]
    fn every_text_can_be_read_back(text in "([=+@'; \\t\\r\\na\u{200b}＝-]|\\PC){0,40}") {
        prop_assert_eq!(read_back(&defused(text.clone())), text);
    }
}
