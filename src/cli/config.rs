//! `bizcenter config`: prints the reference of all settings, or the settings that are in force.
use super::print;
use crate::config::{EffectiveSetting, Loaded, reference};

pub(super) fn print_default() -> anyhow::Result<()> {
    print(&reference())
}

pub(super) fn print_effective(loaded: &Loaded) -> anyhow::Result<()> {
    print(&table(&loaded.settings))
}

/// One line for each setting, as in `server.port = 8000    # from PORT`.
fn table(settings: &[EffectiveSetting]) -> String {
    let assignments: Vec<String> = settings.iter().map(assignment).collect();
    let width = assignments.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let line = |(setting, assignment): (&EffectiveSetting, &String)| match &setting.origin {
        Some(origin) => format!("{assignment:width$}  # from {origin}\n"),
        None => format!("{assignment}\n"),
    };
    settings.iter().zip(&assignments).map(line).collect()
}

fn assignment(setting: &EffectiveSetting) -> String {
    match &setting.value {
        Some(value) => format!("{} = {value}", setting.path),
        None => format!("{} is not set", setting.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_listed_with_their_origins() {
        let setting = |path, value: Option<&str>, origin: Option<&str>| EffectiveSetting {
            path,
            value: value.map(str::to_owned),
            origin: origin.map(str::to_owned),
        };
        let settings = [
            setting("server.port", Some("8000"), Some("PORT")),
            setting("auth.jwt_secret", Some("***"), Some("JWT_SECRET")),
            setting("database.ca_file", None, None),
        ];
        assert_eq!(
            table(&settings),
            "server.port = 8000           # from PORT\n\
             auth.jwt_secret = ***        # from JWT_SECRET\n\
             database.ca_file is not set\n"
        );
    }
}
