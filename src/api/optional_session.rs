//! The session of a public operation's caller, if the request has an access token.
use crate::auth::Actor;
use crate::auth::authenticator::{Authenticator, bearer, origin_of};
use crate::base::error::Result;
use crate::db::types::SessionId;
use crate::db::{Scope, WriteScope};
use poem::{Request, RequestBody};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// The argument for the session. It comes after the `Visitor`, which charges for the request. An error of the token is
/// kept until the handler asks for the session, because programs send their tokens with all requests, even if they are
/// not needed.
pub struct OptionalSession(Option<Result<(Actor, SessionId, i64)>>);

/// A session that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct OpenSession {
    pub id: SessionId,
    /// The epoch of the session's account.
    pub epoch: i64,
}

impl OptionalSession {
    /// The session, if it belongs to this account. `InvalidToken` if the token is not valid.
    pub fn of(self, account: &Actor) -> Result<Option<OpenSession>> {
        let Some((actor, id, epoch)) = self.0.transpose()? else { return Ok(None) };
        let is_theirs = (actor.tenant(), actor.actor()) == (account.tenant(), account.actor());
        Ok(is_theirs.then_some(OpenSession { id, epoch }))
    }
}

impl<'a> ApiExtractor<'a> for OptionalSession {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn security_schemes() -> Vec<&'static str> {
        vec!["bearerAuth", "passwordAuth"] // `Caller` registers these schemes
    }
    fn has_security_fallback() -> bool {
        true
    }
    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let Some(token) = bearer(request) else { return Ok(Self(None)) };
        let authenticator = Authenticator::of(request)?;
        Ok(Self(Some(authenticator.session_of(token, origin_of(request)).await)))
    }
}
