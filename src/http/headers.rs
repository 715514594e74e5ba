//! The request headers that handlers take. The guard names them in the document as HTTP does.
use crate::db::idempotency::RequestKey;
use crate::error::{Error, Result};
use crate::infra::crypto::sha256;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// The strong validator of one state of a resource.
pub fn etag(tag: &str) -> String {
    format!("\"{tag}\"")
}

fn lists(value: &str, tag: &str) -> bool {
    value.split(',').map(str::trim).any(|listed| listed == "*" || listed == etag(tag))
}

/// `If-Match`: change the resource only if it still is what the caller saw.
pub struct IfMatch(Option<String>);

impl IfMatch {
    pub fn check(&self, tag: &str) -> Result<()> {
        match &self.0 {
            Some(value) if !lists(value, tag) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }
}

/// `If-None-Match`: answer with the resource only if the caller has not got it yet.
pub struct IfNoneMatch(Option<String>);

impl IfNoneMatch {
    pub fn has(&self, tag: &str) -> bool {
        self.0.as_deref().is_some_and(|value| lists(&value.replace("W/", ""), tag)) // here weak ones count too
    }
}

/// `Idempotency-Key`: the same key and body again give the first answer again.
pub struct IdempotencyKey {
    key: Option<String>,
    path: String,
}

impl IdempotencyKey {
    const MAX_CHARACTERS: usize = 255;

    /// The key, bound to what is asked for: 400 where it is not one.
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
    ($type:ident, $name:literal, |$request:ident| $extract:expr) => {
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
                Some(String::schema_ref())
            }
            async fn from_request(
                request: &'a Request,
                _: &mut RequestBody,
                _: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                let $request = request;
                Ok($extract)
            }
        }
    };
}
header_argument!(IfMatch, "If-Match", |request| Self(joined(request, Self::NAME)));
header_argument!(IfNoneMatch, "If-None-Match", |request| Self(joined(request, Self::NAME)));
header_argument!(IdempotencyKey, "Idempotency-Key", |request| Self {
    key: joined(request, Self::NAME),
    path: request.uri().path().to_owned(),
});

/// A header that may come in several lines is one list (RFC 9110, 5.3). Bytes that are no text match nothing.
fn joined(request: &Request, name: &str) -> Option<String> {
    let lines: Vec<_> =
        request.headers().get_all(name).iter().map(|line| line.to_str().unwrap_or("\u{fffd}")).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_compares_strongly() {
        let check = |value: &str| IfMatch(Some(value.to_owned())).check("3").is_ok();
        assert!(check("\"3\"") && check("\"1\", \"3\"") && check("*"));
        assert!(!check("\"2\"") && !check("W/\"3\"") && !check("3") && !check(""));
        assert!(IfMatch(None).check("3").is_ok());
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let has = |value: &str| IfNoneMatch(Some(value.to_owned())).has("3");
        assert!(has("\"3\"") && has("W/\"3\"") && has("\"1\",W/\"3\"") && has("*"));
        assert!(!has("\"2\"") && !has(""));
        assert!(!IfNoneMatch(None).has("3"));
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
