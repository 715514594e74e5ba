//! Passwords and tokens: how people sign in, and stay so.
use super::mails::EmailTemplates;
use super::types::{TokenAnswer, TokenType};
use crate::api::Visitor;
use crate::api::scalars::Password;
use crate::api::verified::SendVerification;
use crate::auth::Actor;
use crate::auth::access_token::{AccessTokens, Bearer};
use crate::auth::attempts::{Attempt, Attempts};
use crate::auth::common_passwords::is_common;
use crate::auth::mail_cap::MailCap;
use crate::auth::passwords::{Checked, Passwords};
use crate::auth::refresh_token::{RefreshToken, RefreshTokens};
use crate::auth::sessions::{Sessions, Verdict, rotation_verdict};
use crate::base::addresses::canonical_login;
use crate::base::error::{Error, Result};
use crate::base::queue::{Claimant, FairQueue, Turn};
use crate::db::sessions::{EndReason, NewSession, Rotation};
use crate::db::types::{Instant, SessionId, TenantId, UserId};
use crate::db::{Action, Change, Db, Origin, ReadTx, Scope, WriteScope, WriteTx};
use crate::resources::users;
use crate::resources::users::User;
use chrono::Duration;
use uuid::Uuid;

/// How many failed sign-ins are written down at once. The next ones wait, known or not, so that a flood neither piles up
/// nor takes all connections.
pub const MAX_CONCURRENT_LOGIN_AUDITS: usize = 4;

/// How often a refresh tries again when another one of the same session was faster.
const ROTATION_TRIES: usize = 3;

#[derive(Clone)]
pub struct SignIn {
    pub db: Db,
    pub passwords: Passwords,
    pub access: AccessTokens,
    pub refresh: RefreshTokens,
    pub sessions: Sessions,
    pub attempts: Attempts,
    /// [`MAX_CONCURRENT_LOGIN_AUDITS`].
    pub notes: FairQueue,
    pub mail_cap: MailCap,
    pub templates: EmailTemplates,
    pub options: SignInOptions,
}

#[derive(Clone, Copy, Debug)]
pub struct SignInOptions {
    /// How long a session lasts without being used.
    pub session_lifetime: Duration,
    /// How long the predecessor of a refresh token is still answered.
    pub refresh_grace: Duration,
    /// Whether browsers get the refresh token in a cookie.
    pub refresh_in_cookie: bool,
    /// Whether that cookie is only sent over HTTPS.
    pub secure_cookie: bool,
    pub refuse_common_passwords: bool,
    /// Whether nobody signs in before their address is verified.
    pub require_verified_email: bool,
}

/// What a sign-in gives: the answer, without its refresh token, which is handed over in the body or in a cookie.
pub struct Tokens {
    pub answer: TokenAnswer,
    pub refresh_token: String,
}

impl SignIn {
    /// Opens a session for a client that knows the password.
    pub async fn login(
        &self,
        login: &str,
        password: &Password,
        device: Option<String>,
        origin: Origin,
    ) -> Result<Tokens> {
        self.sessions.can_open().await?;
        let (user, checked) = self.check_attempt(login, password, &origin).await?;
        let found = Some((user.tenant_id, user.id));
        match self.open(user, checked, password, device.clone(), &origin).await {
            // Its hash was replaced since it was checked: by another password's, or as another sign-in renewed it.
            Err(Error::InvalidCredentials) => {
                let (user, checked) = self.check_password(found, password, &origin).await?;
                self.open(user, checked, password, device, &origin).await
            }
            opened => opened,
        }
    }

