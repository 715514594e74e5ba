//! The e-mails about accounts. Each mail names its sender and says what happened, what to do, and what to do if the
//! recipient did not ask for it.
use super::mail_cap::{MailCap, MailKind};
use crate::base::error::Result;
use crate::db::jobs::{Job, JobContext};
use crate::services::mail::{Mail, Mailer};
use crate::services::mail_text::MailText;
use serde::{Deserialize, Serialize};

/// A mail that tells a user what was done to their account.
#[derive(Clone, Serialize, Deserialize)]
pub struct SecurityEmail {
    /// The members of the mail are on the same level as `is_verified`, because jobs of earlier versions consist only of
    /// them.
    #[serde(flatten)]
    pub mail: Mail,
    /// Whether the user has proved that the address is theirs.
    #[serde(default)]
    pub is_verified: bool,
}

impl Job for SecurityEmail {
    const KIND: &'static str = "notice";
    type Needs = (Mailer, MailCap);

    async fn run(self, context: JobContext, (mailer, mail_cap): (Mailer, MailCap)) -> Result<()> {
        let Self { mail, is_verified } = self;
        match context.is_repeat || mail_cap.allows(MailKind::SecurityEmail, mail.to(), is_verified).await? {
            true => mailer.send(context, mail).await,
            false => Ok(()),
        }
    }
}

/// Writes the mails. If there is a front end, the links lead to its pages.
#[derive(Debug, Clone, Default)]
pub struct EmailTemplates {
    pub app_url: Option<String>,
}

impl EmailTemplates {
    pub fn reset(&self, to: &str, name: &str, token: &str) -> Mail {
        let text = hello(name)
            .say(
                "We received a request to set a new password for your account. To set it, use this link or code within \
                 30 minutes. It works only once:\n\n",
            )
            .token(self.app_url.as_deref(), "reset-password", token)
            .say("\n\nIf you did not ask for a new password, ignore this mail. Your password stays as it is.\n");
        Mail::new(to, "Reset your password", text)
    }

    pub fn verification(&self, to: &str, name: &str, token: &str) -> Mail {
        let text = hello(name)
            .say(
                "Please confirm that this e-mail address is yours. To confirm it, use this link or code within 3 days, \
                 while you are signed in or together with your password. It works only once:\n\n",
            )
            .token(self.app_url.as_deref(), "verify-email", token)
            .say("\n\nIf you do not know why you received this mail, ignore it.\n");
        Mail::new(to, "Verify your e-mail address", text)
    }

    pub fn invitation(&self, to: &str, tenant: &str, token: &str) -> Mail {
        let text = MailText::new()
            .say("Hello,\n\nYou are invited to join a company that calls itself ")
            .quote(tenant)
            .say(". To join it, register with this e-mail address and this link or code. It works only once:\n\n")
            .token(self.app_url.as_deref(), "register", token)
            .say("\n\nIf you do not know the company, ignore this mail.\n");
        Mail::new(to, "You are invited to join a company", text)
    }

    /// Writes to the former address, so that its owner learns of the change. This mail is sent only if that address was
    /// verified.
    pub fn address_changed(&self, to: &str, name: &str) -> SecurityEmail {
        let text = hello(name).say(
            "The e-mail address of your account was changed. This mail was sent to your previous address.\n\n\
             If you did not change it, ask an administrator of your company for help.\n",
        );
        SecurityEmail { mail: Mail::new(to, "Your e-mail address was changed", text), is_verified: true }
    }

    pub fn password_changed(&self, to: &str, name: &str, is_verified: bool) -> SecurityEmail {
        let text = hello(name).say(
            "Your password was changed, and your other devices were signed out.\n\n\
             If you did not change it, request a new password and tell an administrator of your company.\n",
        );
        SecurityEmail { mail: Mail::new(to, "Your password was changed", text), is_verified }
    }
}

fn hello(name: &str) -> MailText {
    MailText::new().say("Hello ").quote(name).say(",\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_front_end_where_there_is_one() {
        let mail = EmailTemplates::default().reset("a@b.c", "Ada", "bcp_x");
        assert!(mail.text().contains("\n\nbcp_x\n\n"));
        let templates = EmailTemplates { app_url: Some("https://app.example.com".into()) };
        let mail = templates.invitation("a@b.c", "Acme", "bci_x");
        assert!(mail.text().contains("\n\nhttps://app.example.com/register?token=bci_x\n\n"));
        assert_eq!((mail.to(), mail.subject()), ("a@b.c", "You are invited to join a company"));
    }

    /// Whatever the name of a caller is, it does not change the subject, and the only link in a mail is our own.
    #[test]
    fn the_words_of_callers_are_quoted_in_every_letter() {
        let templates = EmailTemplates { app_url: Some("https://app.example.com".into()) };
        let name = "Bank\". Pay at http://evil.example, or write to a@evil.example";
        let all = [
            templates.reset("a@b.c", name, "bcp_x"),
            templates.verification("a@b.c", name, "bcv_x"),
            templates.invitation("a@b.c", name, "bci_x"),
            templates.address_changed("a@b.c", name).mail,
            templates.password_changed("a@b.c", name, false).mail,
        ];
        for mail in all {
            assert!(
                mail.text().contains("\"Bank'. Pay at http: / / evil. example, or write to a@ evil. exampl…\""),
                "{}",
                mail.text()
            );
            assert!(!mail.subject().contains("Bank"), "{}", mail.subject());
            let mut links =
                mail.text().split_whitespace().filter(|word| word.contains("://") || word.contains("evil.e"));
            assert!(links.all(|link| link.starts_with("https://app.example.com/")), "{}", mail.text());
        }
    }
}
