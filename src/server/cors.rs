//! Which web pages of other origins may read our answers. poem's `Cors` reflects any origin, with credentials, when it
//! has no list, and panics at an origin that is not ASCII.
use crate::base::origins::Origins;
use poem::http::{HeaderMap, HeaderValue, header};
use std::collections::BTreeSet;

const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-API-Key, X-Request-Id, Accept, Range, \
     Last-Event-ID",
);
/// The headers that answers get whatever operation they are of, so that the contract tells of them in words and declares them with
/// none.
const OF_EVERY_ANSWER: [&str; 6] =
    ["X-Request-Id", "X-Process-Time", "RateLimit", "RateLimit-Policy", "Deprecation", "Link"];
/// As long as browsers may remember a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The headers that a page may read, of those that the contract declares: all but the cookies, which no page may.
pub fn exposed_headers<'a>(declared: impl IntoIterator<Item = &'a str>) -> HeaderValue {
    let readable = declared.into_iter().filter(|name| !name.eq_ignore_ascii_case(header::SET_COOKIE.as_str()));
    let names: BTreeSet<&str> = readable.chain(OF_EVERY_ANSWER).collect();
    let list = names.into_iter().collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).unwrap_or_else(|_| HeaderValue::from_static("")) // names of headers are ASCII
}

impl Origins {
    /// Lets the page read the answer, and these headers of it. A foreign origin gets nothing, and its browser keeps the answer
    /// from it.
    pub fn expose(&self, origin: Option<&HeaderValue>, headers: &HeaderValue, answer: &mut HeaderMap) {
        if *self != Self::None {
            answer.append(header::VARY, HeaderValue::from_static("Origin")); // or a cache mixes up the origins
        }
        if self.admit(origin, answer) {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, headers.clone());
        }
    }

    /// The browser's question before a request that a plain form could not make. `methods` are those of the path.
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

    /// What `Access-Control-Allow-Origin` is to say. Compared as bytes: an `Origin` need not be text.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let origin = origin?;
        match self {
            Self::None => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::List(list) => list.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        }
    }
}
