//! How people get in: registration, passwords, tokens. HTTP and the command line both come through here.
use super::types::{RegisterInput, TokenAnswer, TokenType};
use crate::auth::access_token::{AccessTokens, Bearer};
use crate::auth::passwords::Passwords;
use crate::auth::refresh_token::{RefreshToken, RefreshTokens};
use crate::auth::session::{Verdict, judge};
use crate::auth::{Actor, Role};
use crate::db::sessions::{EndReason, NewSession, Rotation};
use crate::db::types::{Instant, SessionId, TenantId, UserId};
use crate::db::{Action, Db, Origin, WriteTx};
use crate::error::{Error, Result};
use crate::http::scalars::{Email, Password};
use crate::infra::formats::normalised;
use crate::resources::tenants::{self, NewTenant};
use crate::resources::users::{self, NewUser, User};
use chrono::Duration;

/// How often a refresh tries again when another one of the same session was faster.
const ROTATION_TRIES: usize = 3;
const MAX_SLUG: usize = 40;

#[derive(Clone)]
pub struct SignIn {
    pub db: Db,
    pub passwords: Passwords,
    pub access: AccessTokens,
    pub refresh: RefreshTokens,
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
}

/// Where a new user belongs.
pub enum Tenancy {
    /// A tenant that is there.
    Existing(TenantId, Role),
    /// One that is made for the user, who owns it.
    New(NewTenant),
}

/// What a sign-in gives: the answer, without its refresh token, which is handed over in the body or in a cookie.
pub struct Tokens {
    pub answer: TokenAnswer,
    pub refresh_token: String,
}

impl SignIn {
    /// Makes a user as a visitor asks for it.
    pub async fn register(&self, input: RegisterInput, origin: Origin) -> Result<User> {
        let tenancy = self.tenancy_of(&input).await?;
        let again = input.clone();
        let RegisterInput { email: Email(email), password, name, username, tenant_name: _, tenant_id: _ } = input;
        let password_hash = self.passwords.hash(password.secret()).await?;
        let role = Role::Viewer; // `add_user` decides
        let new = NewUser { email, username, name, role, password_hash, is_superuser: false };
        match self.add_user(tenancy, new.clone(), None, origin.clone()).await {
            // Somebody else was faster with this slug: it is that of an existing tenant now.
            Err(Error::Conflict(detail)) if detail.0.contains_key("tenant_id") => {
                self.add_user(self.tenancy_of(&again).await?, new, None, origin).await
            }
            done => done,
        }
    }

    async fn tenancy_of(&self, input: &RegisterInput) -> Result<Tenancy> {
        let name = input.tenant_name.clone().unwrap_or_else(|| input.name.clone());
        let Some(slug) = &input.tenant_id else {
            return Ok(Tenancy::New(NewTenant { slug: self.free_slug(&name).await?, name, open_registration: false }));
        };
        match self.db.find_tenant(slug).await? {
            None => Ok(Tenancy::New(NewTenant { slug: slug.clone(), name, open_registration: false })),
            Some((_, false)) => Err(Error::RegistrationClosed),
            Some(_) if input.tenant_name.is_some() => {
                Err(Error::unprocessable("tenant_name", "is only for a new tenant: this one exists"))
            }
            Some((tenant, true)) => Ok(Tenancy::Existing(tenant, Role::Viewer)),
        }
    }

    /// A slug made from a name, with some digits where that is taken or too short.
    async fn free_slug(&self, name: &str) -> Result<String> {
        let slug = slug_of(name);
        if slug.len() >= 3 && self.db.find_tenant(&slug).await?.is_none() {
            return Ok(slug);
        }
        let [a, b, c, d] = self.db.world().random_bytes();
        let base = if slug.is_empty() { "tenant" } else { &slug };
        Ok(format!("{base}-{a:02x}{b:02x}{c:02x}{d:02x}"))
    }

    /// Makes a user, and the tenant where it is a new one. The tenancy decides about the role. `by` is who does it: the
    /// new user themselves where it is `None`.
    pub async fn add_user(
        &self,
        tenancy: Tenancy,
        mut new: NewUser,
        by: Option<UserId>,
        origin: Origin,
    ) -> Result<User> {
        new.email = normalised(&new.email);
        new.username = new.username.as_deref().map(normalised);
        let (tenant, made) = match tenancy {
            Tenancy::Existing(tenant, role) => {
                new.role = role;
                (tenant, None)
            }
            Tenancy::New(tenant) => {
                new.role = Role::Owner;
                (self.db.world().uuid().into(), Some(tenant))
            }
        };
        let user = UserId::from(self.db.world().uuid());
        let actor = Actor::vouched(tenant, by.unwrap_or(user), origin);
        let add = async |tx: &mut WriteTx| {
            if let Some(tenant) = made {
                let _ = tenants::insert(tx, tenant).await?; // the user's own row is audited last
            }
            users::insert(tx, user, new).await
        };
        self.db.write(&actor, add).await
    }

    /// Opens a session for whoever knows the password.
    pub async fn login(
        &self,
        login: &str,
        password: &Password,
        device: Option<String>,
        origin: Origin,
    ) -> Result<Tokens> {
        let (user, checked) = self.check_password(login, password).await?;
        let now = Instant::from(self.db.world().now());
        let session: SessionId = self.db.world().uuid().into();
        let token = RefreshToken { tenant: user.tenant_id, session, generation: 0 };
        let new = NewSession {
            id: session,
            token_hash: self.refresh.hash(&token),
            device_name: device,
            expires_at: self.expiry(now),
            checked,
        };
        let actor = Actor::vouched(user.tenant_id, user.id, origin);
        self.db.write(&actor, async |tx: &mut WriteTx| tx.open_session(new).await).await?;
        self.tokens(user, session, self.refresh.print(&token), now)
    }