    async fn open(
        &self,
        user: User,
        checked: Checked,
        password: &Password,
        device: Option<String>,
        origin: &Origin,
    ) -> Result<Tokens> {
        let renewed = self.passwords.renewed(Claimant::visitor(origin.ip), password, &checked).await;
        let renewed = renewed.unwrap_or_else(|error| {
            tracing::debug!(?error, "A password keeps its former hash");
            None // it was right all the same
        });
        let now = Instant::from(self.db.env().now());
        let session: SessionId = self.db.env().uuid().into();
        let token = RefreshToken { tenant: user.tenant_id, session, generation: 0 };
        let new = NewSession {
            id: session,
            token_hash: self.refresh.hash(&token),
            device_name: device,
            expires_at: self.expiry(now),
            checked: checked.hash,
            renewed,
        };
        let actor = Actor::authenticated(user.tenant_id, user.id, origin.clone());
        self.sessions.open(&actor, new).await?;
        let user = self.with_canonical_email(&actor, user).await;
        self.tokens(user, session, self.refresh.print(&token), now)
    }

    /// The user, whose address is stored in its canonical form from now on. Where that fails, it stays as it was: it is found
    /// in both forms.
    async fn with_canonical_email(&self, actor: &Actor, user: User) -> User {
        if canonical_login(&user.email) == user.email {
            return user;
        }
        match self.db.write(actor, async |tx: &mut WriteTx| users::renew_email(tx).await).await {
            Ok(renewed) => renewed,
            Err(Error::PreconditionFailed) => {
                let renewed = self.db.read(actor, async |tx: &mut ReadTx| users::find(tx, user.id).await).await;
                renewed.unwrap_or(user)
            }
            Err(error) => {
                tracing::warn!(?error, user.id = %user.id, "An address keeps its former spelling");
                user
            }
        }
    }

    /// Lets a try through only where there were not too many, and counts it by how it ended. Where the account waits because of
    /// tries by its other name, even the right password is refused as if it were wrong: only a visitor who types the name that
    /// has failed is told of the wait.
    async fn check_attempt(&self, login: &str, password: &Password, origin: &Origin) -> Result<(User, Checked)> {
        let found = self.db.find_login(login, origin).await?;
        let account = found.map_or_else(|| login.to_owned(), |(_, user)| user.to_string());
        let attempt = self.attempts.begin(login, &account, origin.ip).await?;
        let looked_at = found.filter(|_| !attempt.is_locked);
        let checked = self.check_password(looked_at, password, origin).await;
        match &checked {
            Ok(_) | Err(Error::InactiveUser | Error::UnverifiedEmail) => attempt.succeed().await,
            Err(Error::InvalidCredentials) => {
                let place = self.notes.turn(Claimant::visitor(origin.ip)).await;
                if let Some((tenant, user)) = found {
                    self.record_failed_login(Actor::unproven(tenant, user, origin.clone()), place);
                }
            }
            Err(_) => attempt.discard().await,
        }
        checked
    }

    /// Writes a failed sign-in into the audit log, beside the answer: how long that takes must not reveal which names are known.
    fn record_failed_login(&self, actor: Actor, place: Turn) {
        let db = self.db.clone();
        tokio::spawn(async move {
            let user = actor.actor();
            let note = async |tx: &mut WriteTx| tx.happened(Change::of(Action::SignInFailed, user)).await;
            if let Err(error) = db.write(&actor, note).await {
                tracing::warn!(?error, user.id = %user, "A failed sign-in can't be written down");
            }
            drop(place);
        });
    }

    /// An unknown name takes as long, and is told the same, as a wrong password.
    async fn check_password(
        &self,
        found: Option<(TenantId, UserId)>,
        password: &Password,
        origin: &Origin,
    ) -> Result<(User, Checked)> {
        let (tenant, user) = found.unwrap_or_else(|| (Uuid::nil().into(), Uuid::nil().into()));
        let actor = Actor::unproven(tenant, user, origin.clone());
        let (user, hash) = match self.credentials(&actor, user).await? {
            Some(users::Credentials { user, password_hash }) => (Some(user), password_hash),
            None => (None, None),
        };
        let checked = self.passwords.verify(Claimant::visitor(origin.ip), password, hash).await?;
        let (Some(user), Some(checked)) = (user, checked) else { return Err(Error::InvalidCredentials) };
        if self.db.principal(&actor, user.id).await?.is_none() {
            self.note_refusal(&actor, None).await?; // or their tenant is suspended
            return Err(Error::InactiveUser);
        }
        if self.options.require_verified_email && !user.email_verified {
            self.note_refusal(&actor, Some(SendVerification { user: user.id })).await?;
            return Err(Error::UnverifiedEmail);
        }
        Ok((user, checked))
    }

