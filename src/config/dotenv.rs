//! Reads `.env`: lines of `NAME=value`, comments, `export`, and values in quotes, which may span several lines. Nothing
//! is substituted, so that a `$` in a password stays a `$`.

/// One variable, or the number (from 1) of a line that is not a variable.
pub type Line = Result<(String, String), usize>;

/// The variables of a `.env` file, in its order.
pub fn parse(text: &str) -> Vec<Line> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut at) = (vec![], 0);
    while let Some((line, more)) = lines.get(at..).and_then(<[&str]>::split_first) {
        at += 1;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match variable(line, more) {
            Some((variable, used)) => {
                found.push(Ok(variable));
                at += used;
            }
            // The next line is parsed by itself, so that a missing quote does not hide what follows.
            None => found.push(Err(at)),
        }
    }
    found
}

/// The variable that begins on this line, and how many of the lines after it belong to it.
fn variable(line: &str, more: &[&str]) -> Option<((String, String), usize)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(())?;
    let (value, used) = unquoted(value.trim_start(), more)?;
    Some(((name.to_owned(), value), used))
}

/// The value without its quotes. If it has no quotes, a comment after it is removed.
fn unquoted(value: &str, more: &[&str]) -> Option<(String, usize)> {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(quote, &value[1..], more),
        Some('#') => Some((String::new(), 0)),
        _ => Some((value.split(" #").next().unwrap_or(value).trim_end().to_owned(), 0)),
    }
}

/// The value up to the closing quote, on this line or on one of those after it.
fn quoted(quote: char, first: &str, more: &[&str]) -> Option<(String, usize)> {
    let mut value = String::new();
    for (used, line) in std::iter::once(&first).chain(more).enumerate() {
        if let Some((end, after)) = line.split_once(quote) {
            let after = after.trim();
            value.push_str(end);
            return (after.is_empty() || after.starts_with('#')).then_some((value, used));
        }
        value.push_str(line);
        value.push('\n');
    }
    None
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
    fn a_value_in_quotes_may_have_several_lines() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n\n# no comment\n-----END PRIVATE KEY-----";
        for (before, quote, after) in
            [("KEY=", '"', ""), ("export KEY = ", '\'', " # a comment"), ("  KEY=", '"', "  ")]
        {
            let text = format!("A=1\n{before}{quote}{pem}{quote}{after}\nB='2'\n");
            let of = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
            assert_eq!(parse(&text), [of("A", "1"), of("KEY", pem), of("B", "2")]);
            assert_eq!(parse(&text.replace('\n', "\r\n")), [of("A", "1"), of("KEY", pem), of("B", "2")]);
        }
        assert_eq!(value("KEY='\n  a \n'"), "\n  a \n");
    }

    #[test]
    fn lines_that_are_no_variable_are_numbered() {
        assert_eq!(
            parse("# c\n\nA=1\noops\n=x\nB='open\nC='a'b"),
            [Ok(("A".to_owned(), "1".to_owned())), Err(4), Err(5), Err(6), Err(7)]
        );
    }
}
