//! The data that a request carries from the edge to its operation and back: the client's address, the request's id, and
//! the state of its limits.
use poem::Request;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderValue};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The client's address, by which limits count and which the audit log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// The scheme that the client uses: `https` if a trusted proxy says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedScheme(pub Scheme);

impl ForwardedScheme {
    pub fn is_https(&self) -> bool {
        self.0 == Scheme::HTTPS
    }
}

/// The id of a request, which is in its answer and in the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// The media type of an HTML form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A media type without its parameters.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether the `Content-Type` says that the body is a form.
pub fn is_form(request: &Request) -> bool {
    request.content_type().is_some_and(|content_type| essence(content_type) == FORM)
}

/// The parameters, with their values, that a form may omit if it is sent to an old path. Such a request carries this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormDefaults(pub &'static [(&'static str, &'static str)]);

/// The state of a limit after a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub policy: &'static str,
    pub quota: u32,
    pub window: Duration,
    pub remaining: u32,
    /// The time until the whole quota is available again.
    pub reset: Duration,
    /// How long the client has to wait, if the request is refused.
    pub wait: Option<Duration>,
}

/// The limits against which a request was counted. Each charge adds its limits, and the guard writes them into the
/// answer as `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Default)]
pub struct LimitReport(Arc<Mutex<Vec<Taken>>>);

impl LimitReport {
    pub fn of(request: &Request) -> Self {
        request.data::<Self>().cloned().unwrap_or_default()
    }

    pub fn add(&self, taken: &[Taken]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(taken);
    }

    pub fn write(&self, headers: &mut HeaderMap) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_empty() {
            return;
        }
        let list = |print: fn(&Taken) -> String| taken.iter().map(print).collect::<Vec<_>>().join(", ");
        let policy = list(|taken| format!("\"{}\";q={};w={}", taken.policy, taken.quota, taken.window.as_secs()));
        let now = list(|taken| {
            let seconds = taken.reset.as_millis().div_ceil(1000);
            format!("\"{}\";r={};t={seconds}", taken.policy, taken.remaining)
        });
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", now)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_as_structured_fields() {
        let taken = |policy, remaining, millis| Taken {
            policy,
            quota: 60,
            window: Duration::from_secs(60),
            remaining,
            reset: Duration::from_millis(millis),
            wait: None,
        };
        let report = LimitReport::default();
        let mut headers = HeaderMap::new();
        report.write(&mut headers);
        assert!(headers.is_empty());
        report.add(&[taken("user", 59, 1000), taken("writes", 0, 59_001)]);
        report.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"user\";q=60;w=60, \"writes\";q=60;w=60");
        assert_eq!(headers["ratelimit"], "\"user\";r=59;t=1, \"writes\";r=0;t=60");
    }
}
