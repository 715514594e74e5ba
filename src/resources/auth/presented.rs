//! Finds the refresh token of a request outside of its body: in `Authorization`, or else in the cookie.
use super::answers::COOKIE;
use crate::auth::authenticator::bearer;
use crate::base::opaque::REFRESH_TOKEN_PREFIX;
use poem::http::header::COOKIE as COOKIE_HEADER;
use poem::{Request, RequestBody};
use poem_openapi::auth::ApiKey;
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, SecurityScheme};

/// The refresh token as browsers send it.
#[derive(SecurityScheme)]
#[oai(rename = "refreshCookie", ty = "api_key", key_in = "cookie", key_name = "refresh_token")]
#[expect(dead_code, reason = "only its declaration is used")]
struct RefreshCookie(ApiKey);

/// A refresh token outside of the body, and where it was found.
pub enum Presented {
    InAuthorization(String),
    InCookie(String),
    Nowhere,
}

impl<'a> ApiExtractor<'a> for Presented {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <RefreshCookie as ApiExtractor>::register(registry);
    }
    fn security_schemes() -> Vec<&'static str> {
        vec!["refreshCookie"]
    }
    /// The token may also be in the body, for which there is no security scheme.
    fn has_security_fallback() -> bool {
        true
    }
    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        // Programs may send their access token with every request. It is ignored here.
        if let Some(token) = bearer(request).filter(|token| token.starts_with(REFRESH_TOKEN_PREFIX)) {
            return Ok(Self::InAuthorization(token.to_owned()));
        }
        Ok(cookie(request).map_or(Self::Nowhere, Self::InCookie))
    }
}

/// The value of our cookie. Browsers also send other cookies of the same site. These may contain any bytes, and over
/// HTTP/2 each may have a header of its own.
///
/// If several cookies have our cookie's name, they were set for different paths or domains. A server should not rely on
/// their order (RFC 6265, 4.2.2), so the first value with the form of a refresh token is used. If none has that form,
/// the first value is used and then refused.
fn cookie(request: &Request) -> Option<String> {
    let lines = request.headers().get_all(COOKIE_HEADER).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let values: Vec<&str> = pairs.filter_map(value_of_ours).collect();
    let is_token = |value: &&&str| value.starts_with(REFRESH_TOKEN_PREFIX);
    values.iter().find(is_token).or(values.first()).map(|value| (*value).to_owned())
}

fn value_of_ours(pair: &[u8]) -> Option<&str> {
    let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
    (name.trim() == COOKIE).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    fn found(lines: &[&[u8]]) -> Option<String> {
        let mut request = Request::builder().finish();
        for line in lines {
            request.headers_mut().append(COOKIE_HEADER, HeaderValue::from_bytes(line).unwrap());
        }
        cookie(&request)
    }

    #[test]
    fn cookies_of_others_do_not_hide_ours() {
        let cases: [&[&[u8]]; 5] = [
            &[b"refresh_token=bcr_a"],
            &["city=\u{c11c}\u{c6b8}; refresh_token=bcr_a".as_bytes()],
            &[b"city=\xff\xfe;refresh_token=bcr_a; \xe9=\xe9"],
            &[b" ; =x; x; refresh_token = bcr_a ;"],
            &[b"other=1", b"city=\xff", b"refresh_token=bcr_a"],
        ];
        for lines in cases {
            assert_eq!(found(lines).as_deref(), Some("bcr_a"), "{lines:?}");
        }
        let cases: [&[&[u8]]; 5] =
            [&[b"refresh_token"], &[b"xrefresh_token=bcr_a"], &[b"Refresh_Token=bcr_a"], &[b"refresh_token=\xff"], &[]];
        for lines in cases {
            assert_eq!(found(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn of_several_with_our_name_the_first_that_can_be_one_is_meant() {
        assert_eq!(
            found(&[b"refresh_token=theirs; refresh_token=bcr_a; refresh_token=bcr_b"]).as_deref(),
            Some("bcr_a")
        );
        assert_eq!(found(&[b"refresh_token=\xff", b"refresh_token=bcr_a"]).as_deref(), Some("bcr_a"));
        assert_eq!(found(&[b"refresh_token=theirs; refresh_token=others"]).as_deref(), Some("theirs"));
    }
}
