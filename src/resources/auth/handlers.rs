//! Sign-in over HTTP.
use super::Tag;
use super::answers::{SignedIn, SignedOut, SignedOutOrRefused};
use super::grant::Grant;
use super::presented::Presented;
use super::registration::Registration;
use super::sign_out::SigningOut;
use super::tokens::TokenIssuer;
use super::types::{
    ForgotInput, LoginInput, LogoutInput, PasswordInput, RefreshInput, RegisterInput, ResetInput, SessionFilter,
    SessionInfo, VerifyInput,
};
use super::{Own, Read, Sessions, queries};
use crate::api::list::List;
use crate::api::optional_session::OptionalSession;
use crate::api::visitor::{Anonymous, Login, Refresh, Register, SignOut, Token};
use crate::api::{
    Accepted, Also, Caller, Created, Deleted, Found, IfNoneMatch, Json, Listed, OptionalJson, Query, Visitor,
};
use crate::auth::Credentials;
use crate::auth::mails::EmailTemplates;
use crate::auth::token_mail::SendReset;
use crate::base::addresses::canonical_login;
use crate::base::error::{Error, Result};
use crate::base::formats::is_one_line;
use crate::db::sessions::EndReason;
use crate::db::types::SessionId;
use crate::db::{Action, Db, Once};
use crate::resources::users;
use crate::resources::users::User;
use poem::Request;
use poem::http::header;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct AuthApi {
    pub db: Db,
    pub credentials: Credentials,
    pub tokens: TokenIssuer,
    pub registration: Registration,
    pub templates: EmailTemplates,
}

#[OpenApi(prefix_path = "/api/v1/auth", tag = "Tag::Auth")]
impl AuthApi {
    /// Register a user
    #[oai(path = "/register", method = "post", operation_id = "auth_register")]
    async fn register(
        &self,
        visitor: Visitor<Register>,
        Json(input): Json<RegisterInput>,
    ) -> Result<Created<User>, Also<403, 409>> {
        let user = self.registration.register(input, visitor.origin).await?;
        Ok(Created(Once { result: user, replayed: false }))
    }

    /// Sign in
    #[oai(path = "/login", method = "post", operation_id = "auth_login")]
    async fn login(
        &self,
        visitor: Visitor<Login>,
        request: &Request,
        Json(input): Json<LoginInput>,
    ) -> Result<SignedIn, Also<401, 403>> {
        let device = input.device_name.clone().or_else(|| user_agent(request));
        let tokens = self.sign_in(&input.login(), &input.password, device, visitor.origin).await?;
        Ok(SignedIn::new(tokens, input.return_refresh_in_body, &self.tokens.options))
    }

    /// Get a token
    #[oai(path = "/token", method = "post", operation_id = "auth_token")]
    async fn token(
        &self,
        visitor: Visitor<Token>,
        request: &Request,
        grant: Grant,
    ) -> Result<SignedIn, Also<401, 403>> {
        let tokens = match grant {
            Grant::Password { username, password } => {
                let (login, device) = (canonical_login(&username), user_agent(request));
                self.sign_in(&login, &password, device, visitor.origin).await?
            }
            Grant::RefreshToken(token) => self.tokens.refresh_session(&token, &visitor).await?,
        };
        Ok(SignedIn::new(tokens, true, &self.tokens.options))
    }

    /// Refresh tokens
    #[oai(path = "/refresh", method = "post", operation_id = "auth_refresh")]
    async fn refresh(
        &self,
        visitor: Visitor<Refresh>,
        presented: Presented,
        OptionalJson(input): OptionalJson<RefreshInput>,
    ) -> Result<SignedIn> {
        let (token, in_body) = match (input, presented) {
            (Some(RefreshInput { refresh_token }), _) => (refresh_token, true),
            (None, Presented::InAuthorization(token)) => (token, true),
            (None, Presented::InCookie(token)) => (token, false),
            (None, Presented::Nowhere) => {
                visitor.charge.take(&[visitor.charge.limits().anonymous(visitor.origin.ip)]).await?;
                return Err(Error::Unauthenticated);
            }
        };
        let tokens = self.tokens.refresh_session(&token, &visitor).await?;
        Ok(SignedIn::new(tokens, in_body, &self.tokens.options))
    }

