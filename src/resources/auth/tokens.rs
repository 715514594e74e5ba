//! Issues the tokens of a session at sign-in, and renews them.
use super::types::{TokenAnswer, TokenType};
use crate::api::Visitor;
use crate::auth::Actor;
use crate::auth::access_token::{AccessTokens, Bearer};
use crate::auth::credentials::CheckedLogin;
use crate::auth::refresh_token::{GenuineToken, RefreshToken, RefreshTokens};
use crate::auth::sessions::{Sessions, Verdict, rotation_verdict};
use crate::base::addresses::canonical_login;
use crate::base::error::{Error, Result};
use crate::db::sessions::{EndReason, NewSession, Rotation};
use crate::db::types::{Instant, SessionId};
use crate::db::{Action, Db, Origin, ReadTx, WriteTx};
use crate::resources::users;
use crate::resources::users::User;
use chrono::Duration;

/// How often a refresh is tried while other requests rotate the token of the same session.
const ROTATION_TRIES: usize = 3;

#[derive(Clone, Copy, Debug)]
pub struct TokenOptions {
    /// How long a session lasts without being used.
    pub session_lifetime: Duration,
    /// How long the previous refresh token is still accepted after a rotation.
    pub refresh_grace: Duration,
    /// Whether browsers get the refresh token in a cookie.
    pub refresh_in_cookie: bool,
    /// Whether that cookie is only sent over HTTPS.
    pub secure_cookie: bool,
}

/// Issues tokens for a checked password, and the next tokens for a refresh token.
#[derive(Clone)]
pub struct TokenIssuer {
    pub db: Db,
    pub access: AccessTokens,
    pub refresh: RefreshTokens,
    pub sessions: Sessions,
    pub options: TokenOptions,
}

/// The tokens of a sign-in. `answer` has no refresh token yet, because that is sent either in the body or in a cookie.
pub struct Tokens {
    pub answer: TokenAnswer,
    pub refresh_token: String,
}

impl TokenIssuer {
    /// Opens a session for a user whose password was checked. `InvalidCredentials` if the hash was replaced after the
    /// check, by the hash of a new password or because another sign-in renewed it.
    pub async fn open(&self, login: CheckedLogin, device: Option<String>, origin: &Origin) -> Result<Tokens> {
        let CheckedLogin { proof, hash, renewed } = login;
        let actor = Actor::authenticated(proof, origin.clone());
        let user = match self.db.find(&actor, async |tx: &mut ReadTx| users::find(tx, proof.user()).await).await {
            Err(Error::InvalidToken) => return Err(Error::InvalidCredentials), // the user was removed meanwhile
            user => user?,
        };
        let now = Instant::from(self.db.env().now());
        let session: SessionId = self.db.env().uuid().into();
        let token = RefreshToken { tenant: proof.tenant(), session, generation: 0 };
        let new = NewSession {
            id: session,
            token_hash: self.refresh.hash(&token),
            device_name: device,
            expires_at: self.expiry(now),
            checked: hash,
            renewed,
        };
        self.sessions.open(&actor, new).await?;
        let user = self.with_canonical_email(&actor, user).await;
        self.tokens(user, session, self.refresh.print(&token), now)
    }

    /// Stores the user's e-mail address in its canonical form. If that fails, the address stays as it was: sign-in
    /// finds both forms.
    async fn with_canonical_email(&self, actor: &Actor, user: User) -> User {
        if canonical_login(&user.email) == user.email {
            return user;
        }
        match self.db.write(actor, async |tx: &mut WriteTx| users::renew_email(tx).await).await {
            Ok(renewed) => renewed,
            Err(Error::PreconditionFailed) => {
                let renewed = self.db.find(actor, async |tx: &mut ReadTx| users::find(tx, user.id).await).await;
                renewed.unwrap_or(user)
            }
            Err(error) => {
                tracing::warn!(?error, user.id = %user.id, "An address keeps its former spelling");
                user
            }
        }
    }

