//! A mail server that keeps what it is handed: enough of SMTP (RFC 5321) for tests to read what was sent. One test talks to
//! a real one.
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A mail that arrived.
#[derive(Debug, Clone)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub id: String,
    /// The text, decoded.
    pub text: String,
}

impl Letter {
    /// The token of one of our kinds in it: `bcr_…`.
    pub fn token(&self, prefix: &str) -> String {
        let is_token = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let start = self.text.find(prefix).unwrap_or_else(|| panic!("no {prefix} in {}", self.text));
        self.text[start..].chars().take_while(|c| is_token(*c)).collect()
    }
}

/// What arrived so far.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<Vec<Letter>>>);

impl Mailbox {
    /// Starts to listen, and says where.
    pub async fn start() -> (Self, String) {
        let (mailbox, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let kept = mailbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move { kept.serve(stream).await });
            }
        });
        (mailbox, url)
    }

    pub fn to(&self, address: &str) -> Vec<Letter> {
        self.0.lock().unwrap().iter().filter(|letter| letter.to == address).cloned().collect()
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 test\r\n").await.ok()?;
        let mut to = String::new();
        while let Some(line) = lines.next_line().await.ok()? {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let reply: &[u8] = match verb.as_str() {
                "EHLO" => b"250-test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    b"250 OK\r\n"
                }
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await.ok()?;
                    let mut data = vec![];
                    while let Some(line) = lines.next_line().await.ok()?.filter(|line| line != ".") {
                        data.push(line);
                    }
                    self.0.lock().unwrap().push(letter(&to, &data));
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
    let header = |name: &str| {
        let line = head.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let is_encoded = |how: &str| {
        let line = format!("content-transfer-encoding: {how}");
        head.iter().any(|header| header.eq_ignore_ascii_case(&line))
    };
    let text = if is_encoded("quoted-printable") {
        unquoted(&body.join("\n"))
    } else if is_encoded("base64") {
        String::from_utf8(BASE64.decode(body.concat()).unwrap()).unwrap().replace("\r\n", "\n")
    } else {
        body.join("\n")
    };
    Letter { to: to.to_owned(), subject: header("Subject:"), id: header("Message-ID:"), text }
}

/// Quoted-printable (RFC 2045, 6.7), read back.
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
