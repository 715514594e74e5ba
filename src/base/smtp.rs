//! Reads the settings of mail, before anything is connected to.
use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, Tokio1Executor};

/// Reads the URL of a mail server. The settings are checked by it too.
pub fn transport(url: &str) -> Result<AsyncSmtpTransportBuilder, lettre::transport::smtp::Error> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
}

/// Reads a sender, an address with or without a name before it: `BizCenter <no-reply@example.com>`. The settings are checked by it
/// too. The name may be written as RFC 5322 has it, in quotes where it needs them, or simply as it is: `Acme, Inc. <a@b.example>`.
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
