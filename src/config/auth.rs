//! `[auth]`: tokens, sessions, passwords.
use super::reader::{Read, Reader};
use super::weak::{self, Measure};
use secrecy::SecretString;
use std::time::Duration;

/// Cheaper hashes than this are refused outside development.
const BCRYPT_COST: std::ops::RangeInclusive<u64> = 10..=15;
/// The cheapest that bcrypt knows: fast tests and demo data.
const BCRYPT_COST_IN_DEVELOPMENT: std::ops::RangeInclusive<u64> = 4..=15;

#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Signs access tokens (HS256); 32 bytes at least.
    pub jwt_secret: SecretString,
    /// The secret before it: tokens that it signed are still accepted.
    pub jwt_secret_previous: Option<SecretString>,
    /// The `iss` of access tokens.
    pub issuer: String,
    /// The `aud` of access tokens.
    pub audience: String,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// How long a session lives without being refreshed.
    pub refresh_lifetime: Duration,
    /// How long the token just replaced still gets the same successor.
    pub refresh_grace: Duration,
    /// Whether login answers the refresh token in a cookie.
    pub refresh_in_cookie: bool,
    /// The logarithm (base 2) of the rounds of a password hash.
    pub bcrypt_cost: u32,
}

impl AuthConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let costs = if reader.environment.is_development() { BCRYPT_COST_IN_DEVELOPMENT } else { BCRYPT_COST };
        let jwt_secret = weak::secret(reader, "auth.jwt_secret", Measure::Bytes);
        let jwt_secret_previous = weak::optional_secret(reader, "auth.jwt_secret_previous", Measure::Bytes);
        let issuer = reader.word("auth.issuer");
        let audience = reader.word("auth.audience");
        let access_minutes = reader.number("auth.access_minutes", 1..=1440);
        let refresh_days = reader.number("auth.refresh_days", 1..=365);
        let refresh_grace = reader.seconds("auth.refresh_grace_seconds", 0..=60);
        let refresh_in_cookie = reader.flag("auth.refresh_in_cookie");
        let bcrypt_cost = reader.number("auth.bcrypt_cost", costs);
        Ok(Self {
            jwt_secret: jwt_secret?,
            jwt_secret_previous: jwt_secret_previous?,
            issuer: issuer?,
            audience: audience?,
            access_lifetime: minutes(access_minutes?),
            refresh_lifetime: days(refresh_days?),
            refresh_grace: refresh_grace?,
            refresh_in_cookie: refresh_in_cookie?,
            bcrypt_cost: bcrypt_cost?,
        })
    }

    pub(super) fn for_tests() -> Self {
        Self {
            jwt_secret: "the token secret of all of the tests".into(),
            jwt_secret_previous: None,
            issuer: "bizcenter".to_owned(),
            audience: "bizcenter".to_owned(),
            access_lifetime: minutes(15),
            refresh_lifetime: days(14),
            refresh_grace: Duration::from_secs(10),
            refresh_in_cookie: true,
            bcrypt_cost: 4,
        }
    }
}

fn minutes(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 60)
}

fn days(count: u32) -> Duration {
    minutes(count * 24 * 60)
}
