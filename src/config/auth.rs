//! `[auth]`: tokens, sessions, passwords.
use super::reader::{Read, Reader};
use super::weak::{self, Measure};
use secrecy::SecretString;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Cheaper hashes than this are refused outside development.
const BCRYPT_COST: std::ops::RangeInclusive<u64> = 10..=15;
/// The cheapest that bcrypt knows: fast tests and demo data.
const BCRYPT_COST_IN_DEVELOPMENT: std::ops::RangeInclusive<u64> = 4..=15;

#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Signs access tokens by HS256, and refresh tokens are derived from it; 32 bytes at least.
    pub jwt_secret: SecretString,
    /// The secret before it: tokens that it signed are still accepted.
    pub jwt_secret_previous: Option<SecretString>,
    /// How access tokens are signed.
    pub jwt_algorithm: JwtAlgorithm,
    /// The private key (PKCS#8, PEM) that signs them; there unless the algorithm is HS256.
    pub jwt_key: Option<SecretString>,
    /// The private key before it: tokens that it signed are still accepted.
    pub jwt_key_previous: Option<SecretString>,
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
    /// Where sessions are kept.
    pub session_store: SessionStoreChoice,
    /// The logarithm (base 2) of the rounds of a password hash.
    pub bcrypt_cost: u32,
    /// Whether passwords that everybody tries first are refused.
    pub refuse_common_passwords: bool,
    /// Whether only those sign in whose address is verified.
    pub require_verified_email: bool,
    /// How often sign-ins by one name may fail before the next attempt has to wait.
    pub failures_before_wait: u32,
    /// How often sign-ins from one address may fail before the next attempt has to wait.
    pub failures_before_wait_per_ip: u32,
    /// How long an invitation may be accepted.
    pub invitation_lifetime: Duration,
}

/// Where sessions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStoreChoice {
    /// In Redis where there is one, in the database otherwise.
    Auto,
    Redis,
    Database,
}

impl FromStr for SessionStoreChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "redis" => Ok(Self::Redis),
            "database" => Ok(Self::Database),
            _ => Err("must be auto, redis or database"),
        }
    }
}

/// How access tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// By `jwt_secret`: a program that can verify tokens can make them.
    Hs256,
    /// By `jwt_key`, an Ed25519 key.
    EdDsa,
    /// By `jwt_key`, an RSA key.
    Rs256,
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        })
    }
}

impl FromStr for JwtAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "HS256" => Ok(Self::Hs256),
            "EdDSA" => Ok(Self::EdDsa),
            "RS256" => Ok(Self::Rs256),
            _ => Err("must be HS256, EdDSA or RS256"),
        }
    }
}

impl AuthConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let costs = if reader.environment.is_development() { BCRYPT_COST_IN_DEVELOPMENT } else { BCRYPT_COST };
        let jwt_secret = weak::secret(reader, "auth.jwt_secret", Measure::Bytes);
        let jwt_secret_previous = weak::optional_secret(reader, "auth.jwt_secret_previous", Measure::Bytes);
        let jwt_algorithm = reader.parsed("auth.jwt_algorithm");
        let jwt_key = jwt_key(reader, jwt_algorithm);
        let jwt_key_previous = unless_idle(reader, "auth.jwt_key_previous", jwt_algorithm);
        let issuer = reader.word("auth.issuer");
        let audience = reader.word("auth.audience");
        let access_minutes = reader.number("auth.access_minutes", 1..=1440);
        let refresh_days = reader.number("auth.refresh_days", 1..=365);
        let refresh_grace = reader.seconds("auth.refresh_grace_seconds", 0..=60);
        let refresh_in_cookie = reader.flag("auth.refresh_in_cookie");
        let session_store = session_store(reader);
        let bcrypt_cost = reader.number("auth.bcrypt_cost", costs);
        let refuse_common_passwords = reader.flag("auth.refuse_common_passwords");
        let require_verified_email = require_verified_email(reader);
        let failures_before_wait = reader.number("auth.failures_before_wait", 1..=1000);
        let failures_before_wait_per_ip = reader.number("auth.failures_before_wait_per_ip", 1..=100_000);
        let invitation_days = reader.number("auth.invitation_days", 1..=90);
        Ok(Self {
            jwt_secret: jwt_secret?,
            jwt_secret_previous: jwt_secret_previous?,
            jwt_algorithm: jwt_algorithm?,
            jwt_key: jwt_key?,
            jwt_key_previous: jwt_key_previous?,
            issuer: issuer?,
            audience: audience?,
            access_lifetime: minutes(access_minutes?),
            refresh_lifetime: days(refresh_days?),
            refresh_grace: refresh_grace?,
            refresh_in_cookie: refresh_in_cookie?,
            session_store: session_store?,
            bcrypt_cost: bcrypt_cost?,
            refuse_common_passwords: refuse_common_passwords?,
            require_verified_email: require_verified_email?,
            failures_before_wait: failures_before_wait?,
            failures_before_wait_per_ip: failures_before_wait_per_ip?,
            invitation_lifetime: days(invitation_days?),
        })
    }

    pub(super) fn for_tests() -> Self {
        Self {
            jwt_secret: "the token secret of all of the tests".into(),
            jwt_secret_previous: None,
            jwt_algorithm: JwtAlgorithm::Hs256,
            jwt_key: None,
            jwt_key_previous: None,
            issuer: "bizcenter".to_owned(),
            audience: "bizcenter".to_owned(),
            access_lifetime: minutes(15),
            refresh_lifetime: days(14),
            refresh_grace: Duration::from_secs(10),
            refresh_in_cookie: true,
            session_store: SessionStoreChoice::Auto,
            bcrypt_cost: 4,
            refuse_common_passwords: false,
            require_verified_email: false,
            failures_before_wait: 5,
            failures_before_wait_per_ip: 50,
            invitation_lifetime: days(7),
        }
    }
}

