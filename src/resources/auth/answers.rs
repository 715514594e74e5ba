//! The answers of sign-in: tokens in the body, the refresh token in a cookie.
use super::tokens::{TokenOptions, Tokens};
use super::types::TokenAnswer;
use crate::api::response::{declare, json_response};
use crate::base::error::{Error, Result};
use crate::base::error_body;
use crate::base::error_body::header;
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use poem::error::ResponseError;
use poem::http::header::SET_COOKIE;
use poem::http::{HeaderValue, StatusCode};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};

/// The refresh cookie's name.
pub const COOKIE: &str = "refresh_token";
const COOKIE_PATH: &str = "/api/v1/auth";

fn cookie(value: String, seconds: i64, options: &TokenOptions) -> Option<HeaderValue> {
    let cookie = Cookie::build((COOKIE, value))
        .http_only(true)
        .same_site(SameSite::Strict)
        .path(COOKIE_PATH)
        .secure(options.secure_cookie)
        .max_age(Duration::seconds(seconds));
    HeaderValue::try_from(cookie.to_string()).ok()
}

/// 200 with tokens. The refresh token is either in the body or in the cookie, never in both.
pub struct SignedIn {
    answer: TokenAnswer,
    cookie: Option<HeaderValue>,
}

impl SignedIn {
    pub fn new(tokens: Tokens, in_body: bool, options: &TokenOptions) -> Self {
        let Tokens { mut answer, refresh_token } = tokens;
        if in_body || !options.refresh_in_cookie {
            answer.refresh_token = Some(refresh_token);
            return Self { answer, cookie: None };
        }
        let cookie = cookie(refresh_token, answer.refresh_expires_in, options);
        Self { answer, cookie }
    }
}

impl IntoResponse for SignedIn {
    fn into_response(self) -> Response {
        let mut response = json_response(StatusCode::OK, &self.answer.to_json_string());
        response.headers_mut().extend(self.cookie.map(|cookie| (SET_COOKIE, cookie)));
        response
    }
}
impl ApiResponse for SignedIn {
    fn meta() -> MetaResponses {
        let answer = declare(200, "Signed in", &[], Some(TokenAnswer::schema_ref()));
        MetaResponses { responses: vec![with_cookie(answer)] }
    }
    fn register(registry: &mut Registry) {
        TokenAnswer::register(registry);
    }
}

/// 204. The answer deletes the cookie.
pub struct SignedOut(pub TokenOptions);

impl IntoResponse for SignedOut {
    fn into_response(self) -> Response {
        taking_cookie_back(StatusCode::NO_CONTENT.into_response(), &self.0)
    }
}
impl ApiResponse for SignedOut {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![with_cookie(declare(204, "Signed out", &[], None))] }
    }
    fn register(_: &mut Registry) {}
}

fn taking_cookie_back(mut response: Response, options: &TokenOptions) -> Response {
    response.headers_mut().extend(cookie(String::new(), 0, options).map(|cookie| (SET_COOKIE, cookie)));
    response
}

/// [`SignedOut`], or 401 if no credential was valid. Both answers delete the cookie, because it is of no use any more.
pub struct SignedOutOrRefused {
    refused: Option<Error>,
    options: TokenOptions,
}

impl SignedOutOrRefused {
    /// All errors except those of credentials stay errors.
    pub fn new(signed_out: Result<()>, options: TokenOptions) -> Result<Self> {
        match signed_out {
            Ok(()) => Ok(Self { refused: None, options }),
            Err(refused @ (Error::Unauthenticated | Error::InvalidToken)) => {
                Ok(Self { refused: Some(refused), options })
            }
            Err(error) => Err(error),
        }
    }
}

impl IntoResponse for SignedOutOrRefused {
    fn into_response(self) -> Response {
        let response = match self.refused {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(refused) => refused.as_response(),
        };
        taking_cookie_back(response, &self.options)
    }
}
impl ApiResponse for SignedOutOrRefused {
    fn meta() -> MetaResponses {
        let MetaResponses { mut responses } = SignedOut::meta();
        responses.push(with_cookie(error_body::declare(401)));
        MetaResponses { responses }
    }
    fn register(registry: &mut Registry) {
        SignedOut::register(registry);
    }
}

fn with_cookie(mut response: MetaResponse) -> MetaResponse {
    response.headers.push(MetaHeader { required: false, ..header("Set-Cookie", "string") });
    response
}
