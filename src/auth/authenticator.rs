//! Authenticates requests. The steps are: token or API key → session → principal → limits.
use super::access_token::{AccessTokens, Refused, VerifiedClaims};
use super::actor::{Actor, Proven, Unproven};
use super::charge::{Charge, ProvenSecrets};
use super::limits::{Limits, check};
use super::permissions::Permission;
use super::sessions::Sessions;
use super::slots::AllSlots;
use crate::base::error::{Error, Result};
use crate::base::opaque::{OpaqueToken, TokenKind};
use crate::base::request::{ClientIp, LimitReport, RequestId, Taken};
use crate::db::types::{ApiKeyId, Instant, SessionId};
use crate::db::{Db, Origin, Principal, Scope, WriteScope};
use moka::sync::Cache;
use poem::Request;
use poem::http::Method;
use poem::http::header::AUTHORIZATION;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::Instrument;

/// How many secrets are remembered as right, and for how long after their last use.
const MAX_PROVEN: u64 = 50_000;
const PROVEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// The credential by which a caller proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    Session(SessionId),
    ApiKey(ApiKeyId),
}

impl Credential {
    /// Fails with 403 if this is an API key and the permission is for people only.
    pub fn check<P: Permission>(self) -> Result<()> {
        match self {
            Self::ApiKey(_) if P::IS_FOR_PEOPLE => Err(Error::NotForApiKeys),
            Self::ApiKey(_) | Self::Session(_) => Ok(()),
        }
    }
}

/// Whether a principal has the permission.
pub fn may<P: Permission>(principal: &Principal) -> bool {
    principal.role >= P::ROLE && (principal.is_superuser || !P::IS_FOR_OPERATORS)
}

/// The client's IP address and the request id, as the edge determined them.
pub fn origin_of(request: &Request) -> Origin {
    Origin {
        ip: request.data::<ClientIp>().map(|ClientIp(ip)| *ip),
        request_id: request.data::<RequestId>().map(|RequestId(id)| id.clone()),
    }
}

/// The token of `Authorization: Bearer …`. The case of the scheme does not matter (RFC 9110, 11.1). A token that is not
/// UTF-8 is returned as an empty one, so that it counts as a wrong token and not as a missing one.
pub fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| std::str::from_utf8(token).unwrap_or_default().trim())
}

/// Authenticates requests. The server puts an authenticator into the data of every request.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    db: Db,
    tokens: AccessTokens,
    sessions: Sessions,
    limits: Limits,
    slots: AllSlots,
    proven: ProvenSecrets,
}

/// The user, the user's current principal, the credential of the request, and the turns that it took.
type Identified = (Actor, Principal, Credential, Vec<Taken>);

impl Authenticator {
    pub fn new(db: Db, tokens: AccessTokens, sessions: Sessions, limits: Limits, slots: AllSlots) -> Self {
        let proven = Cache::builder().max_capacity(MAX_PROVEN).time_to_idle(PROVEN).build();
        Self(Arc::new(Inner { db, tokens, sessions, limits, slots, proven }))
    }

    /// The authenticator that the server put into the request's data.
    pub fn of(request: &Request) -> Result<&Self> {
        request.data::<Self>().ok_or_else(|| Error::Internal(anyhow::anyhow!("no authenticator")))
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The exports, uploads and downloads that are under way.
    pub fn slots(&self) -> &AllSlots {
        &self.0.slots
    }

    /// Returns a [`Charge`], which charges limits for this request.
    pub fn charge(&self, request: &Request) -> Charge {
        Charge::new(self.0.limits.clone(), self.0.proven.clone(), LimitReport::of(request))
    }

    /// The user of the request's credential, the user's current principal, and the credential.
    pub async fn authenticate(&self, request: &Request) -> Result<(Actor, Principal, Credential)> {
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
            // An expired token does not count against its address. If many tokens of one office expire during lunch,
            // each client must learn that at once and refresh, rather than wait. It costs the server only the check of
            // a signature.
            Err(Refused::OutOfTime) => return Err(Error::InvalidToken),
            Err(Refused::NotOurs) => return self.refuse(request, Error::InvalidToken).await,
        };
        let VerifiedClaims { tenant, user, session, .. } = claims;
        let actor = Actor::authenticated(Proven::new(tenant, user), origin_of(request));
        // A token of an ended session does not count against the address or the user either. The look-ups for it are
        // counted by session, because the token may be used for some more minutes.
        let ended = limits.ended(tenant, session);
        if let Some(used_up) = limits.used_up_here(&ended) {
            LimitReport::of(request).add(std::slice::from_ref(&used_up));
            check(&[used_up])?;
        }
        if let Some(refused) = limits.still_refused(tenant, user.0, writes(request)) {
            LimitReport::of(request).add(&refused);
            check(&refused)?;
        }
        let (sessions, limits, writes) = (sessions.clone(), limits.clone(), writes(request));
        let (report, caller) = (LimitReport::of(request), actor.clone());
        let admission = async move {
            let Some((principal, taken)) = sessions.admit(&caller, session, &limits, writes).await? else {
                report.add(&limits.take_here(ended));
                return Err(Error::InvalidToken);
            };
            limits.remember_refusal(tenant, user.0, writes, &taken);
            Ok((principal, taken))
        };
        let (principal, taken) = to_its_end(admission).await?;
        Ok((actor, principal, Credential::Session(session), taken))
    }