    /// Writes down that somebody who knows the password is not let in; how long that takes tells them nothing new.
    async fn note_refusal(&self, actor: &Actor, job: Option<SendVerification>) -> Result<()> {
        let user = actor.actor();
        let note = async |tx: &mut WriteTx| {
            if let Some(job) = job {
                tx.enqueue(&job).await?;
            }
            tx.happened(Change::of(Action::SignInRefused, user)).await
        };
        self.db.write(actor, note).await
    }

    pub(super) async fn credentials(&self, actor: &Actor, user: UserId) -> Result<Option<users::Credentials>> {
        self.db.read(actor, async |tx| users::credentials(tx, user).await).await
    }

    /// The next tokens of a session, for its current refresh token.
    pub async fn refresh<L>(&self, presented: &str, visitor: &Visitor<L>) -> Result<Tokens> {
        let presented = self.read_refresh_token(presented, visitor).await?;
        for _ in 0..ROTATION_TRIES {
            if let Some(tokens) = self.try_refresh(presented, &visitor.origin).await? {
                return Ok(tokens);
            }
        }
        Err(Error::Unavailable(anyhow::anyhow!("a session was refreshed {ROTATION_TRIES} times meanwhile")))
    }

    /// What a refresh token says, at the cost of a turn of its session. `InvalidToken` if we did not make it: that is a guess,
    /// and costs a turn of the visitor's address.
    pub async fn read_refresh_token<L>(&self, text: &str, visitor: &Visitor<L>) -> Result<RefreshToken> {
        let (charge, read) = (&visitor.charge, self.refresh.read(text));
        let limit = match &read {
            Some(token) => charge.limits().refresh(token.tenant, token.session),
            None => charge.limits().anonymous(visitor.origin.ip),
        };
        charge.take(&[limit]).await?;
        read.ok_or(Error::InvalidToken)
    }

    /// `None`: another request rotated the token between our look and our swap.
    async fn try_refresh(&self, presented: RefreshToken, origin: &Origin) -> Result<Option<Tokens>> {
        let (tenant, id) = (presented.tenant, presented.session);
        let nobody_yet = Actor::unproven(tenant, Uuid::nil().into(), origin.clone());
        let session = self.sessions.find(&nobody_yet, id).await?.ok_or(Error::InvalidToken)?;
        let actor = Actor::authenticated(tenant, session.user, origin.clone());
        let principal = self.db.principal(&actor, session.user).await?.ok_or(Error::InvalidToken)?;
        let now = Instant::from(self.db.env().now());
        let generation = match rotation_verdict(&session.state, presented.generation, now, self.options.refresh_grace) {
            Verdict::Over => return Err(Error::InvalidToken),
            _ if session.epoch < principal.epoch => return Err(Error::InvalidToken),
            Verdict::Reused => {
                tracing::warn!(session.id = %id, "A refresh token was used twice: the session is ended");
                let ended = self.sessions.end(&actor, id, Action::TokenReuse, EndReason::TokenReused).await;
                return match ended {
                    Ok(()) | Err(Error::NotFound) => Err(Error::InvalidToken), // not found: ended meanwhile
                    Err(error) => Err(error),
                };
            }
            Verdict::Repeat { current } => current,
            Verdict::Rotate { next } => next,
        };
        // The MAC proves that we made the token; the hash, that it is of this row.
        let current = RefreshToken { generation: session.state.generation, ..presented };
        let given = self.refresh.print_as_given(&current, &session.token_hash).ok_or(Error::InvalidToken)?;
        let token = if generation == session.state.generation {
            given
        } else {
            let next = RefreshToken { generation, ..presented };
            let token_hash = self.refresh.hash(&next);
            let rotation = Rotation { from: session.state.generation, token_hash, expires_at: self.expiry(now) };
            if !self.sessions.rotate(&actor, id, rotation).await? {
                return Ok(None);
            }
            self.refresh.print(&next)
        };
        let user = self.db.read(&actor, async |tx| users::find(tx, session.user).await).await?;
        self.tokens(user, id, token, now).map(Some)
    }