    /// Sign out
    #[oai(path = "/logout", method = "post", operation_id = "auth_logout")]
    async fn logout(
        &self,
        visitor: Visitor<SignOut>,
        signing_out: SigningOut,
        OptionalJson(input): OptionalJson<LogoutInput>,
    ) -> Result<SignedOutOrRefused> {
        let in_body = input.and_then(|LogoutInput { refresh_token }| refresh_token);
        let signed_out = self.tokens.sign_out(signing_out, in_body, &visitor).await;
        SignedOutOrRefused::new(signed_out, self.tokens.options)
    }

    /// Sign out everywhere
    #[oai(path = "/logout-all", method = "post", operation_id = "auth_logout_all")]
    async fn logout_all(&self, caller: Caller<Own>) -> Result<SignedOut> {
        self.tokens.sessions.end_all(caller.as_actor()).await?;
        Ok(SignedOut(self.tokens.options))
    }

    /// Get the current user
    #[oai(path = "/me", method = "get", operation_id = "auth_me")]
    async fn me(&self, caller: Caller<Read>, if_none_match: IfNoneMatch) -> Result<Found<User>> {
        let user = self.db.find(&caller, async |tx| users::find(tx, caller.user()).await).await?;
        Ok(Found(user, if_none_match))
    }

    /// List sessions
    #[oai(path = "/sessions", method = "get", operation_id = "auth_session_list")]
    async fn sessions(
        &self,
        caller: Caller<Sessions>,
        Query(list): Query<List<SessionFilter>>,
    ) -> Result<Listed<SessionInfo>> {
        let current = caller.session()?;
        let (devices, total) = match self.tokens.sessions.devices(caller.as_actor()).await? {
            Some(devices) => list.pick(devices, |device| (device.created_at, device.id))?,
            None => list.read(&self.db, &caller, async |tx| queries::list(tx, caller.user(), &list).await).await?,
        };
        let sessions = devices.into_iter().map(|device| SessionInfo::of(device, current)).collect();
        Ok(Listed(list.page(sessions, total)))
    }

    /// End a session
    #[oai(path = "/sessions/:session_id", method = "delete", operation_id = "auth_session_end")]
    async fn end_session(&self, caller: Caller<Own>, Path(session_id): Path<SessionId>) -> Result<Deleted> {
        let sessions = &self.tokens.sessions;
        sessions.end(caller.as_actor(), session_id, Action::SignOut, EndReason::Revoked).await?;
        Ok(Deleted)
    }

    /// Change a password
    #[oai(path = "/password", method = "post", operation_id = "auth_password")]
    async fn password(&self, caller: Caller<Own>, Json(input): Json<PasswordInput>) -> Result<Deleted> {
        let PasswordInput { current_password, new_password } = input;
        let session = caller.session()?;
        self.change_password(caller.as_actor(), session, &current_password, &new_password).await?;
        Ok(Deleted)
    }

    /// Request a new password
    #[oai(path = "/password/forgot", method = "post", operation_id = "auth_password_forgot")]
    async fn forgot(&self, visitor: Visitor<Anonymous>, Json(input): Json<ForgotInput>) -> Result<Accepted> {
        let ForgotInput { email } = input;
        self.db.enqueue(SendReset { email: email.to_string() }, &visitor.origin).await?;
        Ok(Accepted)
    }

    /// Reset a password
    #[oai(path = "/password/reset", method = "post", operation_id = "auth_password_reset")]
    async fn reset(&self, visitor: Visitor<Anonymous>, Json(input): Json<ResetInput>) -> Result<Deleted> {
        self.reset_password(input, visitor.origin).await?;
        Ok(Deleted)
    }

    /// Verify an e-mail address
    #[oai(path = "/email/verify", method = "post", operation_id = "auth_email_verify")]
    async fn verify(
        &self,
        visitor: Visitor<Anonymous>,
        session: OptionalSession,
        Json(input): Json<VerifyInput>,
    ) -> Result<Deleted> {
        self.verify_email(input, session, visitor.origin).await?;
        Ok(Deleted)
    }
}

/// The name of a device whose client gives no name: its `User-Agent`, on one line. Bytes that are not UTF-8 become
/// U+FFFD.
fn user_agent(request: &Request) -> Option<String> {
    let agent = String::from_utf8_lossy(request.headers().get(header::USER_AGENT)?.as_bytes());
    let on_one_line = |c: char| if is_one_line(c.encode_utf8(&mut [0; 4])) { c } else { ' ' };
    let agent: String = agent.chars().map(on_one_line).take(120).collect();
    (!agent.trim().is_empty()).then_some(agent)
}
