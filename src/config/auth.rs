//! `[auth]`: tokens, sessions, passwords.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{Checked, Choice, Flag, NonEmptyText, Number, Optional, ValueType, days, minutes, seconds};
use super::weak::{Measure, Secret};
use secrecy::SecretString;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

settings! {
    /// `[auth]`: tokens, sessions, passwords.
    #[derive(Debug, Clone)]
    pub struct AuthConfig {
        /// Signs access tokens by HS256; refresh tokens are derived from it in any case. 32 bytes at least. Needed outside
        /// development, which makes its own once, in data_dir/secrets. Make one by `openssl rand -base64 48`.
        pub jwt_secret: SecretString = setting("auth.jwt_secret", Secret(Measure::Bytes))
            .named(&["JWT_SECRET", "SECRET_KEY", "JWT_SECRET_KEY"])
            .example("replace-this-by-48-random-bytes-in-base64")
            .made_in_development("secrets/jwt_secret")
            .in_tests("the token secret of all of the tests"),

        /// The secret before this one, while you rotate: its tokens are still accepted, none are made.
        pub jwt_secret_previous: Option<SecretString> =
            setting("auth.jwt_secret_previous", Optional(Secret(Measure::Bytes)))
                .example("replace-this-by-the-secret-until-yesterday"),

        /// How access tokens are signed: HS256 by jwt_secret; EdDSA (Ed25519) or RS256 by jwt_key, so that others can verify
        /// them without being able to make them.
        pub jwt_algorithm: JwtAlgorithm = setting("auth.jwt_algorithm", Choice).named(&["JWT_ALG"]).default("HS256"),

        /// The private key (PKCS#8, PEM) of EdDSA or RS256, best by its file: jwt_key_file = "/run/secrets/jwt_key.pem". Make
        /// one by `openssl genpkey -algorithm ed25519`. Where there is room for one line only, write the ends of its lines as
        /// `\n`.
        pub jwt_key: Option<SecretString> =
            setting("auth.jwt_key", Checked(Optional(PrivateKey), fits_the_algorithm))
                .named(&["JWT_KEY"])
                .example("-----BEGIN PRIVATE KEY-----…"),

        /// The private key before this one, while you rotate: its tokens are still accepted, none are made.
        pub jwt_key_previous: Option<SecretString> =
            setting("auth.jwt_key_previous", Checked(Optional(PrivateKey), is_not_idle))
                .example("-----BEGIN PRIVATE KEY-----…"),

        /// What access tokens say in `iss` and `aud`, and what is demanded of them.
        pub issuer: String = setting("auth.issuer", NonEmptyText).default("bizcenter"),
        pub audience: String = setting("auth.audience", NonEmptyText).default("bizcenter"),

        /// How many minutes an access token lives ({range}).
        pub access_lifetime: Duration = setting("auth.access_minutes", minutes(1..=1440))
            .named(&["ACCESS_MIN", "ACCESS_TOKEN_EXPIRE_MINUTES"])
            .default(15),

        /// How many days a session lives without being refreshed ({range}).
        pub refresh_lifetime: Duration = setting("auth.refresh_days", days(1..=365))
            .named(&["REFRESH_DAYS", "REFRESH_TOKEN_EXPIRE_DAYS"])
            .default(14),

        /// For how many seconds a refresh token just replaced still gets the same successor ({range}): lost answers, second
        /// tabs.
        pub refresh_grace: Duration = setting("auth.refresh_grace_seconds", seconds(0..=60)).default(10),

        /// Whether login answers the refresh token in a cookie (HttpOnly) instead of the body.
        pub refresh_in_cookie: bool = setting("auth.refresh_in_cookie", Flag)
            .named(&["REFRESH_IN_COOKIE"])
            .default(true),

        /// Where sessions are kept: redis, database, or auto (Redis where redis.url is set, the database otherwise).
        pub session_store: SessionStore =
            setting("auth.session_store", Checked(Choice, needs_redis)).default("auto"),

        /// The work factor of password hashes: the time doubles with each step ({range}; from 4 in development).
        pub bcrypt_cost: u32 = setting("auth.bcrypt_cost", BcryptCost).default(12).in_tests(4),

        /// Whether passwords that everybody tries first are refused: {default}.
        pub refuse_common_passwords: bool = setting("auth.refuse_common_passwords", Flag)
            .default_in_development(false)
            .default_elsewhere(true),

        /// Whether only people who have verified their e-mail address can sign in. Outside development it needs
        /// mail.smtp_url.
        pub require_verified_email: bool =
            setting("auth.require_verified_email", Checked(Flag, needs_mail)).default(false),

        /// How many failed sign-ins by one name ({range}) before the next has to wait.
        pub failures_before_wait: u32 = setting("auth.failures_before_wait", Number(1..=1000)).default(5),

        /// How many failed sign-ins from one address ({range}) before the next has to wait.
        pub failures_before_wait_per_ip: u32 =
            setting("auth.failures_before_wait_per_ip", Number(1..=100_000)).default(50),

        /// How many days an invitation may be accepted ({range}).
        pub invitation_lifetime: Duration = setting("auth.invitation_days", days(1..=90)).default(7),
    }
}

