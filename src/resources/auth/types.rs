//! The types of sign-in in the contract, and the rules that a schema can't express.
use crate::api::Input;
use crate::api::list::Filter;
use crate::api::scalars::{Email, Password};
use crate::auth::passwords::check_password;
use crate::auth::sessions::Device;
use crate::base::addresses::canonical_login;
use crate::base::error::Detail;
use crate::db::types::{Instant, SessionId};
use crate::resources::users::User;
use poem_openapi::{Enum, Object};
use serde::Serialize;

/// The greatest length of a name, in characters.
const MAX_NAME: usize = 120;

/// Registers a user. A new `tenant_id`, or none, also creates a tenant that the user owns.
#[derive(Debug, Clone, Object)]
pub struct RegisterInput {
    #[oai(validator(max_length = 254))]
    pub email: Email,
    #[oai(validator(min_length = 8, max_length = 72))]
    pub password: Password,
    #[oai(validator(min_length = 1, max_length = 120))]
    pub name: Option<String>,
    #[oai(validator(min_length = 3, max_length = 50, pattern = "^[a-z0-9._-]+$"))]
    pub username: Option<String>,
    #[oai(validator(min_length = 1, max_length = 120))]
    pub tenant_name: Option<String>,
    /// The tenant's slug.
    #[oai(validator(min_length = 3, max_length = 50, pattern = "^[a-z0-9-]+$"))]
    pub tenant_id: Option<String>,
    /// The invitation sets the tenant and the role.
    #[oai(validator(max_length = 1000))]
    pub invitation_token: Option<String>,
}

impl Input for RegisterInput {
    fn check(&self, problems: &mut Detail) {
        check_password(&self.password, "password", problems);
        if let Some(name) = &self.name {
            problems.one_line("name", name);
        }
        if let Some(name) = &self.tenant_name {
            problems.one_line("tenant_name", name);
        }
    }
}

impl RegisterInput {
    /// The name of the user: `name` if it is given, else the username, else the part of the e-mail address before the
    /// `@`. That part is taken from the canonical form of the address, in which it is stored.
    pub fn name(&self) -> String {
        let email = self.email.as_str();
        let given = self.name.clone().or_else(|| self.username.clone());
        given.unwrap_or_else(|| {
            let local = email.rsplit_once('@').map_or(email, |(local, _)| local);
            local.chars().take(MAX_NAME).collect()
        })
    }
}

/// A password and the name that it belongs to: either `email` or `username`.
#[derive(Debug, Clone, Object)]
pub struct LoginInput {
    #[oai(validator(max_length = 254))]
    pub email: Option<Email>,
    #[oai(validator(max_length = 255))]
    pub username: Option<String>,
    #[oai(validator(max_length = 200))]
    pub password: Password,
    /// Whether the refresh token is sent in the body instead of a cookie, for clients without cookies.
    #[oai(default)]
    pub return_refresh_in_body: bool,
    /// The name of the device in the list of sessions.
    #[oai(validator(max_length = 120))]
    pub device_name: Option<String>,
}

impl Input for LoginInput {
    fn check(&self, problems: &mut Detail) {
        if self.email.is_some() == self.username.is_some() {
            problems.add("email", "exactly one of `email` and `username` is required");
        }
        if let Some(name) = &self.device_name {
            problems.one_line("device_name", name);
        }
    }
}

