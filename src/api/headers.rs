//! The request headers that handlers take as arguments. The guard gives them their HTTP names in the document.
use crate::base::crypto::sha256;
use crate::base::error::{Error, Result};
use crate::db::idempotency::RequestKey;
use poem::Request;
use poem::http::HeaderMap;
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// The strong entity tag of one state of a resource.
pub fn etag(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// The names that proxies append to the tag of an answer that they have compressed, as in `"3-gzip"`, `"3--gzip"` and
/// `"3;br"`.
const PROXY_CODINGS: [&str; 5] = ["gzip", "gz", "br", "zstd", "deflate"];

/// The tag before a proxy has compressed the answer. `None` if the tag has no suffix of a proxy.
fn without_proxy_suffix(tag: &str) -> Option<&str> {
    let tag = PROXY_CODINGS.iter().find_map(|coding| tag.strip_suffix(coding))?;
    ["--", "-", ";"].into_iter().find_map(|separator| tag.strip_suffix(separator))
}

/// Whether a list of entity tags (RFC 9110, 8.8.3) contains this one. A proxy that compresses an answer makes its tag
/// weak or appends a suffix. Both are ignored, because our tags stand for a version and not for bytes, and no tag of
/// ours is equal to another one with such a suffix.
fn lists(list: &str, tag: &str) -> bool {
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return false;
        }
        let strong = rest.strip_prefix("W/").unwrap_or(rest);
        let quoted = strong.strip_prefix('"').and_then(|opened| opened.split_once('"'));
        let (end, is_listed) = match quoted {
            Some((listed, after)) => (after, listed == tag || without_proxy_suffix(listed) == Some(tag)),
            None => (rest, false),
        };
        let (extra, others) = end.split_once(',').unwrap_or((end, ""));
        match (quoted.is_some(), extra.trim()) {
            (true, "") if is_listed => return true,
            (false, "*") => return true,
            _ => rest = others, // another tag, or text that is no tag
        }
    }
}

/// `If-Match`: changes the resource only if it is still the version that the client saw.
pub struct IfMatch(Option<String>);

impl IfMatch {
    pub fn check(&self, tag: &str) -> Result<()> {
        match &self.0 {
            Some(value) if !lists(value, tag) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }
}

/// `If-None-Match`: returns the resource only if the client does not have this version yet.
pub struct IfNoneMatch(Option<String>);

impl IfNoneMatch {
    pub fn of(request: &Request) -> Self {
        Self(joined(request.headers(), Self::NAME))
    }

    #[cfg(test)]
    pub fn none() -> Self {
        Self(None)
    }

    pub fn has(&self, tag: &str) -> bool {
        self.0.as_deref().is_some_and(|value| lists(value, tag))
    }
}

/// `Idempotency-Key`: a repeated request with the same key and body gets the first answer again.
pub struct IdempotencyKey {
    key: Option<String>,
    path: String,
}

impl IdempotencyKey {
    const MAX_CHARACTERS: usize = 255;

    /// The keys that [`Self::of`] accepts, as a schema: visible ASCII characters.
    fn schema() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            max_length: Some(Self::MAX_CHARACTERS),
            pattern: Some("^[!-~]+$".into()),
            ..MetaSchema::new("string")
        }))
    }

    /// The key, bound to the path and body of the request. Fails with 400 if it is not valid.
    pub fn of(self, input: &impl ToJSON) -> Result<Option<RequestKey>> {
        let Some(key) = self.key else { return Ok(None) };
        let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_empty() || key.len() > Self::MAX_CHARACTERS || !is_visible {
            return Err(Error::invalid(Self::NAME, "must be 1 to 255 visible ASCII characters"));
        }
        let fingerprint = sha256(format!("{}\n{}", self.path, input.to_json_string()).as_bytes());
        Ok(Some(RequestKey { key, fingerprint }))
    }
}

macro_rules! header_argument {
    ($type:ident, $name:literal, $schema:expr, |$request:ident| $extract:expr) => {
        impl $type {
            pub const NAME: &'static str = $name;
        }
        impl<'a> ApiExtractor<'a> for $type {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
            type ParamType = ();
            type ParamRawType = ();

            fn param_in() -> Option<MetaParamIn> {
                Some(MetaParamIn::Header)
            }
            fn param_schema_ref() -> Option<MetaSchemaRef> {
                Some($schema)
            }
            async fn from_request(
                request: &'a poem::Request,
                _: &mut poem::RequestBody,
                _: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                let $request = request;
                Ok($extract)
            }
        }
    };
}
pub(super) use header_argument;

