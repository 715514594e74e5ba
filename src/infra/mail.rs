//! Mail. It leaves by a job, after the change that it is about was committed.
use crate::db::jobs::Job;
use crate::error::{Error, Result};
use crate::infra::jobs::JobOf;
use anyhow::Context;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::response::{Category, Code};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the mail server may take for one step of the conversation.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A letter to one person.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
}

impl Job for Mail {
    const KIND: &'static str = "mail";
}

/// A letter that tells somebody what was done to their account.
#[derive(Clone, Serialize, Deserialize)]
pub struct Notice(pub Mail);

impl Job for Notice {
    const KIND: &'static str = "notice";
}

/// Hands mail over.
#[derive(Clone)]
pub enum Mailer {
    Smtp {
        transport: AsyncSmtpTransport<Tokio1Executor>,
        from: Mailbox,
    },
    /// No server is set, in development: it can be read in the log.
    Log,
    /// No server is set: it goes nowhere. It is not logged, as there are tokens in it.
    Nowhere,
}

impl Mailer {
    /// Without a server, only development reads mail in the log.
    pub fn new(url: Option<&str>, from: &str, is_development: bool) -> anyhow::Result<Self> {
        match url {
            Some(url) => Self::smtp(url, from),
            None if is_development => Ok(Self::Log),
            None => Ok(Self::Nowhere),
        }
    }

    /// `url`: `smtp://user:password@host:port?tls=required` or `smtps://…`.
    fn smtp(url: &str, from: &str) -> anyhow::Result<Self> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).context("mail.smtp_url can't be read")?;
        let from = from.parse().context("mail.from is no address")?;
        Ok(Self::Smtp { transport: transport.timeout(Some(TIMEOUT)).build(), from })
    }

    /// Sends it, perhaps for the second time: then it has the same `Message-ID`.
    pub async fn send(&self, job: JobOf, mail: Mail) -> Result<()> {
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
        let Ok(to) = to.parse() else {
            tracing::warn!(mail.subject = subject, "Mail to an address that SMTP can't carry is dropped");
            return Ok(());
        };
        let id = format!("<{}@{}>", job.id, from.email.domain());
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| Error::Internal(error.into()))?;
        match transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if is_of_mailbox(&error) => {
                tracing::warn!(%error, "The mail server refused a mail for good");
                Ok(())
            }
            Err(error) => Err(Error::Unavailable(error.into())),
        }
    }
}

/// 55x: this mailbox will never take it. Other permanent errors, such as a refused password, are ours to put right.
fn is_of_mailbox(error: &lettre::transport::smtp::Error) -> bool {
    let is_of_mailbox = |code: Code| matches!(code.category, Category::MailSystem);
    error.is_permanent() && error.status().is_some_and(is_of_mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infra::test_log::TestLog;
    use uuid::Uuid;

    #[tokio::test]
    async fn a_token_is_in_the_log_of_development_alone() {
        for (is_development, is_shown) in [(true, true), (false, false)] {
            let (log, _until_here) = TestLog::start("trace".into());
            let mailer = Mailer::new(None, "BizCenter <no-reply@localhost>", is_development).unwrap();
            let (to, subject) = ("ada@example.com".to_owned(), "Reset your password".to_owned());
            let mail = Mail { to, subject, text: "Hello,\n\nbcp_secret\n".to_owned() };
            let job = JobOf { id: Uuid::nil().into(), tenant: None, is_repeat: false };
            mailer.send(job, mail).await.unwrap();
            let text = log.text();
            assert!(text.contains("Reset your password"), "{text}");
            assert_eq!((text.contains("bcp_"), text.contains("ada@")), (is_shown, is_shown), "{text}");
        }
    }
}
