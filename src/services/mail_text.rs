//! Builds the text of a mail. The words of the program are fixed. Texts that callers wrote are shortened, put in
//! quotation marks, and changed so that no mail reader makes a link of them. A stranger who can make the server write
//! to others can thus put no message of their own into the mail.
use crate::base::formats::is_invisible;
use std::iter::once;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// How many characters of a name are shown.
const MAX_NAME: usize = 60;

/// How many digits of a name are shown. Mail readers make links of telephone numbers, but those have more digits.
const MAX_DIGITS: usize = 6;

/// A mail text that is being built. It takes fixed words of the program, names by [`Self::quote`] and tokens by
/// [`Self::token`], so that no name can get into it in another way.
#[derive(Debug, Default)]
pub struct MailText(String);

impl MailText {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn say(mut self, words: &'static str) -> Self {
        self.0.push_str(words);
        self
    }

    /// Adds a name that a caller chose, in quotation marks.
    pub fn quote(mut self, name: &str) -> Self {
        self.0.push_str(&quoted(name));
        self
    }

    /// Adds a token that the server made: as a link if the operator has a front end, or else by itself.
    pub fn token(mut self, app_url: Option<&str>, page: &'static str, token: &str) -> Self {
        match app_url {
            Some(url) => self.0.push_str(&format!("{url}/{page}?token={token}")),
            None => self.0.push_str(token),
        }
        self
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// A name in the form in which mails show it.
fn quoted(name: &str) -> String {
    let mut shown = String::from("\"");
    let (mut length, mut digits) = (0, 0);
    let mut last = ' '; // no blank at the start
    for c in name.trim().nfc().map(as_shown).filter(|c| is_shown(*c)) {
        if length == MAX_NAME {
            shown.push('…');
            break;
        }
        let is_first = length == 0;
        if (c == ' ' && last == ' ') || (is_first && is_combining_mark(c)) {
            continue; // a combining mark would change the quotation mark
        }
        if breaks_links(last) && c != ' ' {
            shown.push(' ');
        }
        digits += usize::from(c.is_numeric());
        shown.push(if c.is_numeric() && digits > MAX_DIGITS { '*' } else { c });
        length += 1;
        last = c;
    }
    shown.truncate(shown.trim_end().len());
    if shown.len() == 1 {
        shown.push('-'); // no character of the name can be shown
    }
    shown + "\""
}

/// Turns every kind of blank into a space, which ends a link in every mail reader. Turns quotation marks into
/// apostrophes, so that they don't end the quotation.
fn as_shown(c: char) -> char {
    match c {
        _ if c.is_whitespace() || c == '\u{2800}' => ' ',
        '"' | '\u{ab}' | '\u{bb}' | '\u{201c}'..='\u{201f}' | '\u{2e42}' | '\u{301d}'..='\u{301f}' | '\u{ff02}' => '\'',
        '\u{275d}' | '\u{275e}' | '\u{2760}' | '\u{1f676}'..='\u{1f678}' => '\'',
        c => c,
    }
}

/// Whether a character is shown. Control characters, invisible characters and those that change the direction of the
/// text are not.
fn is_shown(c: char) -> bool {
    !c.is_control() && !is_invisible(c) && !matches!(c, '\u{fff9}'..='\u{fffc}')
}

/// Whether a blank has to follow. Mail readers find links in plain text by the punctuation of addresses:
/// `evil.example`, `http://…`, `//host`, `\\host\share`, `ada@example.com`. With a blank after each such character,
/// none of them is between two other characters any more, and no reader takes a blank into a link. The names "AC / DC"
/// and "Acme Inc." stay as they are, and "Booking.com" can still be read. Many readers also know other forms of these
/// characters: full-width and small ones, and characters that contain one (`℀`, `⒈`). All of these have the plain
/// character in their compatibility form. U+3002 is the full stop of Chinese and Japanese, and also separates the
/// labels of a domain (RFC 3490, 3.1). NFKC turns U+FF61 into U+3002.
fn breaks_links(c: char) -> bool {
    once(c).nfkc().any(|c| matches!(c, '.' | '\u{3002}' | ':' | '/' | '\\' | '@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_left_as_they_are() {
        for name in [
            "Ada Lovelace",
            "김철수",
            "주식회사 가나다",
            "Acme, Inc.",
            "J. R. R. Tolkien",
            "O'Neil & Söhne 24/ 7",
            "שלום",
        ] {
            assert_eq!(quoted(name), format!("\"{name}\""));
        }
        assert_eq!(quoted("\u{1112}\u{1161}\u{11ab}"), "\"한\"", "decomposed, as a Mac sends it");
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(quoted(&"가".repeat(60)), format!("\"{}\"", "가".repeat(60)));
        assert_eq!(quoted(&"가".repeat(61)), format!("\"{}…\"", "가".repeat(60)));
        assert_eq!(quoted(&format!("{}  ", "a".repeat(60))), format!("\"{}\"", "a".repeat(60)));
    }

    #[test]
    fn nothing_in_a_name_becomes_a_link() {
        for (name, shown) in [
            ("evil.example", "evil. example"),
            ("http://evil.example/pay?x=1", "http: / / evil. example/ pay?x=1"),
            ("www.evil.example", "www. evil. example"),
            ("ada@evil.example", "ada@ evil. example"),
            ("mailto:ada", "mailto: ada"),
            ("//evil/x", "/ / evil/ x"),
            ("\\\\evil\\share", "\\ \\ evil\\ share"),
            ("evil\u{ff0e}example", "evil\u{ff0e} example"),
            ("evil\u{3002}example", "evil\u{3002} example"),
            ("evil\u{ff61}example", "evil\u{ff61} example"),
            ("evil\u{2024}example", "evil\u{2024} example"),
            ("ada\u{ff20}evil", "ada\u{ff20} evil"),
            ("http\u{ff1a}\u{ff0f}\u{ff0f}evil", "http\u{ff1a} \u{ff0f} \u{ff0f} evil"),
            ("evil.\u{200b}example", "evil. example"),
            ("evil\u{2060}.\u{2060}example", "evil. example"),
            ("evil.\u{a0}example", "evil. example"),
            ("Call +82-10-1234-5678", "Call +82-10-12**-****"),
        ] {
            assert_eq!(quoted(name), format!("\"{shown}\""), "{name:?}");
        }
    }

    #[test]
    fn a_name_does_not_leave_its_quotation_marks() {
        for (name, shown) in [
            ("Ada\". Pay now \"", "Ada'. Pay now '"),
            ("\u{201c}Ada\u{201d}", "'Ada'"),
            ("Ada\n\nPay now", "Ada Pay now"),
            ("Ada\u{2028}Pay\u{85}now", "Ada Pay now"),
            ("\u{202e}adA\u{202c}\u{200f}", "adA"),
            ("\u{338}Ada", "Ada"),
            ("  Ada   L  ", "Ada L"),
            ("\u{3164}\u{200b}", "-"),
            ("", "-"),
        ] {
            assert_eq!(quoted(name), format!("\"{shown}\""), "{name:?}");
        }
    }

    #[test]
    fn a_token_is_a_link_where_there_is_a_front_end() {
        let text =
            MailText::new().say("Once:\n\n").token(Some("https://app.example.com"), "register", "bci_x").say("\n");
        assert_eq!(text.into_string(), "Once:\n\nhttps://app.example.com/register?token=bci_x\n");
        let text = MailText::new().token(None, "register", "bci_x");
        assert_eq!(text.into_string(), "bci_x");
    }
}
