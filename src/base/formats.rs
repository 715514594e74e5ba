//! Readers and checks of text formats, in one place. Bodies, parameters and cursors are all read by these functions.
use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use std::net::{IpAddr, Ipv6Addr};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

/// The years that every database can store.
pub const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// Reads an id in the form in which the server prints it: with hyphens, and without braces or a prefix. Upper case is
/// accepted.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::parse_str(text).ok()).flatten()
}

/// Reads exactly `YYYY-MM-DD`. The parser of chrono would also accept spaces, signs and missing zeros.
pub fn parse_day(text: &str) -> Option<NaiveDate> {
    let is_plain = text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let day: NaiveDate = is_plain.then(|| text.parse().ok()).flatten()?;
    YEARS.contains(&day.year()).then_some(day)
}

/// Reads a time of RFC 3339.
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    let is_leap_second = time.nanosecond() >= 1_000_000_000; // no database can store one
    (YEARS.contains(&time.year()) && !is_leap_second).then_some(time)
}

/// The form in which usernames and words are compared: trimmed, in NFKC, in lower case. Compatibility forms of a
/// character, such as full-width letters, become that character. E-mail addresses are compared in the form of
/// [`super::addresses`].
pub fn normalised(name: &str) -> String {
    let folded: String = name.trim().nfkc().collect::<String>().to_lowercase().nfkc().collect();
    folded.trim().to_owned()
}

/// Whether a character is invisible. Among letters, such a character makes an address that looks like another one.
/// These are the characters with `Default_Ignorable_Code_Point` in Unicode 17's `DerivedCoreProperties.txt`.
pub fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8 | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

/// Whether a character is not allowed in a line of text: a line break or another control character.
fn ends_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether the text is one line. A name with line breaks or other control characters could go on in a mail as if the
/// server had written it.
pub fn is_one_line(text: &str) -> bool {
    !text.contains(ends_line)
}

/// The first line that is not blank, trimmed.
pub fn first_line(text: &str) -> Option<&str> {
    text.split(ends_line).map(str::trim).find(|line| !line.is_empty())
}

/// The address under which all addresses of one subscriber are counted. For IPv4 it is the address itself, also if that
/// is written as IPv6. For IPv6 it is the network, because each subscriber has a whole /64.
pub fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_breaks_and_no_control_characters() {
        assert!(is_one_line("") && is_one_line(" 김철수, \u{200f}\"O'Neil\" 🚂 "));
        for c in ['\0', '\t', '\n', '\r', '\u{b}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{2029}'] {
            assert!(!is_one_line(&format!("a{c}b")), "{c:?}");
        }
    }

    #[test]
    fn the_first_line_is_one_with_something_in_it() {
        assert_eq!(first_line("a b"), Some("a b"));
        for text in ["\n \u{2028}\u{1} a b \u{b}c", "a b\tc", "a b\rc", "a b\u{85}\n"] {
            assert_eq!(first_line(text), Some("a b"), "{text:?}");
        }
        assert_eq!((first_line(""), first_line("\u{1} \n")), (None, None));
    }

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

    #[test]
    fn days_are_ten_characters() {
        assert_eq!(parse_day("2026-02-28"), NaiveDate::from_ymd_opt(2026, 2, 28));
        for text in [
            "+12024-01-01",
            "-0044-03-15",
            "2024-1-5",
            " 2024-01-05",
            "2024-01-5 ",
            "2026-02-29",
            "0000-01-01",
            "２０２４-01-01",
        ] {
            assert_eq!(parse_day(text), None, "{text}");
        }
    }

    #[test]
    fn instants_and_ids_have_one_form() {
        assert!(parse_instant("9999-12-31T23:59:59.999999Z").is_some());
        assert!(parse_instant("9999-12-31T23:59:59-01:00").is_none());
        let id = "01993c3e-6a00-7c3e-8f6e-3b1d2a4c5e6f";
        assert!(parse_uuid(id).is_some() && parse_uuid(&id.to_uppercase()).is_some());
        for text in [&id.replace('-', ""), &format!("{{{id}}}"), &format!("urn:uuid:{id}"), ""] {
            assert!(parse_uuid(text).is_none(), "{text}");
        }
    }
}
