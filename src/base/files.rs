//! Names of files that are safe to store and to send back, and what is found out about their content.
use super::crypto::hexadecimal;
use super::request::essence;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// The greatest length of a name, in characters.
const MAX_NAME: usize = 200;
/// What a file is called whose own name has nothing left.
const NAMELESS: &str = "file";

/// Names of devices, which Windows does not let files have, with any ending: these, and the others with a digit.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];

/// A name that no program takes for more than a name. What comes before the last slash is left out, as some programs
/// send a whole path. Letters are kept, in NFC like all texts.
pub fn safe_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept = last.chars().filter(|c| !is_hidden(*c)).nfc().map(|c| if "<>:\"|?*".contains(c) { '_' } else { c });
    let kept: String = kept.collect();
    let kept = kept.trim_matches(|c: char| c.is_whitespace()).trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    let (stem, ending) = match kept.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.chars().count() <= 20 => (stem, format!(".{ending}")),
        _ => (kept, String::new()),
    };
    let stem: String = stem.chars().take(MAX_NAME - ending.chars().count() - 1).collect();
    match (stem.as_str(), is_device(&stem)) {
        ("" | "." | "..", _) => NAMELESS.to_owned(),
        (_, true) => format!("_{stem}{ending}"),
        (_, false) => format!("{stem}{ending}"),
    }
}

/// Whether a character is a control character, a line break, or turns the direction of the text around, so that another
/// ending seems to stand at the end.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn is_device(stem: &str) -> bool {
    let first = stem.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = first.char_indices().last().filter(|(_, last)| last.is_ascii_digit()).map(|(at, _)| &first[..at]);
    DEVICES.contains(&first.as_str()) || numbered.is_some_and(|letters| NUMBERED_DEVICES.contains(&letters))
}

/// How many bytes of a file its type is found by.
const HEAD_BYTES: usize = 8192;

const UNKNOWN: &str = "application/octet-stream";

/// Text that the type of a file may be given for, because its bytes don't show it.
const TEXTS: [&str; 6] =
    ["text/plain", "text/csv", "text/markdown", "text/calendar", "application/json", "application/x-ndjson"];

/// The media type of a file that begins with these bytes. The type that the client has given counts only for text.
fn media_type(head: &[u8], given: Option<&str>) -> String {
    if let Some(found) = infer::get(head) {
        return found.mime_type().to_owned();
    }
    let is_text = match std::str::from_utf8(head) {
        Ok(text) => !text.contains('\0'),
        // The last letter may be cut off.
        Err(error) => error.error_len().is_none() && head.len() >= HEAD_BYTES && !head.contains(&0),
    };
    let given = given.and_then(|given| TEXTS.into_iter().find(|known| known.eq_ignore_ascii_case(given)));
    match (is_text && !head.is_empty(), given) {
        (true, Some(given)) => given.to_owned(),
        (true, None) => "text/plain".to_owned(),
        (false, _) => UNKNOWN.to_owned(),
    }
}

/// Whether content of the type that was found can't be of the type that a client has given. Types that can't be found by
/// their bytes, such as kinds of text, contradict only those that can.
pub fn contradicts(given: &str, found: &str) -> bool {
    let given = essence(given);
    let is_sure = !found.starts_with("text/") && found != UNKNOWN;
    given != found && (is_sure || infer::is_mime_supported(&given))
}

/// What is found out about the content of a file while it passes.
#[derive(Default)]
pub struct Content {
    hash: Sha256,
    head: Vec<u8>,
    pub size: u64,
}

impl Content {
    /// Takes the next piece into account.
    pub fn push(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.size += piece.len() as u64;
        let missing = HEAD_BYTES.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(&piece[..missing]);
    }

    /// The SHA-256 in hexadecimal digits, and the media type. The type that the client has given counts only for text.
    pub fn end(self, given: Option<&str>) -> (String, String) {
        (hexadecimal(&self.hash.finalize()), media_type(&self.head, given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nothing_but_a_name() {
        for (given, safe) in [
            ("offer.pdf", "offer.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\plan.docx", "plan.docx"),
            ("a\r\nSet-Cookie: x=1.txt", "aSet-Cookie_ x=1.txt"),
            ("\u{202e}fdp.exe", "fdp.exe"),
            ("CON", "_CON"),
            ("nul.tar.gz", "_nul.tar.gz"),
            ("com1.txt", "_com1.txt"),
            ("com10.txt", "com10.txt"),
            ("console.log", "console.log"),
            (" . ", "file"),
            ("", "file"),
            ("..", "file"),
            ("/", "file"),
            (".env", ".env"),
            ("name. . .", "name"),
            ("\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}.txt", "한글.txt"),
            ("what?<b>.html", "what__b_.html"),
        ] {
            assert_eq!(safe_name(given), safe, "{given:?}");
        }
        let long = safe_name(&format!("{}.pdf", "가".repeat(300)));
        assert!(long.ends_with("가.pdf") && long.chars().count() <= MAX_NAME, "{long}");
        assert!(safe_name(&"x.".repeat(300)).chars().count() <= MAX_NAME);
        for name in ["CON", "a".repeat(500).as_str(), "\u{202e}.exe", "한글.txt", "con.con.con"] {
            let once = safe_name(name);
            assert_eq!(safe_name(&once), once, "{name:?}");
        }
    }

    #[test]
    fn only_what_can_be_found_contradicts() {
        assert!(contradicts("image/png", "text/plain") && contradicts("text/csv", "application/pdf"));
        assert!(contradicts("application/pdf", UNKNOWN));
        assert!(!contradicts("Image/PNG", "image/png") && !contradicts("text/plain; charset=utf-8", "text/plain"));
        assert!(!contradicts("text/markdown", "text/plain") && !contradicts("text/plain", UNKNOWN));
    }

    #[test]
    fn a_type_is_what_the_bytes_are() {
        assert_eq!(media_type(b"%PDF-1.7", Some("image/png")), "application/pdf");
        assert_eq!(media_type(b"\x89PNG\r\n\x1a\n", None), "image/png");
        assert_eq!(media_type(b"a,b\n", Some("text/csv")), "text/csv");
        assert_eq!(media_type("가나다".as_bytes(), Some("application/x-evil")), "text/plain");
        assert_eq!(media_type(b"a\0b", Some("text/plain")), UNKNOWN);
        assert_eq!(media_type(b"\xff\xfe\xfd", Some("text/html")), UNKNOWN);
        assert_eq!(media_type(b"", Some("text/csv")), UNKNOWN);
        let cut = "가".repeat(HEAD_BYTES / 3 + 1);
        assert_eq!(media_type(&cut.as_bytes()[..HEAD_BYTES], None), "text/plain");
    }
}
