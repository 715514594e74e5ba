//! CORS: which web pages of other origins may read our answers. We don't use poem's `Cors`. Without a list it reflects
//! any origin, with credentials, and it panics at an origin that is not ASCII.
use crate::base::origins::Origins;
use poem::http::{HeaderMap, HeaderValue, header};
use std::collections::BTreeSet;

const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-API-Key, X-Request-Id, Accept, Range, \
     If-Range, Last-Event-ID",
);
/// Headers that any operation's answers may have. The contract describes them in its text, and so no operation declares
/// them.
const OF_EVERY_ANSWER: [&str; 6] =
    ["X-Request-Id", "X-Process-Time", "RateLimit", "RateLimit-Policy", "Deprecation", "Link"];
/// How long browsers may remember the answer to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The value of `Access-Control-Expose-Headers`: the headers that every answer has, and those that the contract
/// declares, without cookies, which no page may read.
pub fn exposed_headers<'a>(declared: impl IntoIterator<Item = &'a str>) -> HeaderValue {
    let readable = declared.into_iter().filter(|name| !name.eq_ignore_ascii_case(header::SET_COOKIE.as_str()));
    let names: BTreeSet<&str> = readable.chain(OF_EVERY_ANSWER).collect();
    let list = names.into_iter().collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).unwrap_or_else(|_| HeaderValue::from_static("")) // names of headers are ASCII
}

impl Origins {
    /// Allows a page of an allowed origin to read the answer and these headers. An answer to another origin gets no
    /// such permission, and the browser keeps it from the page.
    pub fn expose(&self, origin: Option<&HeaderValue>, headers: &HeaderValue, answer: &mut HeaderMap) {
        if *self != Self::None {
            // otherwise a cache could mix up the origins
            answer.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if self.admit(origin, answer) {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, headers.clone());
        }
    }

    /// Answers a preflight, which browsers send before a request that a plain form could not make. `methods` are those
    /// of the path.
    pub fn allow_request(&self, origin: Option<&HeaderValue>, methods: &HeaderValue, answer: &mut HeaderMap) {
        if self.allowed(origin).is_some() {
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }

    fn admit(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) -> bool {
        let Some(allowed) = self.allowed(origin) else { return false };
        if matches!(self, Self::List(_)) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        true
    }

    /// The value of `Access-Control-Allow-Origin`, or `None` if the origin is not allowed. Origins are compared as
    /// bytes, because an `Origin` may be invalid UTF-8.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let origin = origin?;
        match self {
            Self::None => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::List(list) => list.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        }
    }
}
