//! The log of the server. Each event is one line on standard error.
//!
//! Each request has an access line. No request must wait until somebody reads that line, so a separate thread writes it.
//! All other lines are written by the thread that logs them, which waits if nobody reads the log.
mod background;

use crate::config::{LogConfig, LogFormat};
use crate::db::audit_chain::HEADS;
use crate::server::edge::ACCESS_LINES;
use background::Background;
use std::io::{self, IsTerminal, stderr};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

/// The level applies to this program only, because the debug log of a database driver has every value in it, also
/// hashes of passwords. The heads of audit chains are logged at any level: without them nobody could prove that the end
/// of a chain was cut off.
fn filter(level: &str) -> EnvFilter {
    let is_for_part = level.split(',').next().is_some_and(|first| first.contains('='));
    let ours = if is_for_part { "" } else { "bizcenter=" };
    EnvFilter::new(format!("warn,{HEADS}=info,{ours}{level}"))
}

/// Starts to log. Unless the settings say otherwise, a line is text in development and JSON elsewhere. The access lines
/// that wait are written when the returned value is dropped. Fails if the system refuses a new thread.
pub fn start(config: &LogConfig) -> io::Result<Background> {
    let (writer, background) = Background::start(stderr())?;
    let writer = writer.with_filter(|event| event.target() == ACCESS_LINES).or_else(stderr);
    let is_terminal = stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter(&config.level)).with_writer(writer).with_ansi(is_terminal);
    match config.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(background)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::test_log::TestLog;

    #[test]
    fn heads_are_logged_at_any_level_unless_they_are_turned_off_themselves() {
        let told = |level: &str| {
            let (log, _until_here) = TestLog::start(filter(level));
            tracing::info!(target: HEADS, "a head");
            tracing::info!(target: "bizcenter::db", "something");
            (log.text().contains("a head"), log.text().contains("something"))
        };
        assert_eq!(told("info"), (true, true));
        for level in ["warn", "error", "off", "info,bizcenter::db=warn"] {
            assert_eq!(told(level), (true, false), "{level}");
        }
        assert_eq!(told(&format!("warn,{HEADS}=off")), (false, false));
        assert_eq!(told("bizcenter::db=debug"), (true, true), "of one part alone");
        assert_eq!(told("bizcenter::server=debug"), (true, false));
    }
}
