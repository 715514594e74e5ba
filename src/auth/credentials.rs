//! Passwords as sign-in needs them: they are checked, guesses are slowed down, and failures go into the audit log.
use super::actor::{Actor, Proven};
use super::attempts::{Attempt, Attempts};
use super::common_passwords::is_common;
use super::passwords::{Checked, Passwords};
use super::token_mail::SendVerification;
use crate::base::addresses::canonical_login;
use crate::base::error::{Error, Result};
use crate::base::metrics::QueueGauges;
use crate::base::password::Password;
use crate::base::queue::{Claimant, FairQueue, Turn};
use crate::db::principals::StoredPassword;
use crate::db::types::{TenantId, UserId};
use crate::db::{Action, Change, Db, Origin, ReadTx, Scope, WriteScope, WriteTx};

/// How many failed sign-ins are written down at once. The next ones wait, known or not, so that a flood neither piles up
/// nor takes all connections.
pub const MAX_CONCURRENT_LOGIN_AUDITS: usize = 4;

#[derive(Debug, Clone, Copy)]
pub struct PasswordOptions {
    pub refuse_common: bool,
    /// Whether nobody signs in before their address is verified.
    pub require_verified_email: bool,
}

/// Checks passwords.
#[derive(Clone)]
pub struct Credentials {
    db: Db,
    passwords: Passwords,
    attempts: Attempts,
    /// Turns to write down failed sign-ins: [`MAX_CONCURRENT_LOGIN_AUDITS`].
    login_audits: FairQueue,
    options: PasswordOptions,
}

/// A sign-in whose password was right.
pub struct CheckedLogin {
    pub proof: Proven,
    /// The hash that the password was right for.
    pub hash: String,
    /// A hash of the same password to put in its place, where that one is of another cost.
    pub renewed: Option<String>,
}

impl Credentials {
    pub fn new(
        db: Db,
        passwords: Passwords,
        attempts: Attempts,
        login_audits: QueueGauges,
        options: PasswordOptions,
    ) -> Self {
        let login_audits = FairQueue::new(MAX_CONCURRENT_LOGIN_AUDITS, MAX_CONCURRENT_LOGIN_AUDITS, login_audits);
        Self { db, passwords, attempts, login_audits, options }
    }

    pub async fn hash(&self, claimant: Claimant, password: &Password) -> Result<String> {
        self.passwords.hash(claimant, password).await
    }

    /// 422 for the passwords that are tried first.
    pub fn refuse_common(&self, member: &str, password: &Password) -> Result<()> {
        match self.options.refuse_common && is_common(password.exposed()) {
            true => Err(Error::unprocessable(member, "is a commonly used password. Choose another one.")),
            false => Ok(()),
        }
    }

    /// Checks a sign-in. A try is let through only where there were not too many, and counted by how it ended. Where the account
    /// waits because of tries by its other name, even the right password is refused as if it were wrong: only a visitor who types
    /// the name that has failed is told of the wait.
    pub async fn check_login(&self, login: &str, password: &Password, origin: &Origin) -> Result<CheckedLogin> {
        let found = self.db.find_login(login, origin).await?;
        let account = found.map_or_else(|| login.to_owned(), |(_, user)| user.to_string());
        let attempt = self.attempts.begin(login, &account, origin.ip).await?;
        let looked_at = found.filter(|_| !attempt.is_locked);
        let checked = self.check(looked_at, password, origin).await;
        match &checked {
            Ok(_) | Err(Error::InactiveUser | Error::UnverifiedEmail) => attempt.succeed().await,
            Err(Error::InvalidCredentials) => {
                let turn = self.login_audits.turn(Claimant::visitor(origin.ip)).await;
                if let Some((tenant, user)) = found {
                    self.record_failed_login(Actor::named(tenant, user, origin.clone()), turn);
                }
            }
            Err(_) => attempt.discard().await,
        }
        let (proof, checked) = checked?;
        Ok(self.renew(proof, checked, password, origin).await)
    }

    /// Checks the password of an account once more, whose hash was replaced since it was checked.
    pub async fn check_again(&self, former: Proven, password: &Password, origin: &Origin) -> Result<CheckedLogin> {
        let (proof, checked) = self.check(Some((former.tenant(), former.user())), password, origin).await?;
        Ok(self.renew(proof, checked, password, origin).await)
    }