    /// The caller's password hash, if this is the password: 422 on `current_password` otherwise. Guesses have to wait as those
    /// at the door do.
    pub async fn check_current(&self, actor: &Actor, current: Option<&Password>) -> Result<String> {
        let wrong = |message: &str| Error::unprocessable("current_password", message);
        let current = current.ok_or_else(|| wrong("is required for this change"))?;
        let attempt = self.attempts.begin_reauthentication(actor.actor(), actor.origin().ip).await?;
        let known = self.credentials(actor, actor.actor()).await?.and_then(|known| known.password_hash);
        self.finish_attempt(attempt, actor, known, current).await?.ok_or_else(|| wrong("is wrong"))
    }

    /// The hash, if this is its password. Counts the try by how it ended, and writes a failure down.
    pub(super) async fn finish_attempt(
        &self,
        attempt: Attempt<'_>,
        actor: &Actor,
        known: Option<String>,
        password: &Password,
    ) -> Result<Option<String>> {
        match self.passwords.verify(actor.claimant(), password, known).await {
            Ok(Some(checked)) => {
                attempt.succeed().await;
                Ok(Some(checked.hash))
            }
            Ok(None) => {
                let user = actor.actor();
                let note = async |tx: &mut WriteTx| tx.happened(Change::of(Action::SignInFailed, user)).await;
                self.db.write(actor, note).await?;
                Ok(None)
            }
            Err(error) => {
                attempt.discard().await;
                Err(error)
            }
        }
    }

    /// Changes a password, and ends all other sessions of its user.
    pub async fn change_password(
        &self,
        actor: &Actor,
        session: SessionId,
        current: &Password,
        new: &Password,
    ) -> Result<()> {
        self.refuse_common("new_password", new)?;
        let checked = self.check_current(actor, Some(current)).await?;
        let new = self.passwords.hash(actor.claimant(), new).await?;
        let templates = self.templates.clone();
        let change = async |tx: &mut WriteTx| {
            let changed = users::set_password(tx, checked, new).await?;
            let user = changed.get();
            tx.enqueue(&templates.password_changed(&user.email, &user.name, user.email_verified)).await?;
            let epoch = tx.end_sessions(user.id, Some(session)).await?;
            Ok(changed.with(epoch))
        };
        let epoch = match self.sessions.fenced(actor.tenant(), self.db.write(actor, change)).await {
            Err(Error::PreconditionFailed) => {
                return Err(Error::unprocessable("current_password", "is wrong")); // somebody changed it meanwhile
            }
            done => done?,
        };
        self.keep(actor, session, epoch).await;
        Ok(())
    }

    /// Lets this session of the actor go on in the new epoch. Where that fails its device has to sign in again.
    pub async fn keep(&self, actor: &Actor, session: SessionId, epoch: i64) {
        if let Err(error) = self.sessions.carry_over(actor, session, epoch).await {
            tracing::warn!(?error, session.id = %session, "A session can't be carried over: it ends");
        }
    }

    /// 422 for the passwords that are tried first.
    pub fn refuse_common(&self, member: &str, password: &Password) -> Result<()> {
        match self.options.refuse_common_passwords && is_common(password.exposed()) {
            true => Err(Error::unprocessable(member, "is a commonly used password. Choose another one.")),
            false => Ok(()),
        }
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
