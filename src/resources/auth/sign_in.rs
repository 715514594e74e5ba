//! Sign-in by password, and the change of one's own password.
use super::AuthApi;
use super::tokens::Tokens;
use crate::auth::Actor;
use crate::base::error::{Error, Result};
use crate::base::password::Password;
use crate::db::types::SessionId;
use crate::db::{Origin, Scope, WriteTx};
use crate::resources::users;

impl AuthApi {
    /// Opens a session for a visitor who knows the password.
    pub(super) async fn sign_in(
        &self,
        login: &str,
        password: &Password,
        device: Option<String>,
        origin: Origin,
    ) -> Result<Tokens> {
        let Self { credentials, tokens, .. } = self;
        tokens.sessions.can_open().await?;
        let checked = credentials.check_login(login, password, &origin).await?;
        let proof = checked.proof;
        match tokens.open(checked, device.clone(), &origin).await {
            Err(Error::InvalidCredentials) => {
                let checked = credentials.check_again(proof, password, &origin).await?;
                tokens.open(checked, device, &origin).await
            }
            opened => opened,
        }
    }

    /// Changes a password, and ends all other sessions of its user.
    pub(super) async fn change_password(
        &self,
        actor: &Actor,
        session: SessionId,
        current: &Password,
        new: &Password,
    ) -> Result<()> {
        let Self { db, credentials, tokens, templates, .. } = self;
        credentials.refuse_common("new_password", new)?;
        let checked = credentials.check_current(actor, Some(current)).await?;
        let new = credentials.hash(actor.claimant(), new).await?;
        let change = async |tx: &mut WriteTx| {
            let changed = users::set_password(tx, checked, new).await?;
            let user = changed.get();
            tx.enqueue(&templates.password_changed(&user.email, &user.name, user.email_verified)).await?;
            let epoch = tx.end_sessions(user.id, Some(session)).await?;
            Ok(changed.with(epoch))
        };
        let epoch = match tokens.sessions.fenced(actor.tenant(), db.write(actor, change)).await {
            Err(Error::PreconditionFailed) => {
                return Err(Error::unprocessable("current_password", "is wrong")); // it was changed meanwhile
            }
            done => done?,
        };
        tokens.sessions.keep(actor, session, epoch).await;
        Ok(())
    }
}