    /// Returns the next tokens of a session, for its current refresh token.
    pub async fn refresh_session<L>(&self, presented: &str, visitor: &Visitor<L>) -> Result<Tokens> {
        let presented = self.read_refresh_token(presented, visitor).await?;
        for _ in 0..ROTATION_TRIES {
            if let Some(tokens) = self.try_refresh(presented, &visitor.origin).await? {
                return Ok(tokens);
            }
        }
        Err(Error::Unavailable(anyhow::anyhow!("a session was refreshed {ROTATION_TRIES} times meanwhile")))
    }

    /// Verifies a refresh token and returns its content. A token that this server issued counts against the rate limit
    /// of its session. Any other token is a guess: it counts against the rate limit of the visitor's IP address, and
    /// fails with `InvalidToken`.
    pub async fn read_refresh_token<L>(&self, text: &str, visitor: &Visitor<L>) -> Result<GenuineToken> {
        let (charge, read) = (&visitor.charge, self.refresh.read(text));
        let limit = match &read {
            Some(token) => charge.limits().refresh(token.tenant, token.session),
            None => charge.limits().anonymous(visitor.origin.ip),
        };
        charge.take(&[limit]).await?;
        read.ok_or(Error::InvalidToken)
    }

    /// Returns `None` if another request rotated the token after this request had read the session.
    async fn try_refresh(&self, presented: GenuineToken, origin: &Origin) -> Result<Option<Tokens>> {
        let id = presented.session;
        let (proof, session) = self.sessions.of_token(&presented, origin).await?.ok_or(Error::InvalidToken)?;
        let actor = Actor::authenticated(proof, origin.clone());
        let principal = self.db.principal(&actor, session.user).await?.ok_or(Error::InvalidToken)?;
        let now = Instant::from(self.db.env().now());
        let generation = match rotation_verdict(&session.state, presented.generation, now, self.options.refresh_grace) {
            Verdict::Over => return Err(Error::InvalidToken),
            _ if session.epoch < principal.epoch => return Err(Error::InvalidToken),
            Verdict::Reused => {
                tracing::warn!(session.id = %id, "A refresh token was used twice: the session is ended");
                let ended = self.sessions.end(&actor, id, Action::TokenReuse, EndReason::TokenReused).await;
                return match ended {
                    Ok(()) | Err(Error::NotFound) => Err(Error::InvalidToken), // `NotFound`: ended meanwhile
                    Err(error) => Err(error),
                };
            }
            Verdict::Repeat { current } => current,
            Verdict::Rotate { next } => next,
        };
        // The MAC proves that this server issued the token. The hash proves that the token belongs to this row.
        let current = RefreshToken { generation: session.state.generation, ..*presented };
        let given = self.refresh.print_as_given(&current, &session.token_hash).ok_or(Error::InvalidToken)?;
        let token = if generation == session.state.generation {
            given
        } else {
            let next = RefreshToken { generation, ..*presented };
            let token_hash = self.refresh.hash(&next);
            let rotation = Rotation { from: session.state.generation, token_hash, expires_at: self.expiry(now) };
            if !self.sessions.rotate(&actor, id, rotation).await? {
                return Ok(None);
            }
            self.refresh.print(&next)
        };
        let user = self.db.find(&actor, async |tx| users::find(tx, session.user).await).await?;
        self.tokens(user, id, token, now).map(Some)
    }

    fn expiry(&self, now: Instant) -> Instant {
        (now.0 + self.options.session_lifetime).into()
    }

    fn tokens(&self, user: User, session: SessionId, refresh_token: String, now: Instant) -> Result<Tokens> {
        let bearer = Bearer { user: user.id, tenant: user.tenant_id, session, role: user.role, email: &user.email };
        let answer = TokenAnswer {
            access_token: self.access.sign(&bearer, self.db.env().uuid(), now)?,
            token_type: TokenType::Bearer,
            expires_in: self.access.lifetime().num_seconds(),
            refresh_expires_in: self.options.session_lifetime.num_seconds(),
            refresh_token: None,
            user,
        };
        Ok(Tokens { answer, refresh_token })
    }
}
