//! Sends mail. A job does this, after the change that the mail is about was committed.
use crate::base::addresses::ascii_domain;
use crate::base::error::{Error, Result};
use crate::base::smtp::{sender, transport};
use crate::db::jobs::{Job, JobContext};
use crate::services::mail_text::MailText;
use anyhow::Context;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::response::{Category, Code};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use std::time::Duration;

/// How long the mail server may take for one step of the SMTP dialogue.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A mail to one person.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mail {
    to: String,
    subject: String,
    text: String,
}

impl Mail {
    /// The subject is a fixed text of the program, without words of callers: people read it as the operator's words,
    /// and spam filters judge the operator by it.
    pub fn new(to: &str, subject: &'static str, text: MailText) -> Self {
        Self { to: to.to_owned(), subject: subject.to_owned(), text: text.into_string() }
    }

    pub fn to(&self) -> &str {
        &self.to
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Job for Mail {
    const KIND: &'static str = "mail";
    type Needs = Mailer;

    async fn run(self, context: JobContext, mailer: Mailer) -> Result<()> {
        mailer.send(context, self).await
    }
}

/// Sends mail.
#[derive(Clone)]
pub enum Mailer {
    Smtp {
        transport: AsyncSmtpTransport<Tokio1Executor>,
        from: Mailbox,
    },
    /// No mail server is set, in development: mail is written to the log.
    Log,
    /// No mail server is set, outside of development: mail is dropped. Its text is not logged, because it may contain a
    /// token.
    Nowhere,
}

impl Mailer {
    /// Sends mail if a URL is given. Without one, mail is logged in development and dropped elsewhere.
    pub fn new(url: Option<&str>, from: &str, is_development: bool) -> anyhow::Result<Self> {
        match url {
            Some(url) => Self::smtp(url, from),
            None if is_development => Ok(Self::Log),
            None => Ok(Self::Nowhere),
        }
    }

    /// `url` has the form `smtp://user:password@host:port?tls=required` or `smtps://…`.
    fn smtp(url: &str, from: &str) -> anyhow::Result<Self> {
        let transport = transport(url).context("mail.smtp_url can't be read")?;
        let Mailbox { name, email } = sender(from).context("mail.from is no address")?;
        let from = Mailbox::new(name, address(email.as_ref()).context("mail.from is no address")?);
        Ok(Self::Smtp { transport: transport.timeout(Some(TIMEOUT)).build(), from })
    }

    /// Sends a mail. If the job runs again, the mail has the same `Message-ID` as before.
    pub async fn send(&self, job: JobContext, mail: Mail) -> Result<()> {
        let Mail { to, subject, text } = mail;
        let (transport, from) = match self {
            Self::Smtp { transport, from } => (transport, from),
            Self::Log => {
                tracing::info!("Mail to {to}: {subject}\n{text}");
                return Ok(());
            }
            Self::Nowhere => {
                tracing::warn!(mail.subject = subject, "Mail goes nowhere: mail.smtp_url is not set");
                return Ok(());
            }
        };
        let Ok(to) = address(&to) else {
            tracing::warn!(mail.subject = subject, "Mail to an address that SMTP can't carry is dropped");
            return Ok(());
        };
        let id = format!("<{}@{}>", job.id, from.email.domain());
        let message = message(from.clone(), to, id, subject, text).map_err(|error| Error::Internal(error.into()))?;
        match transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if needs_smtputf8(&error) => {
                tracing::warn!("Mail is dropped: its address needs SMTPUTF8, which the mail server has not got");
                Ok(())
            }
            Err(error) if is_of_mailbox(&error) => {
                tracing::warn!(%error, "The mail server refused a mail for good");
                Ok(())
            }
            Err(error) => Err(Error::Unavailable(error.into())),
        }
    }
}

/// The address in the form of SMTP, with its domain in ASCII. Addresses in the settings, and those that an earlier
/// version stored, may have another form.
fn address(text: &str) -> Result<Address, lettre::address::AddressError> {
    let in_ascii = |(local_part, domain)| Some(format!("{local_part}@{}", ascii_domain(domain).ok()?));
    text.rsplit_once('@').and_then(in_ascii).as_deref().unwrap_or(text).parse()
}

/// Builds a message. Its headers are in ASCII (RFC 2047) and its lines are short, whatever script the texts are in.
fn message(
    from: Mailbox,
    to: Address,
    id: String,
    subject: String,
    text: String,
) -> Result<Message, lettre::error::Error> {
    Message::builder()
        .from(from)
        .to(Mailbox::new(None, to))
        .subject(subject)
        .message_id(Some(id))
        .header(ContentType::TEXT_PLAIN)
        .body(text)
}

/// Whether the mail server lacks the extension (RFC 6531) that an address with other letters than ASCII before the `@`
/// needs. Another try would change nothing. lettre reports this only in the text of its error. A test checks that text.
fn needs_smtputf8(error: &lettre::transport::smtp::Error) -> bool {
    error.is_client() && error.source().is_some_and(|source| source.to_string().contains("SMTPUTF8"))
}

/// Whether the server refused the mailbox itself, with 55x: it will never take the mail. Other permanent errors, such
/// as a refused password, are for the operator to correct.
fn is_of_mailbox(error: &lettre::transport::smtp::Error) -> bool {
    let is_of_mailbox = |code: Code| matches!(code.category, Category::MailSystem);
    error.is_permanent() && error.status().is_some_and(is_of_mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::test_log::TestLog;
    use uuid::Uuid;

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        for (text, name, address) in [
            ("a@b.example", None, "a@b.example"),
            ("<a@b.example>", None, "a@b.example"),
            ("BizCenter <no-reply@localhost>", Some("BizCenter"), "no-reply@localhost"),
            (" B\u{fc} & Co. <a@b.example> ", Some("B\u{fc} & Co."), "a@b.example"),
            ("Acme, Inc. <a@b.example>", Some("Acme, Inc."), "a@b.example"),
            ("\"Acme, Inc.\" <a@b.example>", Some("Acme, Inc."), "a@b.example"),
            ("Acme (Sales): we <a@b.example>", Some("Acme (Sales): we"), "a@b.example"),
            (
                "\u{ac74}\u{c124} \u{d68c}\u{c0ac} <a@b.example>",
                Some("\u{ac74}\u{c124} \u{d68c}\u{c0ac}"),
                "a@b.example",
            ),
        ] {
            let sender = sender(text).unwrap_or_else(|| panic!("{text} is a sender"));
            assert_eq!((sender.name.as_deref(), sender.email.to_string().as_str()), (name, address), "{text}");
            let mail = Message::builder().from(sender).to("c@d.example".parse().unwrap()).body(String::new());
            assert!(mail.is_ok(), "{text}");
        }
        for wrong in ["", "BizCenter", "BizCenter <a>", "BizCenter <>", "a@b.example, c@d.example", "a <a@b.example> b"]
        {
            assert_eq!(sender(wrong), None, "{wrong}");
        }
        for wrong in [
            "x\r\nBcc: c@d.example <a@b.example>",
            "\"a <a@b.example>",
            "a <b> <a@b.example>",
            "<c@d.example> <a@b.example>",
        ] {
            assert_eq!(sender(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_token_is_in_the_log_of_development_alone() {
        for (is_development, is_shown) in [(true, true), (false, false)] {
            let (log, _until_here) = TestLog::start("trace".into());
            let mailer = Mailer::new(None, "BizCenter <no-reply@localhost>", is_development).unwrap();
            let (to, subject) = ("ada@example.com".to_owned(), "Reset your password".to_owned());
            let mail = Mail { to, subject, text: "Hello,\n\nbcp_secret\n".to_owned() };
            let job = JobContext { id: Uuid::nil().into(), tenant: None, is_repeat: false };
            mailer.send(job, mail).await.unwrap();
            let text = log.text();
            assert!(text.contains("Reset your password"), "{text}");
            assert_eq!((text.contains("bcp_"), text.contains("ada@")), (is_shown, is_shown), "{text}");
        }
    }
}