impl LoginInput {
    /// The login to look up: the e-mail address or the username, in its canonical form.
    pub fn login(&self) -> String {
        let name = self.email.as_ref().map(Email::as_str).or(self.username.as_deref());
        canonical_login(name.unwrap_or_default())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum GrantType {
    Password,
    RefreshToken,
}

/// The grants of OAuth 2.0 that the server supports (RFC 6749, 4.3.2 and 6). `scope`, `client_id` and `client_secret`
/// are accepted and not used.
#[derive(Debug, Clone, Object)]
pub struct TokenForm {
    pub grant_type: GrantType,
    /// An e-mail address or a username.
    #[oai(validator(max_length = 255))]
    pub username: Option<String>,
    #[oai(validator(max_length = 200))]
    pub password: Option<Password>,
    #[oai(validator(max_length = 1000))]
    pub refresh_token: Option<String>,
    #[oai(validator(max_length = 1000))]
    pub scope: Option<String>,
    #[oai(validator(max_length = 1000))]
    pub client_id: Option<String>,
    #[oai(validator(max_length = 1000))]
    pub client_secret: Option<String>,
}

impl Input for TokenForm {}

#[derive(Debug, Clone, Object)]
pub struct RefreshInput {
    #[oai(validator(max_length = 1000))]
    pub refresh_token: String,
}

impl Input for RefreshInput {}

/// The refresh token of the session to end, for clients that keep the token themselves. The token is enough even if the
/// access token has expired.
#[derive(Debug, Clone, Object)]
pub struct LogoutInput {
    #[oai(validator(max_length = 1000))]
    pub refresh_token: Option<String>,
}

impl Input for LogoutInput {}

#[derive(Debug, Clone, Object)]
pub struct PasswordInput {
    #[oai(validator(max_length = 200))]
    pub current_password: Password,
    #[oai(validator(min_length = 8, max_length = 72))]
    pub new_password: Password,
}

impl Input for PasswordInput {
    fn check(&self, problems: &mut Detail) {
        check_password(&self.new_password, "new_password", problems);
    }
}

/// The e-mail address of the user who has forgotten their password.
#[derive(Debug, Clone, Object)]
pub struct ForgotInput {
    #[oai(validator(max_length = 254))]
    pub email: Email,
}

impl Input for ForgotInput {}

/// A new password, and the token from the mail that allows the change.
#[derive(Debug, Clone, Object)]
pub struct ResetInput {
    #[oai(validator(max_length = 1000))]
    pub token: String,
    #[oai(validator(min_length = 8, max_length = 72))]
    pub password: Password,
}

impl Input for ResetInput {
    fn check(&self, problems: &mut Detail) {
        check_password(&self.password, "password", problems);
    }
}

/// The token that was mailed to an address. Without a session, the password of the account with that address is needed
/// too.
#[derive(Debug, Clone, Object)]
pub struct VerifyInput {
    #[oai(validator(max_length = 1000))]
    pub token: String,
    #[oai(validator(max_length = 200))]
    pub password: Option<Password>,
}

impl Input for VerifyInput {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum TokenType {
    Bearer,
}

/// The answer to a sign-in: the tokens of the session, and its user.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct TokenAnswer {
    pub access_token: String,
    pub token_type: TokenType,
    /// Seconds that the access token is valid for.
    pub expires_in: i64,
    /// Seconds that the refresh token is valid for.
    pub refresh_expires_in: i64,
    /// Present only if the refresh token is not in the cookie.
    pub refresh_token: Option<String>,
    pub user: User,
}

/// A device that is signed in.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(rename = "Session")]
pub struct SessionInfo {
    pub id: SessionId,
    #[oai(nullable)]
    pub device_name: Option<String>,
    /// The IP address from which the device signed in.
    #[oai(nullable)]
    pub ip: Option<String>,
    pub created_at: Instant,
    /// The time at which the device last got an access token.
    pub last_used_at: Instant,
    pub expires_at: Instant,
    /// Whether this request belongs to the session.
    pub is_current: bool,
}

impl SessionInfo {
    pub fn of(device: Device, current: SessionId) -> Self {
        let Device { id, device_name, ip, created_at, last_used_at, expires_at } = device;
        Self { id, device_name, ip, created_at, last_used_at, expires_at, is_current: id == current }
    }
}

crate::record! {
    SessionInfo {
        id: SessionId, kind: "session", table: sessions, href: "/api/v1/auth/sessions/{id}", read_by: super::Read,
        held: [|person| super::queries::sessions_of(person)],
    }
}

/// Sessions have no filters.
#[derive(Debug, Clone, Object)]
pub struct SessionFilter {}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum SessionSort {
    #[default]
    CreatedAt,
}

impl Filter for SessionFilter {
    type Item = SessionInfo;
    type Column = SessionSort;
    const IS_PLAIN: bool = true;
}