    /// The current user of an access token, its session, and the epoch of the account. Takes no turn of a limit,
    /// because the caller has charged one already.
    pub async fn session_of(&self, token: &str, origin: Origin) -> Result<(Actor, SessionId, i64)> {
        let Inner { db, tokens, sessions, .. } = &*self.0;
        let VerifiedClaims { tenant, user, session, .. } =
            tokens.verify(token, db.env().now()).map_err(|_| Error::InvalidToken)?;
        let actor = Actor::authenticated(Proven::new(tenant, user), origin);
        let principal = sessions.goes_on(&actor, session).await?.ok_or(Error::InvalidToken)?;
        Ok((actor, session, principal.epoch))
    }

    async fn by_key(&self, request: &Request) -> Result<Identified> {
        let Inner { db, limits, .. } = &*self.0;
        let Some(key) = api_key(request) else { return self.refuse(request, Error::Unauthenticated).await };
        let Some(token) = OpaqueToken::read(TokenKind::ApiKey, key) else {
            return self.refuse(request, Error::InvalidToken).await;
        };
        let id = ApiKeyId::from(token.id);
        let origin = origin_of(request);
        let visitor = match self.0.proven.contains_key(&token.hash()) {
            true => {
                if let Some(refused) = limits.still_refused(token.tenant(), id.0, writes(request)) {
                    LimitReport::of(request).add(&refused);
                    check(&refused)?;
                }
                Unproven::known(token.tenant())
            }
            false => Unproven::of(token.tenant(), &origin),
        };
        let (db, limits, writes, charge) = (db.clone(), limits.clone(), writes(request), self.charge(request));
        let admission = async move {
            let find = async { Ok(db.find_api_key(&visitor, id).await?.filter(|stored| token.fits(&stored.hash))) };
            let found = charge.prove(origin.ip, token.hash(), find).await?;
            let stored = found.ok_or(Error::InvalidToken)?;
            let actor = Actor::authenticated(Proven::new(token.tenant(), stored.user), origin);
            let of_key = limits.of_api_key(actor.tenant(), actor.actor(), &stored.principal, writes);
            let taken = limits.take(&of_key).await?;
            limits.remember_refusal(token.tenant(), id.0, writes, &taken);
            if taken.iter().all(|taken| taken.wait.is_none()) && stored.is_stale(Instant::from(db.env().now())) {
                db.touch_api_key(&actor, id).await?;
            }
            Ok((actor, stored.principal, Credential::ApiKey(id), taken))
        };
        to_its_end(admission).await
    }

    /// Refuses a request without a valid credential, and charges it to the visitor's address.
    async fn refuse<T>(&self, request: &Request, error: Error) -> Result<T> {
        self.charge(request).take(&[self.0.limits.anonymous(origin_of(request).ip)]).await?;
        Err(error)
    }

    pub async fn principal(&self, actor: &Actor, credential: Credential) -> Result<Option<Principal>> {
        match credential {
            Credential::Session(session) => self.0.sessions.goes_on(actor, session).await,
            Credential::ApiKey(id) => Ok(self.0.db.find_api_key(actor, id).await?.map(|stored| stored.principal)),
        }
    }
}

/// A future that runs to its end even if its owner is dropped: `drop` spawns the unfinished rest as a task. The look-up
/// and the charge of a request run in it. Otherwise a client that aborts each of its requests would cost the database
/// work without using a turn.
struct ToItsEnd<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

fn to_its_end<T: Send, F: Future<Output = Result<T>> + Send + 'static>(admission: F) -> ToItsEnd<F> {
    ToItsEnd(Some(Box::pin(admission)))
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // The inner future is taken out while it is polled. If it panics, `drop` finds nothing to spawn.
        let Some(mut rest) = self.0.take() else { return Poll::Pending };
        let polled = rest.as_mut().poll(context);
        self.0 = polled.is_pending().then_some(rest);
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(rest.in_current_span());
        }
    }
}

fn writes(request: &Request) -> bool {
    request.method() != Method::GET
}

/// The API key of a request. As with [`bearer`], a key that is not UTF-8 counts as a wrong key.
fn api_key(request: &Request) -> Option<&str> {
    let key = request.headers().get("x-api-key")?.as_bytes();
    Some(std::str::from_utf8(key).unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn an_admission_goes_on_if_its_request_is_dropped() {
        let (answer, answered) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let mut request = Box::pin(to_its_end(async move {
            let number: i32 = answered.await.unwrap();
            done.send(number).unwrap();
            Ok(())
        }));
        assert!(request.as_mut().now_or_never().is_none());
        drop(request);
        answer.send(5).unwrap();
        assert_eq!(is_done.await.unwrap(), 5);
    }

    #[tokio::test]
    async fn an_admission_ends_with_its_request() {
        assert!(matches!(to_its_end(async { Err::<(), _>(Error::Forbidden) }).await, Err(Error::Forbidden)));
        let held = Arc::new(());
        let of_work = held.clone();
        let panics = to_its_end(async move {
            assert_eq!(Arc::strong_count(&of_work), 1);
            Ok(())
        });
        assert!(std::panic::AssertUnwindSafe(panics).catch_unwind().await.is_err());
        assert_eq!(Arc::strong_count(&held), 1, "nothing of it goes on");
    }
}
