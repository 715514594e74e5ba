//! The letters of sign-in. They say who wrote, what happened, what to do, and what to do if it was not you.
use crate::infra::mail::{Mail, Notice};

/// Where the links of letters lead: the pages of a front end.
#[derive(Debug, Clone, Default)]
pub struct Letters {
    pub app_url: Option<String>,
}

impl Letters {
    /// The token as a link to the front end, or by itself where there is none.
    fn token(&self, page: &str, token: &str) -> String {
        match &self.app_url {
            Some(url) => format!("{url}/{page}?token={token}"),
            None => token.to_owned(),
        }
    }

    pub fn reset(&self, to: &str, name: &str, token: &str) -> Mail {
        let token = self.token("reset-password", token);
        Mail {
            to: to.to_owned(),
            subject: "Reset your password".into(),
            text: format!(
                "Hello {name},\n\nsomebody asked for a new password for this address. Within 30 minutes, once:\n\n{token}\n\n\
                 If it was not you, do nothing: your password stays as it is.\n"
            ),
        }
    }

    pub fn verification(&self, to: &str, name: &str, token: &str) -> Mail {
        let token = self.token("verify-email", token);
        Mail {
            to: to.to_owned(),
            subject: "Verify your e-mail address".into(),
            text: format!(
                "Hello {name},\n\nplease confirm that this address is yours. Within 3 days, once:\n\n{token}\n\n\
                 If you know nothing of this, do nothing.\n"
            ),
        }
    }

    pub fn invitation(&self, to: &str, tenant: &str, token: &str) -> Mail {
        let token = self.token("register", token);
        Mail {
            to: to.to_owned(),
            subject: format!("You are invited to {tenant}"),
            text: format!(
                "Hello,\n\nyou are invited to join {tenant}. Register with this address, once:\n\n{token}\n\n\
                 If you know nothing of this, do nothing.\n"
            ),
        }
    }

    /// To the former address, so that its owner learns of it.
    pub fn address_changed(&self, to: &str, name: &str) -> Notice {
        Notice(Mail {
            to: to.to_owned(),
            subject: "Your e-mail address was changed".into(),
            text: format!(
                "Hello {name},\n\nyour account has another e-mail address now.\n\n\
                 If it was not you, ask an administrator of your company for help.\n"
            ),
        })
    }

    pub fn password_changed(&self, to: &str, name: &str) -> Notice {
        Notice(Mail {
            to: to.to_owned(),
            subject: "Your password was changed".into(),
            text: format!(
                "Hello {name},\n\nyour password was changed, and your other devices were signed out.\n\n\
                 If it was not you, ask for a new password and tell an administrator of your company.\n"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_front_end_where_there_is_one() {
        let mail = Letters::default().reset("a@b.c", "Ada", "bcp_x");
        assert!(mail.text.contains("\n\nbcp_x\n\n"));
        let letters = Letters { app_url: Some("https://app.example.com".into()) };
        let mail = letters.invitation("a@b.c", "Acme", "bci_x");
        assert!(mail.text.contains("\n\nhttps://app.example.com/register?token=bci_x\n\n"));
        assert_eq!((mail.to.as_str(), mail.subject.as_str()), ("a@b.c", "You are invited to Acme"));
    }
}
