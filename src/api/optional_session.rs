//! The session that a public operation is called from, where an access token comes along.
use crate::auth::Actor;
use crate::auth::authenticator::{Authenticator, bearer, origin_of};
use crate::base::error::Result;
use crate::db::types::SessionId;
use crate::db::{Scope, WriteScope};
use poem::{Request, RequestBody};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// Its argument comes after the `Visitor`, which charges for the request. A fault of the token is kept until the handler asks for
/// the session: programs send their tokens along with everything, also where they are not needed.
pub struct OptionalSession(Option<Result<(Actor, SessionId, i64)>>);

/// A session that goes on.
#[derive(Debug, Clone, Copy)]
pub struct OpenSession {
    pub id: SessionId,
    /// The epoch of its account.
    pub epoch: i64,
}

impl OptionalSession {
    /// The session, if it is one of this account: `InvalidToken` where the token is not good.
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
        vec!["bearerAuth", "passwordAuth"] // which `Caller` registers
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
