//! Checks passwords for sign-in, slows down guesses, and writes failures to the audit log.
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

/// How many failed sign-ins are written to the audit log at once. Further failed sign-ins wait for a turn, whether or
/// not the account exists, so that a flood of them does not pile up in memory or take all connections.
pub const MAX_CONCURRENT_LOGIN_AUDITS: usize = 4;

#[derive(Debug, Clone, Copy)]
pub struct PasswordOptions {
    pub refuse_common: bool,
    /// Whether users can sign in only after their address was verified.
    pub require_verified_email: bool,
}

/// Checks passwords.
#[derive(Clone)]
pub struct Credentials {
    db: Db,
    passwords: Passwords,
    attempts: Attempts,
    /// The queue for writing failed sign-ins to the audit log, with [`MAX_CONCURRENT_LOGIN_AUDITS`] at once.
    login_audits: FairQueue,
    options: PasswordOptions,
}

/// The result of a sign-in with the right password.
pub struct CheckedLogin {
    pub proof: Proven,
    /// The stored hash that the password matches.
    pub hash: String,
    /// A new hash of the same password to store instead, if the stored hash has another cost or is not of the
    /// normalised password.
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

    /// Fails with 422 for commonly used passwords, which attackers try first.
    pub fn refuse_common(&self, member: &str, password: &Password) -> Result<()> {
        match self.options.refuse_common && is_common(password.exposed()) {
            true => Err(Error::unprocessable(member, "is a commonly used password. Choose another one.")),
            false => Ok(()),
        }
    }

    /// Checks the password at sign-in. A try is let through only if there were not too many before, and it is counted
    /// by its result. If the account has to wait because of failures by its other name, even the right password is
    /// refused as if it were wrong. Only a visitor who uses the name that failed is told to wait.
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

    /// Checks the password of an account again, after its hash was replaced since the first check.
    pub async fn check_again(&self, former: Proven, password: &Password, origin: &Origin) -> Result<CheckedLogin> {
        let (proof, checked) = self.check(Some((former.tenant(), former.user())), password, origin).await?;
        Ok(self.renew(proof, checked, password, origin).await)
    }

    async fn renew(&self, proof: Proven, checked: Checked, password: &Password, origin: &Origin) -> CheckedLogin {
        let renewed = self.passwords.renewed(Claimant::visitor(origin.ip), password, &checked).await;
        let renewed = renewed.unwrap_or_else(|error| {
            tracing::debug!(?error, "A password keeps its former hash");
            None // the password was right even so
        });
        CheckedLogin { proof, hash: checked.hash, renewed }
    }

    /// Writes a failed sign-in to the audit log without delaying the answer: the time that this takes must not reveal
    /// which names exist.
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

    /// Checks the password of an account. An unknown name is passed as `None`. It takes as long as a wrong password and
    /// gets the same answer: the look-up is then done with random ids that no account has.
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
            self.note_refusal(&named, None).await?; // the user is inactive, or the tenant is suspended
            return Err(Error::InactiveUser);
        }
        if self.options.require_verified_email && !is_verified {
            self.note_refusal(&named, Some(SendVerification { user })).await?;
            return Err(Error::UnverifiedEmail);
        }
        Ok((Proven::new(tenant, user), checked))
    }

    async fn stored(&self, actor: &Actor) -> Result<Option<StoredPassword>> {
        self.db.find(actor, async |tx: &mut ReadTx| tx.stored_password(actor.actor()).await).await
    }

    /// Writes to the audit log that the sign-in of a user with the right password was refused. The time that this takes
    /// reveals nothing to a user who knows the password.
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

    /// Returns the caller's password hash if the password is right. Fails with 422 on `current_password` otherwise.
    /// Wrong guesses have to wait, as at sign-in.
    pub async fn check_current(&self, actor: &Actor, current: Option<&Password>) -> Result<String> {
        let wrong = |message: &str| Error::unprocessable("current_password", message);
        let current = current.ok_or_else(|| wrong("is required for this change"))?;
        let attempt = self.attempts.begin_reauthentication(actor.actor(), actor.origin().ip).await?;
        let known = self.stored(actor).await?.and_then(|stored| stored.hash);
        self.finish(attempt, actor, known, current).await?.ok_or_else(|| wrong("is wrong"))
    }

    /// Returns the password hash of an account if the password is right. Tries are counted together with those at
    /// sign-in.
    pub async fn check_password_of(&self, actor: &Actor, password: &Password) -> Result<Option<String>> {
        let Some(StoredPassword { email, hash, .. }) = self.stored(actor).await? else { return Ok(None) };
        let account = actor.actor().to_string();
        let attempt = self.attempts.begin(&canonical_login(&email), &account, actor.origin().ip).await?;
        let known = hash.filter(|_| !attempt.is_locked);
        self.finish(attempt, actor, known, password).await
    }

    /// Returns the hash if the password matches it. Counts the try by its result, and writes a failure to the audit
    /// log.
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

    /// Deletes the failures of a user who has proved in another way that the account is theirs. Those failures were not
    /// tries of the new password.
    pub async fn reset_attempts(&self, user: UserId, names: &[&str]) {
        self.attempts.reset(user, names).await;
    }
}
