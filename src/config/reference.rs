//! The reference of all settings, which `bizcenter config default` prints. `default.toml` has the same content, for
//! people who read it without the program.
use super::declare::Setting;
use super::names::SETTINGS;

const WIDTH: usize = 120;

const PREFACE: &str = "\
# BizCenter's settings: every one there is, with its default. This file is printed from the declarations in the code, from which
# the server starts; `bizcenter config default` prints it, `bizcenter config check` shows what is in force and from where.
#
# Later sources win: these defaults, bizcenter.toml (or --config FILE), .env (development only), the environment.
# In the environment a setting is named BIZCENTER_<SECTION>__<KEY>, as in BIZCENTER_DATABASE__POOL_SIZE=20; where
# \"Also\" is said below, shorter names work too. An empty variable counts as not set. One whose value is in quotation marks is
# refused: shells take these away, docker's --env-file leaves them in the value.
# With `_file` (or `_FILE`) after its name, a setting's value is read from that file: auth.jwt_secret_file = \"/run/...\",
# JWT_SECRET_FILE=/run/... Setting both is refused. A line that starts with `#` and a name has no fixed default.
";

/// All settings in TOML, each with its text and its default.
pub fn reference() -> String {
    let mut reference = PREFACE.to_owned();
    let mut last_section = "";
    for setting in SETTINGS.iter() {
        let (section, key) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if section != last_section {
            reference += &format!("\n[{section}]\n");
        } else if !setting.text.is_empty() {
            reference += "\n";
        }
        reference += &comment(setting);
        reference += &line(setting, key);
        last_section = section;
    }
    reference
}

/// The line of a setting with its default. A setting without a fixed default is commented out and shows its default in
/// development or an example.
fn line(setting: &Setting, key: &str) -> String {
    match (setting.fixed_default(), &setting.in_development, &setting.example) {
        (Some(value), _, _) => format!("{key} = {value}\n"),
        (None, Some(value), _) => format!("#{key} = {value}\n"),
        (None, None, example) => format!("#{key} = {}\n", example.as_deref().unwrap_or_default()),
    }
}

/// The setting's text with its placeholders filled in, broken into lines. It is empty for a setting that shares the
/// text above it.
fn comment(setting: &Setting) -> String {
    if setting.text.is_empty() {
        return String::new();
    }
    let lines: Vec<&str> = setting.text.iter().map(|line| line.trim()).collect();
    let mut text = lines.join("\n");
    if !setting.names.is_empty() && !text.contains("{names}") {
        text += " Also: {names}.";
    }
    if let Some(range) = &setting.range {
        text = text.replace("{range}", &format!("{} to {}", range.start(), range.end()));
    }
    if let (Some(development), Some(elsewhere)) = (&setting.in_development, &setting.elsewhere) {
        let default = format!("{} in development, {} otherwise", development.in_words(), elsewhere.in_words());
        text = text.replace("{default}", &default);
    }
    text.replace("{names}", &setting.names.join(", ")).split("\n\n").map(paragraph).collect()
}

/// Breaks a paragraph into lines of a comment. Code in backticks stays on one line, so that it can be copied.
fn paragraph(text: &str) -> String {
    let mut words: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(code) if code.matches('`').count() % 2 == 1 => *code += &format!(" {word}"),
            _ => words.push(word.to_owned()),
        }
    }
    let mut lines = vec!["#".to_owned()];
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_broken_into_lines_but_code_is_not() {
        let code = "`openssl genpkey -algorithm ed25519`";
        let [before, after] = ["word ".repeat(20), "word ".repeat(30)];
        let comment = paragraph(&format!("{before}{code} {after}"));
        assert!(comment.contains(code) && comment.ends_with(" word\n"), "{comment}");
        assert!(comment.lines().count() >= 3, "{comment}");
        for line in comment.lines() {
            assert!(line.starts_with("# word") || line.starts_with("# `openssl"), "{line}");
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
