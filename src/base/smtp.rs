//! Reads the settings of mail without connecting to the mail server.
use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, Tokio1Executor};

/// Reads the URL of a mail server. The check of the settings uses it too.
pub fn transport(url: &str) -> Result<AsyncSmtpTransportBuilder, lettre::transport::smtp::Error> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
}

/// Reads a sender: an address, with or without a name before it, such as `BizCenter <no-reply@example.com>`. The check
/// of the settings uses it too. The name may be in quotation marks where RFC 5322 requires them, or be written without
/// them: `Acme, Inc. <a@b.example>`.
pub fn sender(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    if text.contains(char::is_control) {
        return None;
    }
    if let Ok(mailbox) = text.parse() {
        return Some(mailbox);
    }
    let (name, address) = text.strip_suffix('>')?.rsplit_once('<')?;
    let name = name.trim();
    let is_plain = !name.is_empty() && !name.contains(['"', '<', '>', '\\']);
    let address = address.trim().parse().ok().filter(|_| is_plain)?;
    Some(Mailbox::new(Some(name.to_owned()), address))
}
