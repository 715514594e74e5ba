//! One line in the log for each request, whatever became of it.
use super::Asked;
use poem::http::StatusCode;
use tokio::time::Instant;

/// The path as the log may have it: the name of a calendar feed is its secret.
fn without_secret(path: &str) -> &str {
    const FEEDS: &str = "/calendar/";
    if path.starts_with(FEEDS) { FEEDS } else { path }
}

pub struct AccessLine<'a> {
    asked: &'a Asked,
    began: Instant,
    status: Option<StatusCode>,
}

impl<'a> AccessLine<'a> {
    pub fn begin(asked: &'a Asked) -> Self {
        Self { asked, began: Instant::now(), status: None }
    }

    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

/// On drop, so that requests whose client went away have their line too; their status is nginx's 499.
impl Drop for AccessLine<'_> {
    fn drop(&mut self) {
        let Asked { id, client, method, path, .. } = self.asked;
        tracing::info!(
            http.method = %method,
            http.path = without_secret(path),
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
    use super::without_secret;

    #[test]
    fn the_secret_of_a_feed_is_not_logged() {
        assert_eq!(without_secret("/calendar/bcf_AZk8.ics"), "/calendar/");
        assert_eq!(without_secret("/calendar/%62cf_AZk8.ics/more"), "/calendar/");
        for path in ["/api/v1/meetings/5/calendar", "/calendar", "/"] {
            assert_eq!(without_secret(path), path);
        }
    }
}
