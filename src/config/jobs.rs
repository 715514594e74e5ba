//! `[jobs]`: what is done apart from requests.
use super::declare::{setting, settings};
use super::types::{Flag, milliseconds};
use std::time::Duration;

settings! {
    /// `[jobs]`: what is done apart from requests. Tests work off their jobs when they want them done.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct JobsConfig {
        /// Whether this server works off jobs (mail, sealing, pruning).
        pub enabled: bool = setting("jobs.enabled", Flag).default(true).in_tests(false),

        /// After how many milliseconds it looks for jobs again ({range}).
        pub poll: Duration = setting("jobs.poll_ms", milliseconds(50..=60_000)).default(1000).in_tests(50),
    }
}
