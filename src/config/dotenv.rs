//! Reads `.env`: `NAME=value` lines, comments, `export`, quotes. Nothing is substituted, so that a `$` in a password
//! stays a `$`.

/// One variable, or the number (from 1) of a line that is none.
pub type Line = Result<(String, String), usize>;

/// The variables of a `.env` file, in its order.
pub fn parse(text: &str) -> Vec<Line> {
    let numbered = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
    let meaningful = numbered.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    meaningful.map(|(line, number)| variable(line).ok_or(number)).collect()
}

fn variable(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(())?;
    Some((name.to_owned(), unquoted(value.trim())?))
}

/// The value without its quotes or, where it has none, without the comment after it.
fn unquoted(value: &str) -> Option<String> {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (inside, after) = value[1..].split_once(quote)?;
            let after = after.trim();
            (after.is_empty() || after.starts_with('#')).then(|| inside.to_owned())
        }
        Some('#') => Some(String::new()),
        _ => Some(value.split(" #").next().unwrap_or(value).trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> String {
        let mut lines = parse(line);
        assert_eq!(lines.len(), 1, "{line}");
        lines.remove(0).unwrap().1
    }

    #[test]
    fn values_are_as_written() {
        assert_eq!(value("A=b"), "b");
        assert_eq!(value("export A = b "), "b");
        assert_eq!(value("A=b # comment"), "b");
        assert_eq!(value("A= # comment"), "");
        assert_eq!(value("A=b#c$d=e"), "b#c$d=e");
        assert_eq!(value("A='b # c' # d"), "b # c");
        assert_eq!(value("A=\"it's\""), "it's");
        assert_eq!(value("A="), "");
    }

    #[test]
    fn lines_that_are_no_variable_are_numbered() {
        assert_eq!(
            parse("# c\n\nA=1\noops\n=x\nB='open\nC='a'b"),
            [Ok(("A".to_owned(), "1".to_owned())), Err(4), Err(5), Err(6), Err(7)]
        );
    }
}