    async fn renew(&self, proof: Proven, checked: Checked, password: &Password, origin: &Origin) -> CheckedLogin {
        let renewed = self.passwords.renewed(Claimant::visitor(origin.ip), password, &checked).await;
        let renewed = renewed.unwrap_or_else(|error| {
            tracing::debug!(?error, "A password keeps its former hash");
            None // it was right all the same
        });
        CheckedLogin { proof, hash: checked.hash, renewed }
    }

    /// Writes a failed sign-in into the audit log, beside the answer: how long that takes must not reveal which names are known.
    fn record_failed_login(&self, named: Actor, turn: Turn) {
        let db = self.db.clone();
        tokio::spawn(async move {
            let user = named.actor();
            let note = async |tx: &mut WriteTx| tx.happened(Change::of(Action::SignInFailed, user)).await;
            if let Err(error) = db.write(&named, note).await {
                tracing::warn!(?error, user.id = %user, "A failed sign-in can't be written down");
            }
            drop(turn);
        });
    }

    /// Checks the password of an account. An unknown name, where there is none, takes as long as a wrong password and is answered
    /// the same: the look-up is then by ids that nobody has.
    async fn check(
        &self,
        found: Option<(TenantId, UserId)>,
        password: &Password,
        origin: &Origin,
    ) -> Result<(Proven, Checked)> {
        let env = self.db.env();
        let (tenant, user) = found.unwrap_or_else(|| (env.uuid().into(), env.uuid().into()));
        let named = Actor::named(tenant, user, origin.clone());
        let (is_verified, hash) = match self.stored(&named).await? {
            Some(StoredPassword { is_verified, hash, .. }) => (is_verified, hash),
            None => (false, None),
        };
        let checked = self.passwords.verify(Claimant::visitor(origin.ip), password, hash).await?;
        let checked = checked.ok_or(Error::InvalidCredentials)?;
        if self.db.principal(&named, user).await?.is_none() {
            self.note_refusal(&named, None).await?; // or the tenant is suspended
            return Err(Error::InactiveUser);
        }
        if self.options.require_verified_email && !is_verified {
            self.note_refusal(&named, Some(SendVerification { user })).await?;
            return Err(Error::UnverifiedEmail);
        }
        Ok((Proven::new(tenant, user), checked))
    }

    async fn stored(&self, actor: &Actor) -> Result<Option<StoredPassword>> {
        self.db.read(actor, async |tx: &mut ReadTx| tx.stored_password(actor.actor()).await).await
    }

    /// Notes that a user who knows the password is not let in. How long that takes tells them nothing new.
    async fn note_refusal(&self, named: &Actor, job: Option<SendVerification>) -> Result<()> {
        let user = named.actor();
        let note = async |tx: &mut WriteTx| {
            if let Some(job) = job {
                tx.enqueue(&job).await?;
            }
            tx.happened(Change::of(Action::SignInRefused, user)).await
        };
        self.db.write(named, note).await
    }

    /// Returns the caller's password hash, if this is the password: 422 on `current_password` otherwise. Guesses have to wait as
    /// those at sign-in do.
    pub async fn check_current(&self, actor: &Actor, current: Option<&Password>) -> Result<String> {
        let wrong = |message: &str| Error::unprocessable("current_password", message);
        let current = current.ok_or_else(|| wrong("is required for this change"))?;
        let attempt = self.attempts.begin_reauthentication(actor.actor(), actor.origin().ip).await?;
        let known = self.stored(actor).await?.and_then(|stored| stored.hash);
        self.finish(attempt, actor, known, current).await?.ok_or_else(|| wrong("is wrong"))
    }

    /// Returns the password hash of an account, if this is its password. Guesses count as those at sign-in do.
    pub async fn check_password_of(&self, actor: &Actor, password: &Password) -> Result<Option<String>> {
        let Some(StoredPassword { email, hash, .. }) = self.stored(actor).await? else { return Ok(None) };
        let account = actor.actor().to_string();
        let attempt = self.attempts.begin(&canonical_login(&email), &account, actor.origin().ip).await?;
        let known = hash.filter(|_| !attempt.is_locked);
        self.finish(attempt, actor, known, password).await
    }

    /// Returns the hash, if this is its password. Counts the try by how it ended, and writes a failure down.
    async fn finish(
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

    /// Forgets the failures of a user who has proved by other means that the account is theirs: they were not by the new password.
    pub async fn reset_attempts(&self, user: UserId, names: &[&str]) {
        self.attempts.reset(user, names).await;
    }
}