/// Where sessions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStore {
    /// In Redis if `redis.url` is set, and in the database otherwise.
    Auto,
    Redis,
    Database,
}

impl FromStr for SessionStore {
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
    /// With `jwt_secret`. A service that can verify tokens can make them too.
    Hs256,
    /// With `jwt_key`, an Ed25519 key.
    EdDsa,
    /// With `jwt_key`, an RSA key.
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

/// The logarithm (base 2) of the rounds of a password hash. Cheap hashes are refused outside development.
struct BcryptCost;

impl BcryptCost {
    const RANGE: RangeInclusive<u64> = 10..=15;
    /// The range begins at the lowest cost that bcrypt allows, for fast tests and demo data.
    const RANGE_IN_DEVELOPMENT: RangeInclusive<u64> = 4..=15;
}

impl ValueType<u32> for BcryptCost {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<u32> {
        let is_development = reader.environment.is_development();
        Number(if is_development { Self::RANGE_IN_DEVELOPMENT } else { Self::RANGE }).read(reader, path)
    }

    fn range(&self) -> Option<RangeInclusive<u64>> {
        Some(Self::RANGE)
    }
}

fn needs_redis(choice: &SessionStore, reader: &Reader) -> Result<(), &'static str> {
    if *choice == SessionStore::Redis && !reader.is_given("redis.url") {
        return Err("is redis without one: set REDIS_URL or REDIS_URL_FILE");
    }
    Ok(())
}

/// Without mail, nobody could verify an address. In development, the mails are in the log.
fn needs_mail(is_required: &bool, reader: &Reader) -> Result<(), &'static str> {
    if *is_required && !reader.environment.is_development() && !reader.is_given("mail.smtp_url") {
        return Err("needs mail, or nobody could sign in: set SMTP_URL or SMTP_URL_FILE");
    }
    Ok(())
}

/// Checks the private key that signs. It must be set if the algorithm needs one. If not, it must pass [`is_not_idle`].
fn fits_the_algorithm(key: &Option<SecretString>, reader: &Reader) -> Result<(), &'static str> {
    match algorithm(reader) {
        Some(JwtAlgorithm::EdDsa | JwtAlgorithm::Rs256) if key.is_none() => {
            Err("is missing, and only HS256 signs without it; set JWT_KEY_FILE or JWT_KEY")
        }
        _ => is_not_idle(key, reader),
    }
}

/// Outside development, a private key must not be set if the algorithm signs without one: an operator who has set it
/// believes that it is used.
fn is_not_idle(key: &Option<SecretString>, reader: &Reader) -> Result<(), &'static str> {
    match algorithm(reader) {
        Some(JwtAlgorithm::Hs256) if key.is_some() && !reader.environment.is_development() => {
            Err("is set, but HS256 signs without it; set JWT_ALG to EdDSA or RS256, or leave it out")
        }
        _ => Ok(()),
    }
}

fn algorithm(reader: &Reader) -> Option<JwtAlgorithm> {
    reader.peek::<String>("auth.jwt_algorithm")?.parse().ok()
}

/// A private key (PKCS#8) in PEM. Whether it fits the algorithm is checked where it is used. The usual mistakes, a
/// public key, a certificate or a path, are refused here.
struct PrivateKey;

impl ValueType<SecretString> for PrivateKey {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<SecretString> {
        // Many systems have room for one line only in the value of a variable, and so people write the ends of lines as
        // `\n`. This is safe to replace, because PEM has no backslash.
        let key = reader.text(path)?.replace("\\r", "").replace("\\n", "\n");
        let inside = key.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
        if inside.is_none_or(|rest| !rest.ends_with("-----END PRIVATE KEY-----")) {
            return Err(reader.report(path, "must be a private key (PKCS#8) in PEM: -----BEGIN PRIVATE KEY-----…"));
        }
        Ok(key.into())
    }

    fn is_secret(&self) -> bool {
        true
    }
}
