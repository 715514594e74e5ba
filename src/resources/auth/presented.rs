//! Where a refresh token is found in a request: the body, `Authorization`, the cookie.
use super::answers::COOKIE;
use crate::auth::caller::bearer;
use crate::auth::refresh_token::PREFIX;
use cookie::Cookie;
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

/// A refresh token that is not in the body, and how it came.
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
    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        // Programs send their access token along with everything; it is not meant here.
        if let Some(token) = bearer(request).filter(|token| token.starts_with(PREFIX)) {
            return Ok(Self::InAuthorization(token.to_owned()));
        }
        Ok(cookie(request).map_or(Self::Nowhere, Self::InCookie))
    }
}

fn cookie(request: &Request) -> Option<String> {
    let lines = request.headers().get_all(COOKIE_HEADER).iter().filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| Cookie::split_parse(line.to_owned())).flatten();
    cookies.into_iter().find(|cookie| cookie.name() == COOKIE).map(|cookie| cookie.value().to_owned())
}
