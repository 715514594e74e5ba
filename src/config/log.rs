//! `[log]`: how much is logged, and in which form.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{Choice, NonEmptyText, ValueType};
use std::str::FromStr;

settings! {
    /// `[log]`: how much is logged, and in which form.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LogConfig {
        /// off, error, warn, info, debug or trace; for parts of the program add target=level: "info,bizcenter::db=debug".
        /// The heads of audit chains are logged at any level ("warn,bizcenter::audit_heads=off" turns them off).
        pub level: String = setting("log.level", Filter).named(&["LOG_LEVEL"]).default("info"),

        /// text (for people) or json (for machines): {default}.
        pub format: LogFormat = setting("log.format", Choice)
            .default_in_development("text")
            .default_elsewhere("json"),
    }
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

/// A filter in the syntax of tracing's `EnvFilter`. `EnvFilter` takes a misspelt level for the name of a target, and
/// the server would log nothing. Therefore levels are checked here.
struct Filter;

impl ValueType<String> for Filter {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<String> {
        let filter: String = NonEmptyText.read(reader, path)?;
        // Filters on spans have commas and equal signs of their own. They are not checked here, but left to
        // `EnvFilter`.
        let wrong = if filter.contains('[') { None } else { filter.split(',').find(|directive| !is_sound(directive)) };
        match wrong {
            None => Ok(filter),
            Some(wrong) => {
                let message = format!("{wrong:?} must be off, error, warn, info, debug or trace, or target=level");
                Err(reader.report(path, message))
            }
        }
    }
}

fn is_sound(directive: &str) -> bool {
    let level = directive.rsplit('=').next().unwrap_or(directive).trim().to_ascii_lowercase();
    matches!(level.as_str(), "off" | "error" | "warn" | "info" | "debug" | "trace")
}
