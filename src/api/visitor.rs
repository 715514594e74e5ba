//! The first argument of every public operation below `/api/`: somebody who has not signed in, within their limit.
use crate::api::guard::refuse_query;
use crate::auth::authenticator::{Authenticator, origin_of};
use crate::auth::charge::Charge;
use crate::auth::limits::{Limit, Limits};
use crate::db::Origin;
use poem::{FromRequest, Request, RequestBody};
use std::marker::PhantomData;
use std::net::IpAddr;

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

impl<'a, L: VisitorLimit> FromRequest<'a> for Visitor<L> {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let (origin, charge) = (origin_of(request), Authenticator::of(request)?.charge(request));
        // A refused caller pays too, as any visitor where the operation would charge a limit of its own.
        let refused = refuse_query(request);
        let limit = L::limit(charge.limits(), origin.ip);
        let limit = limit.or_else(|| refused.is_err().then(|| charge.limits().anonymous(origin.ip)));
        charge.take(limit.as_slice()).await?;
        refused?;
        Ok(Self { origin, charge, limit: PhantomData })
    }
}
