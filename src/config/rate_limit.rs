//! `[rate_limit]`: how much one caller may ask for.
use super::declare::{Declared, Setting, setting, settings};
use super::layers::{self, Entry};
use super::problem::{ConfigError, Problem};
use super::types::{Flag, Number};
use super::{Config, names};
use std::ops::RangeInclusive;

const LIMITS: RangeInclusive<u64> = 1..=1_000_000;

fn limit(path: &'static str) -> Declared<Number> {
    setting(path, Number(LIMITS))
}

settings! {
    /// `[rate_limit]`: how much one caller may ask for. Nothing is limited in tests, unless they turn it on.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RateLimitConfig {
        /// Whether requests are limited.
        pub enabled: bool = setting("rate_limit.enabled", Flag).default(true).in_tests(false),

        /// How many requests an hour ({range}): from one address without a token, of one user, of one service account by its
        /// API keys. Also, for user_per_hour: RATE_LIMIT_PER_MINUTE, a sixtieth of it.
        pub anonymous_per_hour: u32 = limit("rate_limit.anonymous_per_hour").default(100),
        pub user_per_hour: u32 = limit("rate_limit.user_per_hour").default(1000),
        pub api_key_per_hour: u32 = limit("rate_limit.api_key_per_hour").default(1000),

        /// How many a minute ({range}): registrations and sign-ins from one address, refreshes of one session, changes by one
        /// user.
        pub register_per_minute: u32 = limit("rate_limit.register_per_minute").default(5),
        pub login_per_minute: u32 = limit("rate_limit.login_per_minute").default(20),
        pub refresh_per_minute: u32 = limit("rate_limit.refresh_per_minute").default(10),
        pub writes_per_minute: u32 = limit("rate_limit.writes_per_minute").default(60),

        /// How many times an hour one calendar feed may be read ({range}).
        pub feed_per_hour: u32 = limit("rate_limit.feed_per_hour").default(60),

        /// How many mails to strangers somebody may cause ({range}): by new e-mail addresses of one user in an hour, by
        /// invitations of one tenant in a day.
        pub email_changes_per_hour: u32 = limit("rate_limit.email_changes_per_hour").default(5),
        pub invitations_per_day: u32 = limit("rate_limit.invitations_per_day").default(100),

        /// The same for a tenant that was made within the last 7 days, for all that are made from one network address, and for
        /// the whole server, of which new tenants together have half ({range}). Only invitations count here: however many
        /// there are, password resets and verifications are sent.
        pub invitations_per_day_new_tenant: u32 = limit("rate_limit.invitations_per_day_new_tenant").default(20),
        pub invitations_per_day_per_ip: u32 = limit("rate_limit.invitations_per_day_per_ip").default(50),
        pub invitations_per_day_in_all: u32 = limit("rate_limit.invitations_per_day_in_all").default(1000),

        /// How many new usernames an hour one user may try ({range}): a name that is taken by anybody on the server is refused,
        /// so that many tries would show which names there are.
        pub username_changes_per_hour: u32 = limit("rate_limit.username_changes_per_hour").default(5),
    }
}

impl RateLimitConfig {
    /// For tests that need limits which are on, but are never reached: each is the highest that its setting allows.
    pub fn highest() -> Result<Self, ConfigError> {
        let highest = |setting: &Setting| match (setting.path, &setting.range) {
            ("rate_limit.enabled", _) => Some(true.into()),
            (path, Some(range)) if path.starts_with("rate_limit.") => Some((*range.end()).into()),
            _ => None,
        };
        Ok(Config::of(layers::of_tests(highest))?.config.rate_limit)
    }
}

/// A variable that people set instead of `rate_limit.user_per_hour`. It is no setting of its own: [`per_hour`] converts
/// it.
pub(super) static LIMIT_PER_MINUTE: Setting =
    Setting::part("rate_limit.parts.user_per_minute", &["RATE_LIMIT_PER_MINUTE"]);

/// Replaces `RATE_LIMIT_PER_MINUTE` in a layer with the corresponding `user_per_hour`.
pub(super) fn per_hour(layer: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    let Some(index) = layer.iter().position(|entry| entry.setting.path == LIMIT_PER_MINUTE.path) else {
        return;
    };
    let Entry { origin, value, .. } = layer.remove(index);
    let Some(setting) = names::find("rate_limit.user_per_hour") else { return };
    let most = LIMITS.end() / 60;
    let count = value.as_str().and_then(|text| text.trim().parse().ok()).filter(|count| (1..=most).contains(count));
    match count {
        // The value is text, like the value of any variable, so that `user_per_hour` with the same number is no
        // contradiction.
        Some(count) => layers::add(layer, Entry { setting, origin, value: (count * 60).to_string().into() }, problems),
        None => problems.push(Problem {
            setting: setting.path.to_owned(),
            origin: Some(origin),
            message: format!("RATE_LIMIT_PER_MINUTE must be a whole number from 1 to {most}"),
        }),
    }
}
