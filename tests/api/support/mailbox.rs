//! A mail server that keeps the mails that it receives. It knows enough of SMTP (RFC 5321) for tests to read what was
//! sent. One test uses a real mail server instead.
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A mail that arrived.
#[derive(Debug, Clone)]
pub struct Letter {
    pub to: String,
    /// Decoded, as the subject and the text are.
    pub from: String,
    pub subject: String,
    pub id: String,
    pub text: String,
    /// The lines of the mail, not decoded.
    pub lines: Vec<String>,
}

impl Letter {
    /// The first token with this prefix in the text, such as `bcr_…`.
    pub fn token(&self, prefix: &str) -> String {
        let is_token = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let start = self.text.find(prefix).unwrap_or_else(|| panic!("no {prefix} in {}", self.text));
        self.text[start..].chars().take_while(|c| is_token(*c)).collect()
    }
}

/// The mails that have arrived so far.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<Vec<Letter>>>);

impl Mailbox {
    /// Starts a server. Returns its URL as well.
    pub async fn start() -> (Self, String) {
        Self::start_with(b"250-test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n").await
    }

    /// Like [`Self::start`], but with this answer to `EHLO`.
    pub async fn start_with(greeting: &'static [u8]) -> (Self, String) {
        let (mailbox, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let kept = mailbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move { kept.serve(stream, greeting).await });
            }
        });
        (mailbox, url)
    }

    pub fn to(&self, address: &str) -> Vec<Letter> {
        self.0.lock().unwrap().iter().filter(|letter| letter.to == address).cloned().collect()
    }

    async fn serve(&self, stream: TcpStream, greeting: &[u8]) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 test\r\n").await.ok()?;
        let mut to = String::new();
        while let Some(line) = lines.next_line().await.ok()? {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let reply: &[u8] = match verb.as_str() {
                "EHLO" => greeting,
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    b"250 OK\r\n"
                }
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await.ok()?;
                    let mut data = vec![];
                    while let Some(line) = lines.next_line().await.ok()?.filter(|line| line != ".") {
                        data.push(line.strip_prefix('.').map_or(line.clone(), str::to_owned)); // RFC 5321, 4.5.2
                    }
                    let arrived = letter(&to, &data); // before the lock, because it panics on a mail that it can't read
                    self.0.lock().unwrap().push(arrived);
                    b"250 kept\r\n"
                }
                "QUIT" => b"221 bye\r\n",
                _ => b"250 OK\r\n",
            };
            write.write_all(reply).await.ok()?;
        }
        Some(())
    }
}

fn letter(to: &str, data: &[String]) -> Letter {
    let (head, body) = data.split_at(data.iter().position(String::is_empty).unwrap_or(data.len()));
    let unfolded = head.join("\r\n").replace("\r\n ", " ").replace("\r\n\t", " ");
    let header = |name: &str| {
        let line = unfolded.lines().find_map(|line| line.strip_prefix(name));
        decoded(line.unwrap_or_default().trim())
    };
    let text = body.join("\n");
    let text = match header("Content-Transfer-Encoding:").as_str() {
        "quoted-printable" => unquoted(&text),
        "base64" => from_base64(&text.replace('\n', "")).replace("\r\n", "\n"),
        _ => text,
    };
    let [from, subject, id] = ["From:", "Subject:", "Message-ID:"].map(header);
    Letter { to: to.to_owned(), from, subject, id, text, lines: data.to_vec() }
}

/// Decodes base64 to text. It must be whole characters, because an encoded word may not split one (RFC 2047, 5).
fn from_base64(text: &str) -> String {
    String::from_utf8(BASE64.decode(text).unwrap()).unwrap()
}

/// A header with its encoded words decoded (RFC 2047). Blanks between two encoded words are dropped.
fn decoded(header: &str) -> String {
    let mut text = String::new();
    let (mut rest, mut is_after_word) = (header, false);
    while let Some((before, word)) = rest.split_once("=?utf-8?b?") {
        if !(is_after_word && before.trim().is_empty()) {
            text.push_str(before);
        }
        let (word, after) = word.split_once("?=").unwrap();
        text.push_str(&from_base64(word));
        (rest, is_after_word) = (after, true);
    }
    text + rest
}

/// Decodes quoted-printable text (RFC 2045, 6.7).
fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, escaped) {
            (b'=', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
