//! Writes one line in the log for each request, whatever its result.
use super::RequestMeta;
use crate::base::opaque::holds_token;
use percent_encoding::percent_decode_str;
use poem::http::StatusCode;
use std::borrow::Cow;
use tokio::time::Instant;

/// The target of the access lines in the log.
pub const ACCESS_LINES: &str = module_path!();

/// The path without its secrets, for the log. The name of a calendar feed is a secret, and so nothing after
/// `/calendar/` is logged. In other paths, each segment with a token becomes `***`. This also hides the name of a feed
/// that somebody has appended to another path.
fn without_secrets(path: &str) -> Cow<'_, str> {
    const FEEDS: &str = "/calendar/";
    if path.starts_with(FEEDS) {
        return FEEDS.into();
    }
    let is_secret = |segment: &str| holds_token(&percent_decode_str(segment).decode_utf8_lossy());
    if !path.split('/').any(is_secret) {
        return path.into();
    }
    let shown = |segment| if is_secret(segment) { "***" } else { segment };
    path.split('/').map(shown).collect::<Vec<_>>().join("/").into()
}

pub struct AccessLine<'a> {
    meta: &'a RequestMeta,
    began: Instant,
    status: Option<StatusCode>,
}

impl<'a> AccessLine<'a> {
    pub fn begin(meta: &'a RequestMeta) -> Self {
        Self { meta, began: Instant::now(), status: None }
    }

    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

/// Writes the line on drop, so that there is also a line for a request that its client has cancelled. The status is
/// then 499, as in nginx.
impl Drop for AccessLine<'_> {
    fn drop(&mut self) {
        let RequestMeta { id, client, method, path, .. } = self.meta;
        tracing::info!(
            http.method = %method,
            http.path = &*without_secrets(path),
            http.status = self.status.map_or(499, |status| status.as_u16()),
            milliseconds = (self.seconds() * 1000.0).round(),
            request.id = id,
            client.ip = client.map(|client| tracing::field::display(client.0)),
            "Answered"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn secrets_are_not_logged() {
        assert_eq!(without_secrets("/calendar/bcf_AZk8.ics"), "/calendar/");
        assert_eq!(without_secrets("/calendar/%62cf_AZk8.ics/more"), "/calendar/");
        assert_eq!(without_secrets("/api/v1/calendar/bcf_AZk8.ics"), "/api/v1/calendar/***");
        assert_eq!(without_secrets("//calendar/%62cf%5FAZk8.ics"), "//calendar/***");
        assert_eq!(without_secrets("/api/v1/invitations/xbci_AZk8/y"), "/api/v1/invitations/***/y");
        assert_eq!(without_secrets("/reset/bcp_a"), "/reset/***");
        for path in ["/api/v1/meetings/5/calendar", "/calendar", "/", "/a%ff", "/abc_d"] {
            assert_eq!(without_secrets(path), path);
        }
    }
}
