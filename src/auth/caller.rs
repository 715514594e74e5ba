//! The first argument of every operation that isn't public.
use super::access_token::{AccessTokens, Refused};
use super::export_slots::{ExportSlot, ExportSlots};
use super::limits::{Limits, Taken, check};
use super::opaque::{OpaqueToken, TokenKind};
use super::permissions::{ForOperators, MayWrite, Permission, Role};
use super::sessions::Sessions;
use super::visitor::Charge;
use crate::db::queue::{Claimant, Party};
use crate::db::types::{ApiKeyId, Instant, SessionId, TenantId, UserId};
use crate::db::{Db, OperatorScope, Origin, Principal, Scope, WriteScope};
use crate::error::{Error, Result};
use crate::http::client_ip::ClientIp;
use crate::http::edge::RequestId;
use crate::http::guard::{PERMISSION, refuse_query};
use crate::http::limit_report::LimitReport;
use crate::http::unsent::Recipient;
use crate::infra::formats::subscriber;
use moka::sync::Cache;
use poem::http::Method;
use poem::http::header::AUTHORIZATION;
use poem::{Request, RequestBody};
use poem_openapi::auth::{ApiKey, Bearer};
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, OAuthScopes, SecurityScheme};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;
use uuid::Uuid;

/// How many secrets are known to be right, and for how long after their last use.
const MAX_PROVEN: u64 = 50_000;
const PROVEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// A user at work in their tenant: who answers for a change. [`Caller`] holds one that has proven it; sign-in and the
/// operator's commands make one for the user whom they are about.
#[derive(Debug, Clone)]
pub struct Actor {
    tenant: TenantId,
    user: UserId,
    origin: Origin,
    /// Among whom its leases take turns.
    party: Party,
}

impl Actor {
    /// Only for who has checked a password, a refresh token or stands at the operator's console.
    pub fn authenticated(tenant: TenantId, user: UserId, origin: Origin) -> Self {
        Self { tenant, user, origin, party: Party::Tenant(tenant) }
    }

    /// For a visitor who names a tenant or a user, and has proven nothing yet: their leases take the turns of their address,
    /// or one who names many tenants would get the turns of all.
    pub fn unproven(tenant: TenantId, user: UserId, origin: Origin) -> Self {
        let party = Party::Address(origin.ip.map(subscriber));
        Self { tenant, user, origin, party }
    }
}

impl Actor {
    /// The operator at the console, who is nobody's user.
    pub fn operator(tenant: TenantId) -> Self {
        Self::authenticated(tenant, Uuid::nil().into(), Origin::default())
    }
}

impl Scope for Actor {
    fn tenant(&self) -> TenantId {
        self.tenant
    }
    fn claimant(&self) -> Claimant {
        Claimant { party: self.party, user: self.user }
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

/// What somebody proved who they are with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    Session(SessionId),
    ApiKey(ApiKeyId),
}

impl Credential {
    /// 403 for an API key, where the right is for people alone.
    fn check<P: Permission>(self) -> Result<()> {
        match self {
            Self::ApiKey(_) if P::IS_FOR_PEOPLE => Err(Error::NotForApiKeys),
            Self::ApiKey(_) | Self::Session(_) => Ok(()),
        }
    }
}

/// Somebody who has the permission `P`, as of now: neither role nor state are the token's.
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
        self.actor.user
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn as_actor(&self) -> &Actor {
        &self.actor
    }

    /// The epoch of the caller's account when the request was let in. What outlives a session compares it with that of its own
    /// transaction: a request that was under way when the sessions were ended leaves nothing behind.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The session that the access token belongs to: 403 for an API key, which has none.
    pub fn session(&self) -> Result<SessionId> {
        match self.credential {
            Credential::Session(session) => Ok(session),
            Credential::ApiKey(_) => Err(Error::NotForApiKeys),
        }
    }
}

impl<P: Permission> Caller<P> {
    /// Begins an export of the caller's; 429 or 503 where there are enough of them.
    pub fn begin_export(&self) -> Result<ExportSlot> {
        self.authenticator.0.exports.begin(self.claimant())
    }

    /// The same caller by another right of their role; none who has not got it.
    pub fn with<O: Permission>(&self) -> Option<Caller<O>> {
        self.require().ok()
    }

