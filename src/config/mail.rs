//! `[mail]`: how mail is sent, in whose name, and where its links lead.
use super::reader::{Read, Reader};
use crate::base::smtp;
use secrecy::SecretString;
use std::net::IpAddr;
use url::Url;

#[derive(Debug, Clone)]
pub struct MailConfig {
    /// `smtp://…` or `smtps://…` (TLS from the start), password included; none where no mail is sent.
    pub smtp_url: Option<SecretString>,
    /// The sender: an address, with or without a name before it.
    pub from: String,
    /// The front end whose pages links in mails lead to; no slash at its end.
    pub app_url: Option<String>,
    /// How many mails of one kind an address gets in an hour.
    pub per_recipient_per_hour: u32,
    /// The same for all addresses of one mailbox together that nobody has verified.
    pub per_mailbox_per_hour: u32,
}

impl MailConfig {
    /// Whether mail reaches anybody: only then can an address be verified.
    pub fn is_set_up(&self) -> bool {
        self.smtp_url.is_some()
    }

    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let smtp_url = smtp_url(reader);
        let from = from(reader);
        let app_url = app_url(reader);
        let per_recipient_per_hour = reader.number("mail.per_recipient_per_hour", 1..=1000);
        let per_mailbox_per_hour = reader.number("mail.per_mailbox_per_hour", 1..=1000);
        Ok(Self {
            smtp_url: smtp_url?,
            from: from?,
            app_url: app_url?,
            per_recipient_per_hour: per_recipient_per_hour?,
            per_mailbox_per_hour: per_mailbox_per_hour?,
        })
    }

    pub(super) fn for_tests() -> Self {
        let from = "BizCenter <no-reply@localhost>".to_owned();
        Self { smtp_url: None, from, app_url: None, per_recipient_per_hour: 5, per_mailbox_per_hour: 20 }
    }
}

/// There are tokens in mails, and a password in the URL: outside development neither crosses a network in the clear, nor
/// where somebody in between can say so (`opportunistic`).
fn smtp_url(reader: &mut Reader) -> Read<Option<SecretString>> {
    const PATH: &str = "mail.smtp_url";
    let Some(url) = reader.optional_url(PATH, &["smtp", "smtps"])? else { return Ok(None) };
    if url.password().is_none() && !url.username().is_empty() {
        return Err(reader.report(PATH, "has a user without a password"));
    }
    let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, tls)| tls.into_owned());
    let is_safe = match (url.scheme(), tls.as_deref()) {
        ("smtps", _) | (_, Some("required")) => true,
        (_, None | Some("opportunistic")) => is_loopback(&url),
        _ => return Err(reader.report(PATH, "has a tls that is neither required nor opportunistic")),
    };
    if !is_safe && !reader.environment.is_development() {
        return Err(reader.report(PATH, "would send mail in the clear: add ?tls=required, or start with smtps://"));
    }
    // By what reads it when mail is sent. Its errors don't repeat the URL.
    if let Err(error) = smtp::transport(url.as_str()) {
        return Err(reader.report(PATH, format!("can't be used: {error}")));
    }
    Ok(Some(String::from(url).into()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Checked here by what reads it when mail is sent: otherwise the server would not start after all.
fn from(reader: &mut Reader) -> Read<String> {
    let from = reader.word("mail.from")?;
    if smtp::sender(&from).is_none() {
        return Err(reader.report("mail.from", "must be like BizCenter <no-reply@example.com>"));
    }
    Ok(from)
}

/// Paths are put after it, so that nothing may come after its own.
fn app_url(reader: &mut Reader) -> Read<Option<String>> {
    let Some(url) = reader.optional_url("mail.app_url", &["http", "https"])? else { return Ok(None) };
    if url.query().is_some() {
        return Err(reader.report("mail.app_url", "must end before the ?"));
    }
    Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
}
