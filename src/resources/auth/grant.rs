//! The grants of the token endpoint (RFC 6749): a sign-in by password, or the next tokens of a session.
use super::types::{GrantType, TokenForm};
use crate::api::Form;
use crate::api::scalars::Password;
use crate::auth::authenticator::{Authenticator, origin_of};
use crate::base::error::{Detail, Error, Result};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaRequest, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// A form of the token endpoint with all parameters that its grant needs.
pub enum Grant {
    Password { username: String, password: Password },
    RefreshToken(String),
}

impl TokenForm {
    /// Checks that the form has the parameters that its grant needs, which a schema can't express. A missing parameter
    /// is an `invalid_request` of RFC 6749, so the status is 400.
    fn grant(self) -> Result<Grant> {
        let Self { grant_type, username, password, refresh_token, scope: _, client_id: _, client_secret: _ } = self;
        match (grant_type, username, password, refresh_token) {
            (GrantType::Password, Some(username), Some(password), _) => Ok(Grant::Password { username, password }),
            (GrantType::RefreshToken, _, _, Some(token)) => Ok(Grant::RefreshToken(token)),
            (GrantType::RefreshToken, _, _, None) => Err(Error::invalid("refresh_token", IS_REQUIRED)),
            (GrantType::Password, username, password, _) => {
                let mut missing = Detail::default();
                if username.is_none() {
                    missing.add("username", IS_REQUIRED);
                }
                if password.is_none() {
                    missing.add("password", IS_REQUIRED);
                }
                Err(Error::Invalid(missing))
            }
        }
    }
}

const IS_REQUIRED: &str = "is required";

/// The limit of a request is known only after its form was read. A refresh token counts against the limit of its
/// session. All other requests count as sign-ins. This includes invalid requests, so that they are limited too.
impl<'a> ApiExtractor<'a> for Grant {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Form<TokenForm> as ApiExtractor>::register(registry);
    }
    fn request_meta() -> Option<MetaRequest> {
        <Form<TokenForm> as ApiExtractor>::request_meta()
    }
    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let form = <Form<TokenForm> as ApiExtractor>::from_request(request, body, options).await;
        let grant = form.and_then(|Form(form)| Ok(form.grant()?));
        if !matches!(grant, Ok(Self::RefreshToken(_))) {
            let charge = Authenticator::of(request)?.charge(request);
            charge.take(&[charge.limits().login(origin_of(request).ip)]).await?;
        }
        grant
    }
}