    /// As [`Self::with`]: 403 where the caller has not got the right; the message says so where that is because they are an API key.
    pub fn require<O: Permission>(&self) -> Result<Caller<O>> {
        let (actor, authenticator) = (self.actor.clone(), self.authenticator.clone());
        let (role, epoch, credential, permission) = (self.role, self.epoch, self.credential, PhantomData);
        credential.check::<O>()?;
        match role >= O::ROLE && !O::IS_FOR_OPERATORS {
            true => Ok(Caller { actor, role, epoch, credential, authenticator, permission }),
            false => Err(Error::Forbidden),
        }
    }

    /// Asks again, for answers that take their time: whether the caller still is to be served.
    pub async fn recheck(&self) -> Result<Role> {
        let principal = self.authenticator.principal(&self.actor, self.credential).await?;
        match principal {
            Some(principal) if may::<P>(&principal) => Ok(principal.role),
            Some(_) => Err(Error::Forbidden),
            None => Err(Error::InvalidToken),
        }
    }
}

/// Whether somebody who stands so has the right.
fn may<P: Permission>(principal: &Principal) -> bool {
    principal.role >= P::ROLE && (principal.is_superuser || !P::IS_FOR_OPERATORS)
}

impl<P: Permission> Scope for Caller<P> {
    fn tenant(&self) -> TenantId {
        self.actor.tenant
    }
    fn claimant(&self) -> Claimant {
        self.actor.claimant()
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

impl<P: Permission + MayWrite + ForOperators> OperatorScope for Caller<P> {}

/// Where a request comes from, as the edge found it out.
pub fn origin_of(request: &Request) -> Origin {
    Origin {
        ip: request.data::<ClientIp>().map(|ClientIp(ip)| *ip),
        request_id: request.data::<RequestId>().map(|RequestId(id)| id.clone()),
    }
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110, 11.1). One that is no text is an empty one,
/// which is wrong, rather than none.
pub fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| std::str::from_utf8(token).unwrap_or_default().trim())
}

/// Finds out who a request is from. The server puts one into every request's data.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    db: Db,
    tokens: AccessTokens,
    sessions: Sessions,
    limits: Limits,
    exports: ExportSlots,
    /// The hashes of API keys and feeds' secrets that were right when they were last used here. They open nothing by
    /// themselves.
    proven: Cache<Vec<u8>, ()>,
}

/// Who it is, what they are now, by what, and the turns that it took.
type Identified = (Actor, Principal, Credential, Vec<Taken>);

