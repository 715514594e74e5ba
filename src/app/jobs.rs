//! All jobs of the server. A new job needs a line here: without it, the type of the job does not compile.
use super::auth::Auth;
use super::services::Services;
use crate::auth::mail_cap::MailCap;
use crate::auth::sessions::Sessions;
use crate::auth::token_mail::TokenMailer;
use crate::config::Config;
use crate::db::Db;
use crate::db::audit_chain::Retention;
use crate::db::jobs::RegisteredJob;
use crate::services::jobs::Jobs;
use crate::services::mail::Mailer;
use crate::services::storage::Storage;
use chrono::Duration;

/// The parts that jobs need. Each job gets only those in its line.
pub struct Needs {
    db: Db,
    mailer: Mailer,
    mail_cap: MailCap,
    token_mailer: TokenMailer,
    sessions: Sessions,
    storage: Storage,
    retention: Retention,
}

impl Needs {
    pub fn new(config: &Config, services: &Services, auth: &Auth) -> Self {
        let (Services { db, mailer, storage, checkpoint_key, .. }, Auth { sessions, mail_cap, templates, .. }) =
            (services, auth);
        let (db, mailer, mail_cap, sessions) = (db.clone(), mailer.clone(), mail_cap.clone(), sessions.clone());
        let kept = Duration::days(i64::from(config.audit.retention_days));
        Self {
            token_mailer: TokenMailer {
                db: db.clone(),
                mail_cap: mail_cap.clone(),
                mailer: mailer.clone(),
                templates: templates.clone(),
            },
            retention: Retention { db: db.clone(), kept, key: checkpoint_key.clone() },
            db,
            mailer,
            mail_cap,
            sessions,
            storage: storage.clone(),
        }
    }
}

/// Registers each job and implements [`RegisteredJob`] for its type.
macro_rules! jobs {
    ($needs:ident: $($($job:ident)::+ => $how:ident($($argument:expr),+)),+ $(,)?) => {
        $(impl RegisteredJob for crate::$($job)::+ {})+

        /// All jobs of this server.
        pub fn jobs($needs: Needs) -> Jobs {
            Jobs::new($needs.db.clone())$(.$how::<crate::$($job)::+>($($argument),+))+
        }
    };
}
jobs! { needs:
    services::mail::Mail => register(needs.mailer.clone()),
    auth::mails::SecurityEmail => register((needs.mailer.clone(), needs.mail_cap.clone())),
    auth::token_mail::SendReset => register(needs.token_mailer.clone()),
    auth::token_mail::SendVerification => register(needs.token_mailer.clone()),
    auth::sessions::RevokeSessions => register(needs.sessions.clone()),
    resources::tenant::RemoveTenant => register((needs.db.clone(), needs.sessions.clone(), needs.storage.clone())),
    resources::tenant::RemoveTenants => every(
        Duration::hours(1),
        (needs.db.clone(), needs.sessions.clone(), needs.storage.clone())
    ),
    resources::files::uploads::RemoveLeftovers => every(Duration::minutes(1), (needs.db.clone(), needs.storage.clone())),
    resources::search::IndexTexts => register(needs.db.clone()),
    db::audit_chain::SealAudit => every(Duration::seconds(2), needs.db.clone()),
    db::audit_chain::PruneAudit => every(Duration::hours(1), needs.retention.clone()),
    db::removal::RemoveExpired => every(Duration::hours(1), needs.db.clone()),
    resources::contracts::ExpireContracts => every(Duration::hours(1), needs.db.clone()),
}