fn session_store(reader: &mut Reader) -> Read<SessionStoreChoice> {
    let choice = reader.parsed("auth.session_store")?;
    if choice == SessionStoreChoice::Redis && !reader.is_given("redis.url") {
        return Err(reader.report("auth.session_store", "is redis without one: set REDIS_URL or REDIS_URL_FILE"));
    }
    Ok(choice)
}

/// Nobody could verify an address without mail; in development, it is in the log.
fn require_verified_email(reader: &mut Reader) -> Read<bool> {
    let is_required = reader.flag("auth.require_verified_email")?;
    if is_required && !reader.environment.is_development() && !reader.is_given("mail.smtp_url") {
        let message = "needs mail, or nobody could sign in: set SMTP_URL or SMTP_URL_FILE";
        return Err(reader.report("auth.require_verified_email", message));
    }
    Ok(is_required)
}

fn jwt_key(reader: &mut Reader, algorithm: Read<JwtAlgorithm>) -> Read<Option<SecretString>> {
    let key = unless_idle(reader, "auth.jwt_key", algorithm)?;
    match algorithm {
        Ok(JwtAlgorithm::EdDsa | JwtAlgorithm::Rs256) if key.is_none() => {
            let message = "is missing, and only HS256 signs without it; set JWT_KEY_FILE or JWT_KEY";
            Err(reader.report("auth.jwt_key", message))
        }
        _ => Ok(key),
    }
}

/// A private key that may be absent. Outside development it must be absent where no token is signed with it: an operator who
/// set it believes that it is in use.
fn unless_idle(reader: &mut Reader, path: &'static str, algorithm: Read<JwtAlgorithm>) -> Read<Option<SecretString>> {
    let key = private_key(reader, path)?;
    match algorithm {
        Ok(JwtAlgorithm::Hs256) if key.is_some() && !reader.environment.is_development() => {
            Err(reader
                .report(path, "is set, but HS256 signs without it; set JWT_ALG to EdDSA or RS256, or leave it out"))
        }
        _ => Ok(key),
    }
}

/// A private key that may be absent. Whether it fits the algorithm shows where it is used; what people mix up, a public
/// key, a certificate or a path, shows here.
fn private_key(reader: &mut Reader, path: &'static str) -> Read<Option<SecretString>> {
    let Some(key) = reader.optional_text(path)? else { return Ok(None) };
    // What holds variables has often no room for several lines, so that people write their ends as `\n`. PEM has no backslash.
    let key = key.replace("\\r", "").replace("\\n", "\n");
    let inside = key.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
    if inside.is_none_or(|rest| !rest.ends_with("-----END PRIVATE KEY-----")) {
        return Err(reader.report(path, "must be a private key (PKCS#8) in PEM: -----BEGIN PRIVATE KEY-----…"));
    }
    Ok(Some(key.into()))
}

fn minutes(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 60)
}

fn days(count: u32) -> Duration {
    minutes(count * 24 * 60)
}
