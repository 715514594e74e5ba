//! The first argument of every operation that isn't public.
use super::access_token::AccessTokens;
use super::permissions::{MayWrite, Permission, Role};
use crate::db::types::{SessionId, TenantId, UserId};
use crate::db::{Db, Origin, Scope, WriteScope};
use crate::error::{Error, Result};
use crate::http::client_ip::ClientIp;
use crate::http::edge::RequestId;
use crate::http::guard::{PERMISSION, refuse_query};
use poem::http::header::AUTHORIZATION;
use poem::{Request, RequestBody};
use poem_openapi::auth::Bearer;
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, OAuthScopes, SecurityScheme};
use std::marker::PhantomData;
use uuid::Uuid;

/// A user at work in their tenant: who answers for a change. [`Caller`] holds one that has proven it; sign-in and the
/// operator's commands make one for the user whom they are about.
#[derive(Debug, Clone)]
pub struct Actor {
    tenant: TenantId,
    user: UserId,
    origin: Origin,
}

impl Actor {
    /// Only for who has checked a password, a refresh token or stands at the operator's console.
    pub fn vouched(tenant: TenantId, user: UserId, origin: Origin) -> Self {
        Self { tenant, user, origin }
    }
}

impl Actor {
    /// The operator at the console, who is nobody's user.
    pub fn operator(tenant: TenantId) -> Self {
        Self::vouched(tenant, Uuid::nil().into(), Origin::default())
    }
}

impl Scope for Actor {
    fn tenant(&self) -> TenantId {
        self.tenant
    }
}
impl WriteScope for Actor {
    fn actor(&self) -> UserId {
        self.user
    }
    fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Somebody who has the permission `P`, as of now: neither role nor state are the token's.
#[derive(Debug, Clone)]
pub struct Caller<P> {
    actor: Actor,
    role: Role,
    session: SessionId,
    permission: PhantomData<P>,
}

impl<P> Caller<P> {
    pub fn user(&self) -> UserId {
        self.actor.user
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn as_actor(&self) -> &Actor {
        &self.actor
    }

    /// The session that the access token belongs to.
    pub fn session(&self) -> SessionId {
        self.session
    }
}

impl<P: Permission> Scope for Caller<P> {
    fn tenant(&self) -> TenantId {
        self.actor.tenant
    }
}
impl<P: Permission + MayWrite> WriteScope for Caller<P> {
    fn actor(&self) -> UserId {
        self.actor.user
    }
    fn origin(&self) -> &Origin {
        &self.actor.origin
    }
}

/// Where a request comes from, as the edge found it out.
pub fn origin_of(request: &Request) -> Origin {
    Origin {
        ip: request.data::<ClientIp>().map(|ClientIp(ip)| *ip),
        request_id: request.data::<RequestId>().map(|RequestId(id)| id.clone()),
    }
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110, 11.1).
pub fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Finds out who a request is from. The server puts one into every request's data.
#[derive(Clone)]
pub struct Authenticator {
    pub db: Db,
    pub tokens: AccessTokens,
}

impl Authenticator {
    async fn authenticate(&self, request: &Request) -> Result<(Actor, Role, SessionId)> {
        let token = bearer(request).ok_or(Error::Unauthenticated)?;
        let claims = self.tokens.verify(token, self.db.world().now())?;
        let actor = Actor::vouched(claims.tenant_id, claims.sub, origin_of(request));
        let role = self.db.signed_in_role(&actor, claims.sid).await?.ok_or(Error::InvalidToken)?;
        Ok((actor, role, claims.sid))
    }
}

/// An access token.
#[derive(SecurityScheme)]
#[oai(rename = "bearerAuth", ty = "bearer", bearer_format = "JWT")]
#[expect(dead_code, reason = "only its declaration is used")]
struct BearerAuth(Bearer);

#[derive(OAuthScopes)]
#[expect(dead_code, reason = "only its declaration is used")]
enum Scopes {
    /// Everything that the user may do
    #[oai(rename = "all")]
    All,
}

/// Signs in with a password, for the documentation page.
#[derive(SecurityScheme)]
#[oai(rename = "passwordAuth", ty = "oauth2", flows(password(token_url = "/api/v1/auth/token", scopes = "Scopes")))]
#[expect(dead_code, reason = "only its declaration is used")]
struct PasswordAuth(Bearer);

impl<'a, P: Permission> ApiExtractor<'a> for Caller<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <BearerAuth as ApiExtractor>::register(registry);
        <PasswordAuth as ApiExtractor>::register(registry);
    }
    fn security_schemes() -> Vec<&'static str> {
        debug_assert!(P::NAME.starts_with(PERMISSION));
        vec!["bearerAuth", "passwordAuth", P::NAME]
    }
    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let authenticator = request.data::<Authenticator>();
        let authenticator = authenticator.ok_or_else(|| Error::Internal(anyhow::anyhow!("no authenticator")))?;
        let (actor, role, session) = authenticator.authenticate(request).await?;
        if role < P::ROLE {
            return Err(Error::Forbidden.into());
        }
        refuse_query(request)?;
        Ok(Self { actor, role, session, permission: PhantomData })
    }
}
