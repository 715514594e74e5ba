//! `[mail]`: how mail is sent, in whose name, and where its links lead.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{NonEmptyText, Number, Optional, ValueType, is_loopback, read_url};
use crate::base::smtp;
use secrecy::SecretString;

settings! {
    /// `[mail]`: how mail is sent, in whose name, and where its links lead.
    #[derive(Debug, Clone)]
    pub struct MailConfig {
        /// smtp://user:password@host:587?tls=required, or smtps://… for TLS from the start; without it, no mail is sent.
        /// Without TLS only to this machine, or in development. Special characters in a password must be percent-encoded.
        /// Where it is set, only people with a verified address invite others, make API keys and open a tenant for
        /// registration.
        pub smtp_url: Option<SecretString> = setting("mail.smtp_url", Optional(SmtpUrl))
            .named(&["SMTP_URL"])
            .example("smtp://localhost:25"),

        /// The sender: an address, or a name and an address in angle brackets.
        pub from: String = setting("mail.from", Sender).named(&["MAIL_FROM"]).default("BizCenter <no-reply@localhost>"),

        /// The front end whose pages links in mails lead to.
        pub app_url: Option<String> = setting("mail.app_url", Optional(PageAddress))
            .named(&["APP_URL"])
            .example("https://app.example.com"),

        /// How many mails of one kind (invitations, forgotten passwords, …) an address gets in an hour, no matter which people
        /// ask for them ({range}). Part of the limits that rate_limit.enabled turns off.
        pub per_recipient_per_hour: u32 = setting("mail.per_recipient_per_hour", Number(1..=1000)).default(5),

        /// The same for all addresses of one mailbox together that nobody has verified: name@, name+tag@ and n.a.m.e@
        /// ({range}). A verified address counts by itself alone.
        pub per_mailbox_per_hour: u32 = setting("mail.per_mailbox_per_hour", Number(1..=1000)).default(20),
    }
}

impl MailConfig {
    /// Whether mail can be sent. Without mail, no address can be verified.
    pub fn is_set_up(&self) -> bool {
        self.smtp_url.is_some()
    }
}

/// The URL of a mail server. Mails contain tokens, and the URL contains a password. Outside development, neither may
/// cross a network unencrypted. `opportunistic` is refused there too, because an attacker in between could suppress
/// TLS.
struct SmtpUrl;

impl ValueType<SecretString> for SmtpUrl {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<SecretString> {
        let url = read_url(reader, path, &["smtp", "smtps"])?;
        if url.password().is_none() && !url.username().is_empty() {
            return Err(reader.report(path, "has a user without a password"));
        }
        let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, tls)| tls.into_owned());
        let is_safe = match (url.scheme(), tls.as_deref()) {
            ("smtps", _) | (_, Some("required")) => true,
            (_, None | Some("opportunistic")) => is_loopback(&url),
            _ => return Err(reader.report(path, "has a tls that is neither required nor opportunistic")),
        };
        if !is_safe && !reader.environment.is_development() {
            return Err(reader.report(path, "would send mail in the clear: add ?tls=required, or start with smtps://"));
        }
        // The same function reads the URL when mail is sent. Its errors don't repeat the URL.
        if let Err(error) = smtp::transport(url.as_str()) {
            return Err(reader.report(path, format!("can't be used: {error}")));
        }
        Ok(String::from(url).into())
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// An address, with or without a name before it. The function that reads it when mail is sent checks it here. Otherwise
/// a sender could pass the check of the configuration, and the server would still not start.
struct Sender;

impl ValueType<String> for Sender {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<String> {
        let from: String = NonEmptyText.read(reader, path)?;
        if smtp::sender(&from).is_none() {
            return Err(reader.report(path, "must be like BizCenter <no-reply@example.com>"));
        }
        Ok(from)
    }
}

/// The URL to which the paths of pages are appended. Therefore it must have nothing after its own path, and a slash at
/// its end is removed.
struct PageAddress;

impl ValueType<String> for PageAddress {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<String> {
        let url = read_url(reader, path, &["http", "https"])?;
        if url.query().is_some() {
            return Err(reader.report(path, "must end before the ?"));
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}
