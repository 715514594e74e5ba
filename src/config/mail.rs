//! `[mail]`: how mail is sent, in whose name, and where its links lead.
use super::reader::{Read, Reader};
use email_address::EmailAddress;
use secrecy::SecretString;

#[derive(Debug, Clone)]
pub struct MailConfig {
    /// `smtp://…` or `smtps://…` (TLS from the start), password included; none where no mail is sent.
    pub smtp_url: Option<SecretString>,
    /// The sender: an address, with or without a name before it.
    pub from: String,
    /// The front end whose pages links in mails lead to; no slash at its end.
    pub app_url: Option<String>,
}

impl MailConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let smtp_url = reader.optional_url("mail.smtp_url", &["smtp", "smtps"]);
        let from = from(reader);
        let app_url = app_url(reader);
        Ok(Self { smtp_url: smtp_url?.map(|url| String::from(url).into()), from: from?, app_url: app_url? })
    }

    pub(super) fn for_tests() -> Self {
        Self { smtp_url: None, from: "BizCenter <no-reply@localhost>".to_owned(), app_url: None }
    }
}

/// Checked here, because otherwise no mail would ever leave, and nobody be told.
fn from(reader: &mut Reader) -> Read<String> {
    let from = reader.word("mail.from")?;
    if from.contains(char::is_control) || !EmailAddress::is_valid(&from) {
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