impl Authenticator {
    pub fn new(db: Db, tokens: AccessTokens, sessions: Sessions, limits: Limits, exports: ExportSlots) -> Self {
        let proven = Cache::builder().max_capacity(MAX_PROVEN).time_to_idle(PROVEN).build();
        Self(Arc::new(Inner { db, tokens, sessions, limits, exports, proven }))
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The hashes of secrets that were right here.
    pub(super) fn proven(&self) -> &Cache<Vec<u8>, ()> {
        &self.0.proven
    }

    /// Who it is, and what they are now.
    async fn authenticate(&self, request: &Request) -> Result<(Actor, Principal, Credential)> {
        let identified = match bearer(request) {
            Some(token) => self.by_token(request, token).await,
            None => self.by_key(request).await,
        };
        let (actor, principal, credential, taken) = identified?;
        LimitReport::of(request).add(&taken);
        check(&taken)?;
        Ok((actor, principal, credential))
    }

    async fn by_token(&self, request: &Request, token: &str) -> Result<Identified> {
        let Inner { db, tokens, sessions, limits, .. } = &*self.0;
        let claims = match tokens.verify(token, db.env().now()) {
            Ok(claims) => claims,
            // It costs its address nothing: in an office whose tokens run out over lunch, each client is to learn that and
            // to refresh, rather than to wait. To us it costs no more than the look at its signature.
            Err(Refused::OutOfTime) => return Err(Error::InvalidToken),
            Err(Refused::NotOurs) => return self.refuse(request, Error::InvalidToken).await,
        };
        let actor = Actor::authenticated(claims.tenant_id, claims.sub, origin_of(request));
        // One whose session is over costs nothing either, but its look-ups are counted: it may be used for minutes still.
        let ended = limits.ended(claims.tenant_id, claims.sid);
        if let Some(used_up) = limits.used_up_here(&ended) {
            LimitReport::of(request).add(std::slice::from_ref(&used_up));
            check(&[used_up])?;
        }
        let (tenant, user) = (claims.tenant_id, claims.sub);
        if let Some(refused) = limits.still_refused(tenant, user.0, writes(request)) {
            LimitReport::of(request).add(&refused);
            check(&refused)?;
        }
        let (sessions, limits, writes) = (sessions.clone(), limits.clone(), writes(request));
        let (report, caller) = (LimitReport::of(request), actor.clone());
        let admission = async move {
            let Some((principal, taken)) = sessions.admit(&caller, claims.sid, &limits, writes).await? else {
                report.add(&limits.take_here(ended));
                return Err(Error::InvalidToken);
            };
            limits.remember_refusal(tenant, user.0, writes, &taken);
            Ok((principal, taken))
        };
        let (principal, taken) = to_its_end(admission).await?;
        Ok((actor, principal, Credential::Session(claims.sid), taken))
    }

    /// The user of an access token, as of now, and its session. It costs no turn: the caller has charged one.
    pub(super) async fn session_of(&self, token: &str, origin: Origin) -> Result<(Actor, SessionId, i64)> {
        let Inner { db, tokens, sessions, .. } = &*self.0;
        let claims = tokens.verify(token, db.env().now()).map_err(|_| Error::InvalidToken)?;
        let actor = Actor::authenticated(claims.tenant_id, claims.sub, origin);
        let principal = sessions.goes_on(&actor, claims.sid).await?.ok_or(Error::InvalidToken)?;
        Ok((actor, claims.sid, principal.epoch))
    }

    async fn by_key(&self, request: &Request) -> Result<Identified> {
        let Inner { db, limits, .. } = &*self.0;
        let Some(key) = api_key(request) else { return self.refuse(request, Error::Unauthenticated).await };
        let Some(token) = OpaqueToken::read(TokenKind::ApiKey, key) else {
            return self.refuse(request, Error::InvalidToken).await;
        };
        let id = ApiKeyId::from(token.id);
        let nobody_yet = match self.proven().contains_key(&token.hash()) {
            true => {
                if let Some(refused) = limits.still_refused(token.tenant, id.0, writes(request)) {
                    LimitReport::of(request).add(&refused);
                    check(&refused)?;
                }
                Actor::authenticated(token.tenant, Uuid::nil().into(), origin_of(request))
            }
            false => Actor::unproven(token.tenant, Uuid::nil().into(), origin_of(request)),
        };
        let (db, limits, writes, charge) = (db.clone(), limits.clone(), writes(request), Charge::of(request)?);
        let admission = async move {
            let find = async { Ok(db.find_api_key(&nobody_yet, id).await?.filter(|stored| token.fits(&stored.hash))) };
            let found = charge.prove(nobody_yet.origin.ip, token.hash(), find).await?;
            let stored = found.ok_or(Error::InvalidToken)?;
            let actor = Actor::authenticated(token.tenant, stored.user, nobody_yet.origin);
            let of_key = limits.of_api_key(actor.tenant, actor.user, &stored.principal, writes);
            let taken = limits.take(&of_key).await?;
            limits.remember_refusal(token.tenant, id.0, writes, &taken);
            if taken.iter().all(|taken| taken.wait.is_none()) && stored.is_stale(Instant::from(db.env().now())) {
                db.touch_api_key(&actor, id).await?;
            }
            Ok((actor, stored.principal, Credential::ApiKey(id), taken))
        };
        to_its_end(admission).await
    }

    /// Refuses who can't prove who they are, and charges them as a visitor.
    async fn refuse<T>(&self, request: &Request, error: Error) -> Result<T> {
        Charge::of(request)?.take(&[self.0.limits.anonymous(origin_of(request).ip)]).await?;
        Err(error)
    }

    async fn principal(&self, actor: &Actor, credential: Credential) -> Result<Option<Principal>> {
        match credential {
            Credential::Session(session) => self.0.sessions.goes_on(actor, session).await,
            Credential::ApiKey(id) => Ok(self.0.db.find_api_key(actor, id).await?.map(|stored| stored.principal)),
        }
    }
}

/// Looks up and charges, also where the request is given up meanwhile: one that is taken back again and again would cost the
/// database, and no turn.
async fn to_its_end<T: Send + 'static>(admission: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let admission = tokio::spawn(admission.in_current_span());
    admission.await.map_err(|broken_off| Error::Internal(broken_off.into()))?
}

fn writes(request: &Request) -> bool {
    request.method() != Method::GET
}

/// As with [`bearer`], one that is no text is a wrong one.
fn api_key(request: &Request) -> Option<&str> {
    let key = request.headers().get("x-api-key")?.as_bytes();
    Some(std::str::from_utf8(key).unwrap_or_default().trim())
}

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
        let authenticator = request.data::<Authenticator>();
        let authenticator = authenticator.ok_or_else(|| Error::Internal(anyhow::anyhow!("no authenticator")))?;
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
