//! Sign-in as the contract has it, and the rules that a schema can't say.
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

/// How many characters a name has at most.
const MAX_NAME: usize = 120;

/// Makes a user, and with a new `tenant_id` (or none) a tenant that the user owns.
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
    /// Sets tenant and role.
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
    /// What the user is called: as they say, else by their username, else by the part of their address before the `@`, in the
    /// form in which the address is kept.
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
    /// For clients without cookies.
    #[oai(default)]
    pub return_refresh_in_body: bool,
    /// What the session is called in the list of sessions.
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
    /// The name to look up.
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

/// The grants of OAuth 2.0 that there are (RFC 6749, 4.3.2 and 6). Scopes and clients are taken and not used.
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

/// For clients that keep their refresh token themselves, and whose access token may have expired.
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

/// The address of the user who forgot the password.
#[derive(Debug, Clone, Object)]
pub struct ForgotInput {
    #[oai(validator(max_length = 254))]
    pub email: Email,
}

impl Input for ForgotInput {}

/// A new password, and the token that allows it.
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

/// The token that was mailed to an address, and, without a session, the password of the account that has the address.
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

/// What a sign-in gives.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct TokenAnswer {
    pub access_token: String,
    pub token_type: TokenType,
    /// Seconds that the access token is valid for.
    pub expires_in: i64,
    /// Seconds that the refresh token is valid for.
    pub refresh_expires_in: i64,
    /// Only if it is not in the cookie.
    pub refresh_token: Option<String>,
    pub user: User,
}

/// A device that is signed in.
#[derive(Debug, Clone, Object)]
#[oai(rename = "Session")]
pub struct SessionInfo {
    pub id: SessionId,
    #[oai(nullable)]
    pub device_name: Option<String>,
    /// The address that it signed in from.
    #[oai(nullable)]
    pub ip: Option<String>,
    pub created_at: Instant,
    /// When it last got a new access token.
    pub last_used_at: Instant,
    pub expires_at: Instant,
    /// Whether this request is of it.
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