    /// An unknown name takes as long, and is told the same, as a wrong password.
    async fn check_password(&self, login: &str, password: &Password) -> Result<(User, String)> {
        let (tenant, user) = match self.db.find_login(login).await? {
            Some(found) => found,
            None => (TenantId::from(uuid::Uuid::nil()), UserId::from(uuid::Uuid::nil())),
        };
        let found = self.credentials(&Actor::vouched(tenant, user, Origin::default()), user).await?;
        let (user, hash) = match found {
            Some(users::Credentials { user, password_hash }) => (Some(user), password_hash),
            None => (None, None),
        };
        let is_right = self.passwords.verify(password.secret(), hash.clone()).await?;
        match (user, hash) {
            (Some(user), Some(hash)) if is_right && user.is_active => Ok((user, hash)),
            (Some(_), _) if is_right => Err(Error::InactiveUser),
            _ => Err(Error::InvalidCredentials),
        }
    }

    async fn credentials(&self, actor: &Actor, user: UserId) -> Result<Option<users::Credentials>> {
        self.db.read(actor, async |tx| users::credentials(tx, user).await).await
    }

    /// The next tokens of a session, for its current refresh token.
    pub async fn refresh(&self, presented: &str, origin: Origin) -> Result<Tokens> {
        let presented = self.refresh.read(presented).ok_or(Error::InvalidToken)?;
        for _ in 0..ROTATION_TRIES {
            if let Some(tokens) = self.try_refresh(presented, &origin).await? {
                return Ok(tokens);
            }
        }
        Err(Error::Unavailable(anyhow::anyhow!("a session was refreshed {ROTATION_TRIES} times meanwhile")))
    }

    /// `None`: another request rotated the token between our look and our swap.
    async fn try_refresh(&self, presented: RefreshToken, origin: &Origin) -> Result<Option<Tokens>> {
        let (tenant, id) = (presented.tenant, presented.session);
        let nobody_yet = Actor::vouched(tenant, UserId::from(uuid::Uuid::nil()), origin.clone());
        let session = self.db.find_session(&nobody_yet, id).await?.ok_or(Error::InvalidToken)?;
        let actor = Actor::vouched(tenant, session.user, origin.clone());
        let now = Instant::from(self.db.world().now());
        let generation = match judge(&session.state, presented.generation, now, self.options.refresh_grace) {
            Verdict::Over => return Err(Error::InvalidToken),
            _ if !session.is_active => return Err(Error::InvalidToken),
            Verdict::Reused => {
                tracing::warn!(session.id = %id, "A refresh token was used twice: the session is ended");
                let end = async |tx: &mut WriteTx| tx.end_session(id, Action::TokenReuse, EndReason::TokenReused).await;
                return match self.db.write(&actor, end).await {
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
            if !self.db.rotate_session(&actor, id, rotation).await? {
                return Ok(None);
            }
            self.refresh.print(&next)
        };
        let user = self.db.read(&actor, async |tx| users::find(tx, session.user).await).await?;
        self.tokens(user, id, token, now).map(Some)
    }

    /// Changes a password, and ends all other sessions of its user.
    pub async fn change_password(
        &self,
        actor: &Actor,
        session: SessionId,
        current: &Password,
        new: &Password,
    ) -> Result<()> {
        use crate::db::WriteScope;
        let wrong = || Error::unprocessable("current_password", "is wrong");
        let known = self.credentials(actor, actor.actor()).await?.and_then(|known| known.password_hash);
        if !self.passwords.verify(current.secret(), known.clone()).await? {
            return Err(wrong());
        }
        let (checked, new) = (known.ok_or_else(wrong)?, self.passwords.hash(new.secret()).await?);
        let change = async |tx: &mut WriteTx| {
            let _ = users::set_password(tx, checked, new).await?;
            tx.end_sessions(Some(session), EndReason::PasswordChanged).await
        };
        match self.db.write(actor, change).await {
            Err(Error::PreconditionFailed) => Err(wrong()), // somebody changed it meanwhile
            done => done,
        }
    }

    fn expiry(&self, now: Instant) -> Instant {
        (now.0 + self.options.session_lifetime).into()
    }

    fn tokens(&self, user: User, session: SessionId, refresh_token: String, now: Instant) -> Result<Tokens> {
        let bearer = Bearer { user: user.id, tenant: user.tenant_id, session, role: user.role, email: &user.email };
        let answer = TokenAnswer {
            access_token: self.access.sign(&bearer, self.db.world().uuid(), now)?,
            token_type: TokenType::Bearer,
            expires_in: self.access.lifetime().num_seconds(),
            refresh_expires_in: self.options.session_lifetime.num_seconds(),
            refresh_token: None,
            user,
        };
        Ok(Tokens { answer, refresh_token })
    }
}

/// ASCII letters and digits in lower case, all else as single hyphens.
pub fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars().take(MAX_SLUG) {
        match c.is_ascii_alphanumeric() {
            true => slug.push(c),
            false if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            false => {}
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        assert_eq!(slug_of("Acme, Inc."), "acme-inc");
        assert_eq!(slug_of("  --A  b--  "), "a-b");
        assert_eq!(slug_of("주식회사"), "");
        assert_eq!(slug_of(&"x".repeat(500)).len(), MAX_SLUG);
    }
}
