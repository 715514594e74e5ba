//! Asks at the terminal for what the options don't give.
use crate::auth::passwords::MAX_BYTES;
use crate::base::password::Password;
use anyhow::{Context, bail};
use std::io::{self, BufRead, IsTerminal, Write};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

const MIN_PASSWORD: usize = 8;

/// The value of the option, or the text that is typed, in NFC like the texts of requests.
pub fn value(given: Option<String>, option: &str, question: &str) -> anyhow::Result<String> {
    let text = match given {
        Some(text) => text,
        None => ask(option, question)?,
    };
    match text.trim() {
        "" => bail!("{option} must not be empty"),
        text => Ok(text.nfc().collect()),
    }
}

fn ask(option: &str, question: &str) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        bail!("{option} is missing, and there is no terminal to ask at");
    }
    write!(io::stderr(), "{question}: ")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("nothing can be read from the terminal")?;
    Ok(line)
}

/// Whether the answer is yes.
pub fn confirm(option: &str, question: &str) -> anyhow::Result<bool> {
    Ok(ask(option, question)?.trim().eq_ignore_ascii_case("yes"))
}

/// Reads a password: the first line of standard input, or a hidden password that is typed twice.
pub fn password(from_stdin: bool) -> anyhow::Result<Password> {
    let typed = if from_stdin {
        let mut line = Zeroizing::new(String::new());
        io::stdin().lock().read_line(&mut line).context("standard input can't be read")?;
        line
    } else {
        typed_password()?
    };
    let password = Password::new(typed.trim_end_matches(['\r', '\n']));
    let characters = password.exposed().chars().count();
    if characters < MIN_PASSWORD || password.bytes() > MAX_BYTES || password.exposed().contains('\0') {
        bail!("a password has at least {MIN_PASSWORD} characters and at most {MAX_BYTES} bytes");
    }
    Ok(password)
}

fn typed_password() -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        bail!("--password-stdin is missing, and there is no terminal to ask at");
    }
    let ask = |question| {
        let typed = rpassword::prompt_password(question).context("nothing can be read from the terminal");
        typed.map(Zeroizing::new)
    };
    let (first, second) = (ask("Password: ")?, ask("Password again: ")?);
    if first != second {
        bail!("the two passwords differ");
    }
    Ok(first)
}