header_argument!(IfMatch, "If-Match", String::schema_ref(), |request| Self(joined(request.headers(), Self::NAME)));
header_argument!(IfNoneMatch, "If-None-Match", String::schema_ref(), |request| Self::of(request));
header_argument!(IdempotencyKey, "Idempotency-Key", Self::schema(), |request| Self {
    key: joined(request.headers(), Self::NAME),
    path: request.uri().path().to_owned(),
});

/// The value of a header. Several lines of it are joined to one list (RFC 9110, 5.3). Bytes that are not UTF-8 become
/// U+FFFD, so that they match no tag and do not affect the others in the list.
pub(super) fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    #[test]
    fn if_match_names_a_version_whatever_a_proxy_made_of_its_tag() {
        let check = |value: &str| IfMatch(Some(value.to_owned())).check("3").is_ok();
        for same in
            ["\"3\"", "\"1\", \"3\"", "*", "W/\"3\"", "\"1\",W/\"3\"", " ,, \"3\" ,", "\"a,b\", \"3\"", "x, \"3\""]
        {
            assert!(check(same), "{same}");
        }
        for suffix in ["-gzip", "--gzip", ";gzip", ";gz", "-br", "--br", ";br", "-zstd", "-deflate"] {
            assert!(check(&format!("\"3{suffix}\"")) && check(&format!("W/\"3{suffix}\"")), "{suffix}");
            assert!(!check(&format!("\"2{suffix}\"")) && !check(&format!("\"33{suffix}\"")), "{suffix}");
        }
        let others = [
            "\"2\"",
            "W/\"2\"",
            "3",
            "W/3",
            "w/\"3\"",
            "",
            "\"3",
            "\"3\"x",
            "\"a,\"3\"",
            "\"3gzip\"",
            "\"3-\"",
            "\"3-gzi\"",
        ];
        for other in others {
            assert!(!check(other), "{other}");
        }
        assert!(IfMatch(None).check("3").is_ok());
    }

    #[test]
    fn a_suffix_of_ours_is_no_proxys() {
        let check = |value: &str, tag: &str| IfMatch(Some(value.to_owned())).check(tag).is_ok();
        assert!(check("\"3.all\"", "3.all") && check("\"3.all-gzip\"", "3.all"));
        assert!(!check("\"3.all\"", "3") && !check("\"3.all-gzip\"", "3") && !check("\"3-gzip\"", "3.all"));
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let has = |value: &str| IfNoneMatch(Some(value.to_owned())).has("3");
        assert!(has("\"3\"") && has("W/\"3\"") && has("\"1\",W/\"3\"") && has("*") && has("W/\"3-gzip\""));
        assert!(!has("\"2\"") && !has("") && !has("W/\"2-gzip\""));
        assert!(!IfNoneMatch(None).has("3"));
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing() {
        let mut headers = HeaderMap::new();
        headers.append("if-match", HeaderValue::from_bytes(b"\"\xff\", \"3\"").unwrap());
        headers.append("if-match", HeaderValue::from_bytes(b"\"\xea\xb0\x80\"").unwrap());
        let given = IfMatch(joined(&headers, IfMatch::NAME));
        assert!(given.check("3").is_ok() && given.check("\u{ac00}").is_ok() && given.check("4").is_err());
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii() {
        let of = |key: &str| IdempotencyKey { key: Some(key.to_owned()), path: "/".into() }.of(&"body".to_owned());
        assert!(of("k").is_ok() && of(&"k".repeat(255)).is_ok());
        for bad in ["", "a b", "\u{e9}", &"k".repeat(256)] {
            assert!(matches!(of(bad), Err(Error::Invalid(_))), "{bad}");
        }
        let fingerprint = |path: &str, body: &str| {
            let key = IdempotencyKey { key: Some("k".into()), path: path.into() };
            key.of(&body.to_owned()).unwrap().unwrap().fingerprint
        };
        assert_ne!(fingerprint("/a", "x"), fingerprint("/b", "x"));
        assert_ne!(fingerprint("/a", "x"), fingerprint("/a", "y"));
    }
}
