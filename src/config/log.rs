//! `[log]`: how much is logged, and in which form.
use super::reader::{Read, Reader};
use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter in the syntax of tracing's `EnvFilter`: `info,bizcenter::db=debug`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let level = level(reader);
        let format = reader.parsed("log.format");
        Ok(Self { level: level?, format: format? })
    }
}

/// `EnvFilter` takes a misspelt level for the name of a target and goes silent: so levels are checked here.
fn level(reader: &mut Reader) -> Read<String> {
    let filter = reader.word("log.level")?;
    // Filters on spans have commas and equal signs of their own: those are left to `EnvFilter`.
    let wrong = if filter.contains('[') { None } else { filter.split(',').find(|directive| !is_sound(directive)) };
    match wrong {
        None => Ok(filter),
        Some(wrong) => {
            let message = format!("{wrong:?} must be off, error, warn, info, debug or trace, or target=level");
            Err(reader.report("log.level", message))
        }
    }
}

fn is_sound(directive: &str) -> bool {
    let level = directive.rsplit('=').next().unwrap_or(directive).trim().to_ascii_lowercase();
    matches!(level.as_str(), "off" | "error" | "warn" | "info" | "debug" | "trace")
}
