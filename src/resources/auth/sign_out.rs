//! Signs a device out, by its access token or else by a refresh token.
use super::Own;
use super::presented::Presented;
use super::tokens::TokenIssuer;
use crate::api::{Caller, Visitor};
use crate::auth::Actor;
use crate::auth::authenticator::bearer;
use crate::base::error::{Error, Result};
use crate::base::opaque::REFRESH_TOKEN_PREFIX;
use crate::db::Action;
use crate::db::sessions::EndReason;
use crate::db::types::{Instant, SessionId};
use poem::{Request, RequestBody};
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// The credentials of a request to sign out, except for a refresh token in its body.
pub struct SigningOut {
    /// The caller with a valid access token or API key.
    caller: Option<Caller<Own>>,
    /// Whether the request has a token or a key that is not valid. At sign-out this is usually an access token that has
    /// expired, so the next credential is tried.
    is_refused: bool,
    refresh_token: Option<String>,
}

impl<'a> ApiExtractor<'a> for SigningOut {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Caller<Own> as ApiExtractor>::register(registry);
        <Presented as ApiExtractor>::register(registry);
    }
    /// API keys are not declared, because they have no session. A request with an API key gets 403.
    fn security_schemes() -> Vec<&'static str> {
        vec!["bearerAuth", "passwordAuth", "refreshCookie"]
    }
    /// A refresh token in the body is enough.
    fn has_security_fallback() -> bool {
        true
    }
    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let refresh_token = match Presented::from_request(request, body, options).await? {
            Presented::InAuthorization(token) | Presented::InCookie(token) => Some(token),
            Presented::Nowhere => None,
        };
        let names_caller = match bearer(request) {
            Some(token) => !token.starts_with(REFRESH_TOKEN_PREFIX),
            None => request.headers().contains_key("x-api-key"),
        };
        if !names_caller {
            return Ok(Self { caller: None, is_refused: false, refresh_token });
        }
        match <Caller<Own> as ApiExtractor>::from_request(request, body, ExtractParamOptions::default()).await {
            Ok(caller) => Ok(Self { caller: Some(caller), is_refused: false, refresh_token }),
            Err(error) if matches!(error.downcast_ref(), Some(Error::InvalidToken)) => {
                Ok(Self { caller: None, is_refused: true, refresh_token })
            }
            Err(error) => Err(error),
        }
    }
}

impl TokenIssuer {
    /// Ends the session of the first valid credential. The access token is tried first, then a refresh token in the
    /// body, then one elsewhere in the request. Fails with 401 if no credential is valid.
    pub async fn sign_out<L>(
        &self,
        signing_out: SigningOut,
        in_body: Option<String>,
        visitor: &Visitor<L>,
    ) -> Result<()> {
        let SigningOut { caller, mut is_refused, refresh_token } = signing_out;
        if let Some(caller) = caller {
            return self.end_session(caller.as_actor(), caller.session()?).await;
        }
        for token in in_body.into_iter().chain(refresh_token) {
            match self.end_session_of(&token, visitor).await {
                Err(Error::InvalidToken) => is_refused = true,
                ended => return ended,
            }
        }
        if is_refused {
            return Err(Error::InvalidToken);
        }
        visitor.charge.take(&[visitor.charge.limits().anonymous(visitor.origin.ip)]).await?;
        Err(Error::Unauthenticated)
    }

    /// Ends the session of a refresh token. Any refresh token that this server issued is accepted, even one that was
    /// used before or has expired. Only the device or a thief can have the token, and the thief's use of the session
    /// should end too. If the session has ended already, nothing is written to the audit log.
    async fn end_session_of<L>(&self, refresh_token: &str, visitor: &Visitor<L>) -> Result<()> {
        let token = self.read_refresh_token(refresh_token, visitor).await?;
        let Some((proof, session)) = self.sessions.of_token(&token, &visitor.origin).await? else { return Ok(()) };
        if session.state.has_ended || session.state.expires_at <= Instant::from(self.db.env().now()) {
            return Ok(());
        }
        let actor = Actor::authenticated(proof, visitor.origin.clone());
        let principal = self.db.principal(&actor, session.user).await?;
        if principal.is_some_and(|principal| session.epoch < principal.epoch) {
            return Ok(()); // all sessions of that epoch were ended
        }
        self.end_session(&actor, token.session).await
    }

    async fn end_session(&self, actor: &Actor, session: SessionId) -> Result<()> {
        match self.sessions.end(actor, session, Action::SignOut, EndReason::SignedOut).await {
            Ok(()) | Err(Error::NotFound) => Ok(()), // `NotFound`: ended meanwhile
            Err(error) => Err(error),
        }
    }
}
