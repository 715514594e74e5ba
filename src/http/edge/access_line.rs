//! One line in the log for each request, whatever became of it.
use super::Asked;
use poem::http::StatusCode;
use tokio::time::Instant;

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
            http.path = path,
            http.status = self.status.map_or(499, |status| status.as_u16()),
            milliseconds = (self.seconds() * 1000.0).round(),
            request.id = id,
            client.ip = client.map(|client| tracing::field::display(client.0)),
            "Answered"
        );
    }
}
