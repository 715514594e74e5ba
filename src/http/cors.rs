//! Which web pages of other origins may read our answers. poem's `Cors` reflects any origin, with credentials, when it
//! has no list, and panics at an origin that is not ASCII.
use poem::http::{HeaderMap, HeaderValue, header};

/// The origins whose pages may call us from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// CORS is off: browsers keep every other origin out.
    None,
    /// Every page, but without cookies. For development.
    Any,
    /// Exactly these, as a browser writes them: `https://app.example.com`.
    List(Vec<String>),
}

const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-API-Key, X-Request-Id, Accept, Range, \
     Last-Event-ID",
);
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "ETag, Location, X-Request-Id, RateLimit, RateLimit-Policy, Retry-After, Idempotency-Replayed",
);
/// As long as browsers may remember a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

impl Origins {
    /// Lets the page read the answer. A foreign origin gets nothing, and its browser keeps the answer from it.
    pub fn expose(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if *self != Self::None {
            answer.append(header::VARY, HeaderValue::from_static("Origin")); // or a cache mixes up the origins
        }
        if self.admit(origin, answer) {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
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
