//! `[jobs]`: what is done apart from requests.
use super::reader::{Read, Reader};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobsConfig {
    /// Whether this server works off jobs.
    pub enabled: bool,
    /// How long it rests before it looks for jobs again.
    pub poll: Duration,
}

impl JobsConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let enabled = reader.flag("jobs.enabled");
        let poll = reader.milliseconds("jobs.poll_ms", 50..=60_000);
        Ok(Self { enabled: enabled?, poll: poll? })
    }

    /// Off: a test works off its jobs when it wants them done.
    pub(super) fn for_tests() -> Self {
        Self { enabled: false, poll: Duration::from_millis(50) }
    }
}
