//! Captures the log for tests that check what was logged.
use std::io::{Result, Write};
use std::sync::{Arc, Mutex};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

/// A log that is kept in memory.
#[derive(Clone, Default)]
pub struct TestLog(Arc<Mutex<Vec<u8>>>);

impl TestLog {
    /// Captures what this thread logs until the guard is dropped.
    pub fn start(filter: EnvFilter) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for TestLog {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
