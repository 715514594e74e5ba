//! The first argument of every public operation below `/api/`: a visitor without sign-in, after the visitor's limit was
//! charged.
use crate::api::guard::refuse_query;
use crate::auth::authenticator::{Authenticator, origin_of};
use crate::auth::charge::Charge;
use crate::auth::limits::{Limit, Limits};
use crate::db::Origin;
use poem::{FromRequest, Request, RequestBody};
use std::marker::PhantomData;
use std::net::IpAddr;

/// The limit that a public operation charges.
pub trait VisitorLimit: Send + Sync + 'static {
    /// `None` if the operation charges a limit itself, because only it knows the key to charge.
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
    /// A refresh is charged to its session.
    Refresh: |_, _| None,
    /// A request with a password is charged as a sign-in, and one with a refresh token as a refresh.
    Token: |_, _| None,
    /// A request with an access token is charged to its user, and one with a refresh token as a refresh.
    SignOut: |_, _| None,
    /// A feed has a limit of its own, and a wrong secret is charged to the address.
    Feed: |_, _| None,
}

/// The origin of a public request, and the means to charge limits for it.
pub struct Visitor<L> {
    pub origin: Origin,
    pub charge: Charge,
    limit: PhantomData<fn() -> L>,
}

impl<'a, L: VisitorLimit> FromRequest<'a> for Visitor<L> {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let (origin, charge) = (origin_of(request), Authenticator::of(request)?.charge(request));
        // A refused request is charged too. If the operation would charge a limit itself, the limit of anonymous
        // visitors is charged instead.
        let refused = refuse_query(request);
        let limit = L::limit(charge.limits(), origin.ip);
        let limit = limit.or_else(|| refused.is_err().then(|| charge.limits().anonymous(origin.ip)));
        charge.take(limit.as_slice()).await?;
        refused?;
        Ok(Self { origin, charge, limit: PhantomData })
    }
}
