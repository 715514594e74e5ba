//! The first argument of every public operation below `/api/`: somebody who has not signed in, within their limit.
use super::limits::{Limit, Limits, check};
use crate::auth::Authenticator;
use crate::auth::caller::origin_of;
use crate::db::Origin;
use crate::error::{Error, Result};
use crate::http::guard::refuse_query;
use crate::http::limit_report::LimitReport;
use poem::{FromRequest, Request, RequestBody};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::slice;

/// Which limit a public operation counts against.
pub trait VisitorLimit: Send + Sync + 'static {
    /// None where the operation itself charges one, as it knows better whose.
    fn limit(limits: &Limits, ip: Option<IpAddr>) -> Option<Limit>;
}

macro_rules! visitor_limits {
    ($($(#[$attribute:meta])* $name:ident: $limit:expr),+ $(,)?) => {$(
        $(#[$attribute])*
        pub struct $name;
        impl VisitorLimit for $name {
            fn limit(limits: &Limits, ip: Option<IpAddr>) -> Option<Limit> {
                let limit: fn(&Limits, Option<IpAddr>) -> Option<Limit> = $limit;
                limit(limits, ip)
            }
        }
    )+};
}
visitor_limits! {
    Anonymous: |limits, ip| Some(limits.anonymous(ip)),
    Register: |limits, ip| Some(limits.register(ip)),
    Login: |limits, ip| Some(limits.login(ip)),
    /// Refreshing counts for each session.
    Refresh: |_, _| None,
    /// By a password it counts as signing in does, by a refresh token as refreshing does.
    Token: |_, _| None,
    /// By an access token it counts for its user, by a refresh token as refreshing does.
    SignOut: |_, _| None,
    /// A feed has a limit of its own, and a wrong secret counts for the address.
    Feed: |_, _| None,
}

/// Where a public request comes from.
pub struct Visitor<L> {
    pub origin: Origin,
    pub charge: Charge,
    limit: PhantomData<fn() -> L>,
}

/// Charges limits for a request, and has the answer say so.
#[derive(Clone)]
pub struct Charge {
    authenticator: Authenticator,
    report: LimitReport,
}

impl Charge {
    pub fn of(request: &Request) -> Result<Self> {
        let authenticator = request.data::<Authenticator>();
        let authenticator = authenticator.ok_or_else(|| Error::Internal(anyhow::anyhow!("no authenticator")))?;
        Ok(Self { authenticator: authenticator.clone(), report: LimitReport::of(request) })
    }

    pub fn limits(&self) -> &Limits {
        self.authenticator.limits()
    }

    /// 429 where a limit is used up.
    pub async fn take(&self, limits: &[Limit]) -> Result<()> {
        let taken = self.limits().take(limits).await?;
        self.report.add(&taken);
        check(&taken)
    }

    /// Whether the secret of this hash was right here before.
    pub fn is_proven(&self, hash: &[u8]) -> bool {
        self.authenticator.proven().contains_key(hash)
    }

    /// Has `find` look up the secret that a visitor brought, by its hash. A guess costs a turn of the visitor's address. It
    /// is taken before the database is asked, so that a burst of guesses asks no more often than the address has turns, and
    /// given back where the secret is right. One that was right here before is no guess: others behind its address don't
    /// stop it.
    pub async fn prove<T>(
        &self,
        ip: Option<IpAddr>,
        hash: Vec<u8>,
        find: impl Future<Output = Result<Option<T>>>,
    ) -> Result<Option<T>> {
        let (limits, proven) = (self.limits(), self.authenticator.proven());
        let guess = limits.anonymous(ip);
        let was_right = proven.contains_key(&hash);
        let taken = if was_right { vec![] } else { limits.take(slice::from_ref(&guess)).await? };
        if let Err(used_up) = check(&taken) {
            self.report.add(&taken);
            return Err(used_up);
        }
        let found = find.await;
        match &found {
            Ok(None) if was_right => {
                proven.invalidate(&hash);
                self.take(&[guess]).await?;
            }
            Ok(None) => self.report.add(&taken),
            Ok(Some(_)) if was_right => {}
            Ok(Some(_)) => {
                proven.insert(hash, ());
                limits.give_back(&guess).await?;
            }
            Err(_) if was_right => {}
            Err(_) => limits.give_back(&guess).await?,
        }
        found
    }
}

impl<'a, L: VisitorLimit> FromRequest<'a> for Visitor<L> {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let (origin, charge) = (origin_of(request), Charge::of(request)?);
        // Who is refused pays too, as any visitor where the operation would charge a limit of its own.
        let refused = refuse_query(request);
        let limit = L::limit(charge.limits(), origin.ip);
        let limit = limit.or_else(|| refused.is_err().then(|| charge.limits().anonymous(origin.ip)));
        charge.take(limit.as_slice()).await?;
        refused?;
        Ok(Self { origin, charge, limit: PhantomData })
    }
}
