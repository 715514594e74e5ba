//! `[rate_limit]`: how much one caller may ask for.
use super::layers::{self, Entry};
use super::names;
use super::problem::Problem;
use super::reader::{Read, Reader};
use std::ops::RangeInclusive;

const LIMITS: RangeInclusive<u64> = 1..=1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Whether anything is limited at all.
    pub enabled: bool,
    /// Requests of one address without a token.
    pub anonymous_per_hour: u32,
    /// Requests of one user, unless the tenant says otherwise.
    pub user_per_hour: u32,
    /// Requests of one service account, by its API keys, unless the tenant says otherwise.
    pub api_key_per_hour: u32,
    /// Registrations from one address.
    pub register_per_minute: u32,
    /// Sign-ins from one address.
    pub login_per_minute: u32,
    /// Refreshes of one session.
    pub refresh_per_minute: u32,
    /// Changes by one user or service account, unless the tenant says otherwise.
    pub writes_per_minute: u32,
    /// Reads of one calendar feed.
    pub feed_per_hour: u32,
    /// New addresses of one user: each gets a letter.
    pub email_changes_per_hour: u32,
    /// New usernames that one user tries, taken ones among them: each try tells whether somebody has it.
    pub username_changes_per_hour: u32,
    /// Invitations that one tenant mails.
    pub invitations_per_day: u32,
    /// The same for one that was made within the last 7 days.
    pub invitations_per_day_new_tenant: u32,
    /// Invitations that are made from one address.
    pub invitations_per_day_per_ip: u32,
    /// Invitations that the server mails.
    pub invitations_per_day_in_all: u32,
}

impl RateLimitConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let enabled = reader.flag("rate_limit.enabled");
        let anonymous_per_hour = reader.number("rate_limit.anonymous_per_hour", LIMITS);
        let user_per_hour = reader.number("rate_limit.user_per_hour", LIMITS);
        let api_key_per_hour = reader.number("rate_limit.api_key_per_hour", LIMITS);
        let register_per_minute = reader.number("rate_limit.register_per_minute", LIMITS);
        let login_per_minute = reader.number("rate_limit.login_per_minute", LIMITS);
        let refresh_per_minute = reader.number("rate_limit.refresh_per_minute", LIMITS);
        let writes_per_minute = reader.number("rate_limit.writes_per_minute", LIMITS);
        let feed_per_hour = reader.number("rate_limit.feed_per_hour", LIMITS);
        let email_changes_per_hour = reader.number("rate_limit.email_changes_per_hour", LIMITS);
        let username_changes_per_hour = reader.number("rate_limit.username_changes_per_hour", LIMITS);
        let invitations_per_day = reader.number("rate_limit.invitations_per_day", LIMITS);
        let invitations_per_day_new_tenant = reader.number("rate_limit.invitations_per_day_new_tenant", LIMITS);
        let invitations_per_day_per_ip = reader.number("rate_limit.invitations_per_day_per_ip", LIMITS);
        let invitations_per_day_in_all = reader.number("rate_limit.invitations_per_day_in_all", LIMITS);
        Ok(Self {
            enabled: enabled?,
            anonymous_per_hour: anonymous_per_hour?,
            user_per_hour: user_per_hour?,
            api_key_per_hour: api_key_per_hour?,
            register_per_minute: register_per_minute?,
            login_per_minute: login_per_minute?,
            refresh_per_minute: refresh_per_minute?,
            writes_per_minute: writes_per_minute?,
            feed_per_hour: feed_per_hour?,
            email_changes_per_hour: email_changes_per_hour?,
            username_changes_per_hour: username_changes_per_hour?,
            invitations_per_day: invitations_per_day?,
            invitations_per_day_new_tenant: invitations_per_day_new_tenant?,
            invitations_per_day_per_ip: invitations_per_day_per_ip?,
            invitations_per_day_in_all: invitations_per_day_in_all?,
        })
    }

    /// The default numbers, for a test that turns them on.
    pub(super) fn for_tests() -> Self {
        Self {
            enabled: false,
            anonymous_per_hour: 100,
            user_per_hour: 1000,
            api_key_per_hour: 1000,
            register_per_minute: 5,
            login_per_minute: 20,
            refresh_per_minute: 10,
            writes_per_minute: 60,
            feed_per_hour: 60,
            email_changes_per_hour: 5,
            username_changes_per_hour: 5,
            invitations_per_day: 100,
            invitations_per_day_new_tenant: 20,
            invitations_per_day_per_ip: 50,
            invitations_per_day_in_all: 1000,
        }
    }
}

/// Replaces `RATE_LIMIT_PER_MINUTE` in a layer by the `user_per_hour` that it comes to.
pub(super) fn per_hour(layer: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    let Some(index) = layer.iter().position(|entry| entry.setting.path == names::LIMIT_PER_MINUTE[0].path) else {
        return;
    };
    let Entry { origin, value, .. } = layer.remove(index);
    let Some(setting) = names::setting("rate_limit.user_per_hour") else { return };
    let most = LIMITS.end() / 60;
    let count = value.as_str().and_then(|text| text.trim().parse().ok()).filter(|count| (1..=most).contains(count));
    match count {
        // As text, like whatever a variable says: the same number by its own name is no contradiction.
        Some(count) => layers::add(layer, Entry { setting, origin, value: (count * 60).to_string().into() }, problems),
        None => problems.push(Problem {
            setting: setting.path.to_owned(),
            origin: Some(origin),
            message: format!("RATE_LIMIT_PER_MINUTE must be a whole number from 1 to {most}"),
        }),
    }
}
