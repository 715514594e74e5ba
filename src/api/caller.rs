//! The authenticated caller, which is the first argument of every operation that is not public.
use super::guard::{PERMISSION, refuse_query};
use crate::auth::Actor;
use crate::auth::authenticator::{Authenticator, Credential, may};
use crate::auth::permissions::{ForOperators, MayWrite, Permission, Role};
use crate::auth::slots::Slot;
use crate::base::error::{Error, Result};
use crate::base::queue::Claimant;
use crate::db::types::{SessionId, TenantId, UserId};
use crate::db::{OperatorScope, Origin, Scope, WriteScope};
use crate::server::unsent::Recipient;
use poem::{Request, RequestBody};
use poem_openapi::auth::{ApiKey, Bearer};
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, OAuthScopes, SecurityScheme};
use std::marker::PhantomData;

/// A caller with the permission `P`. The role and state of the account are the current ones, not those in the token.
#[derive(Clone)]
pub struct Caller<P> {
    actor: Actor,
    role: Role,
    epoch: i64,
    credential: Credential,
    authenticator: Authenticator,
    permission: PhantomData<P>,
}

impl<P> Caller<P> {
    pub fn user(&self) -> UserId {
        self.actor.actor()
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn as_actor(&self) -> &Actor {
        &self.actor
    }

    /// The epoch of the caller's account when the request was authenticated. A change that outlives the session
    /// compares it with the epoch in its own transaction. A request that was under way when the sessions were ended
    /// therefore changes nothing.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The session of the access token. Fails with 403 for an API key, which has no session.
    pub fn session(&self) -> Result<SessionId> {
        match self.credential {
            Credential::Session(session) => Ok(session),
            Credential::ApiKey(_) => Err(Error::NotForApiKeys),
        }
    }
}

impl<P: Permission> Caller<P> {
    /// Begins an export for the caller. Fails with 429 or 503 if too many are under way.
    pub fn begin_export(&self) -> Result<Slot> {
        self.authenticator.slots().exports.begin(self.claimant())
    }

    /// Begins an upload for the caller. Fails with 429 or 503 if too many are under way.
    pub fn begin_upload(&self) -> Result<Slot> {
        self.authenticator.slots().uploads.begin(self.claimant())
    }

    /// Begins a download for the caller. Fails with 429 or 503 if too many are under way.
    pub fn begin_download(&self) -> Result<Slot> {
        self.authenticator.slots().downloads.begin(self.claimant())
    }

    /// The same caller with another permission, or `None` if the caller does not have it.
    pub fn with<O: Permission>(&self) -> Option<Caller<O>> {
        self.require().ok()
    }

    /// As [`Self::with`], but fails with 403 if the caller does not have the permission. The message says so if the
    /// reason is that the caller uses an API key.
    pub fn require<O: Permission>(&self) -> Result<Caller<O>> {
        let (actor, authenticator) = (self.actor.clone(), self.authenticator.clone());
        let (role, epoch, credential, permission) = (self.role, self.epoch, self.credential, PhantomData);
        credential.check::<O>()?;
        match role >= O::ROLE && !O::IS_FOR_OPERATORS {
            true => Ok(Caller { actor, role, epoch, credential, authenticator, permission }),
            false => Err(Error::Forbidden),
        }
    }

    /// Checks again that the caller is still to be served, for answers that take a long time. Returns the current role.
    pub async fn recheck(&self) -> Result<Role> {
        let principal = self.authenticator.principal(&self.actor, self.credential).await?;
        match principal {
            Some(principal) if may::<P>(&principal) => Ok(principal.role),
            Some(_) => Err(Error::Forbidden),
            None => Err(Error::InvalidToken),
        }
    }
}

impl<P: Permission> Scope for Caller<P> {
    fn tenant(&self) -> TenantId {
        self.actor.tenant()
    }
    fn claimant(&self) -> Claimant {
        self.actor.claimant()
    }
}
impl<P: Permission + MayWrite> WriteScope for Caller<P> {
    fn actor(&self) -> UserId {
        self.actor.actor()
    }
    fn origin(&self) -> &Origin {
        self.actor.origin()
    }
}

impl<P: Permission + MayWrite + ForOperators> OperatorScope for Caller<P> {}

/// The key of a service account.
#[derive(SecurityScheme)]
#[oai(rename = "apiKeyAuth", ty = "api_key", key_in = "header", key_name = "X-API-Key")]
#[expect(dead_code, reason = "only its declaration is used")]
struct ApiKeyAuth(ApiKey);

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
#[oai(
    rename = "passwordAuth",
    ty = "oauth2",
    flows(password(token_url = "/api/v1/auth/token", refresh_url = "/api/v1/auth/token", scopes = "Scopes"))
)]
#[expect(dead_code, reason = "only its declaration is used")]
struct PasswordAuth(Bearer);

impl<'a, P: Permission> ApiExtractor<'a> for Caller<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <BearerAuth as ApiExtractor>::register(registry);
        <PasswordAuth as ApiExtractor>::register(registry);
        <ApiKeyAuth as ApiExtractor>::register(registry);
    }
    fn security_schemes() -> Vec<&'static str> {
        debug_assert!(P::NAME.starts_with(PERMISSION));
        match P::IS_FOR_PEOPLE {
            true => vec!["bearerAuth", "passwordAuth", P::NAME],
            false => vec!["bearerAuth", "passwordAuth", "apiKeyAuth", P::NAME],
        }
    }
    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let authenticator = Authenticator::of(request)?;
        let (actor, principal, credential) = authenticator.authenticate(request).await?;
        credential.check::<P>()?;
        if !may::<P>(&principal) {
            return Err(Error::Forbidden.into());
        }
        refuse_query(request)?;
        if let Some(recipient) = Recipient::of(request) {
            recipient.identify(actor.claimant())?;
        }
        let authenticator = authenticator.clone();
        let (role, epoch) = (principal.role, principal.epoch);
        Ok(Self { actor, role, epoch, credential, authenticator, permission: PhantomData })
    }
}
