//! The content codings that answers are sent in.
use poem::http::{HeaderMap, header};

/// A content coding (RFC 9110, 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// All codings, in our order of preference.
    pub const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// The name in `Content-Encoding` (RFC 9110, 8.4.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The end of an `ETag` of a copy in this coding. It includes the closing quote, so that it only matches at the end
    /// of a tag.
    pub fn tag_suffix(self) -> &'static str {
        match self {
            Self::Brotli => "--br\"",
            Self::Gzip => "--gzip\"",
        }
    }

    /// Adds the suffix to a strong `ETag`, which then names this coding's copy.
    pub fn tag(self, headers: &mut HeaderMap) {
        let strong = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"'));
        let bare = strong.and_then(|tag| tag.strip_suffix('"'));
        if let Some(tagged) = bare.and_then(|bare| format!("{bare}{}", self.tag_suffix()).parse().ok()) {
            headers.insert(header::ETAG, tagged);
        }
    }
}
