//! Users over HTTP.
use super::Tag;
use super::export::PersonalData;
use super::types::{Member, ProfileInput, User, UserInput, UserList};
use super::{Manage, Own, Read, queries, rules};
use crate::api::scalars::Email;
use crate::api::{
    Also, Caller, DataSubject, Deleted, Found, IfMatch, IfNoneMatch, Json, Listed, Patch, Query, Records, Saved,
};
use crate::auth::mail_cap::MailCap;
use crate::auth::mails::EmailTemplates;
use crate::auth::sessions::Sessions;
use crate::auth::token_mail::SendVerification;
use crate::auth::{Credentials, Role};
use crate::base::error::{Error, Result};
use crate::db::types::UserId;
use crate::db::{Audited, Db, Scope, WriteTx};
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct UsersApi {
    pub db: Db,
    pub sessions: Sessions,
    pub credentials: Credentials,
    pub mail_cap: MailCap,
    pub templates: EmailTemplates,
    /// All kinds of records, for the export of a person's data.
    pub records: Records,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Users")]
impl UsersApi {
    /// Get the caller's profile
    #[oai(path = "/users/me", method = "get", operation_id = "user_me_get")]
    async fn me(&self, caller: Caller<Read>, if_none_match: IfNoneMatch) -> Result<Found<User>> {
        let user = self.db.find(&caller, async |tx| queries::find(tx, caller.user()).await).await?;
        Ok(Found(user, if_none_match))
    }

    /// Replace the caller's profile
    #[oai(path = "/users/me", method = "put", operation_id = "user_me_replace")]
    async fn replace_me(
        &self,
        caller: Caller<Own>,
        if_match: IfMatch,
        Json(input): Json<ProfileInput>,
    ) -> Result<Saved<User>, Also<409>> {
        Ok(Saved(self.change_profile(&caller, &if_match, |_| Ok(input.clone())).await?))
    }

    /// Change the caller's profile
    #[oai(path = "/users/me", method = "patch", operation_id = "user_me_change")]
    async fn change_me(
        &self,
        caller: Caller<Own>,
        if_match: IfMatch,
        Json(patch): Json<Patch<ProfileInput>>,
    ) -> Result<Saved<User>, Also<409>> {
        Ok(Saved(self.change_profile(&caller, &if_match, |user| patch.clone().apply(&user.into())).await?))
    }

    /// Export the caller's data
    #[oai(path = "/users/me/export", method = "get", operation_id = "user_me_export")]
    async fn export(&self, caller: Caller<Read>) -> Result<PersonalData> {
        let person = DataSubject {
            db: self.db.clone(),
            sessions: self.sessions.clone(),
            actor: caller.as_actor().clone(),
            role: caller.role(),
            session: caller.session().ok(),
            records: self.records,
        };
        PersonalData::stream(person, caller).await
    }

    /// List users
    #[oai(path = "/users", method = "get", operation_id = "user_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<UserList>) -> Result<Listed<Member>> {
        let list = list.redact_for(caller.role())?;
        let sees_all = caller.role() >= Role::Admin;
        let mut page = list.read(&self.db, &caller, async |tx| queries::list(tx, &list, sees_all).await).await?;
        page.items = page.items.into_iter().map(|member| member.redact_for(caller.role())).collect();
        Ok(Listed(page))
    }

    /// Get a user
    #[oai(path = "/users/:user_id", method = "get", operation_id = "user_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(user_id): Path<UserId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Member>> {
        let account = self.db.find(&caller, async |tx| queries::find_account(tx, user_id).await).await?;
        Ok(Found(Member::from(account).redact_for(caller.role()), if_none_match))
    }

    /// Change a user
    #[oai(path = "/users/:user_id", method = "patch", operation_id = "user_change")]
    async fn change(
        &self,
        caller: Caller<Manage>,
        Path(user_id): Path<UserId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<UserInput>>,
    ) -> Result<Saved<Member>, Also<409>> {
        let change = async |tx: &mut WriteTx| {
            let (actor, account) = queries::find_to_change(tx, user_id).await?;
            let account = caller.authorize(account, &if_match)?;
            let input = patch.apply(&account.as_input())?;
            let change = rules::allow(&caller, actor, &account, input)?;
            queries::update(tx, account, change).await
        };
        Ok(Saved(self.sessions.fenced(caller.tenant(), self.db.write(&caller, change)).await?))
    }

    /// Remove a user
    #[oai(path = "/users/:user_id", method = "delete", operation_id = "user_delete")]
    async fn delete(
        &self,
        caller: Caller<Manage>,
        Path(user_id): Path<UserId>,
        if_match: IfMatch,
    ) -> Result<Deleted, Also<409>> {
        let delete = async |tx: &mut WriteTx| {
            let (actor, account) = queries::find_to_change(tx, user_id).await?;
            let account = caller.authorize(account, &if_match)?;
            rules::may_change(actor, account.user.rank(), account.user.role)?;
            queries::delete(tx, account).await
        };
        self.sessions.fenced(caller.tenant(), self.db.write(&caller, delete)).await?;
        Ok(Deleted)
    }
}

impl UsersApi {
    /// Changes the caller's profile. A change of the e-mail address or the password needs the current password. A new
    /// password ends all other sessions.
    async fn change_profile(
        &self,
        caller: &Caller<Own>,
        if_match: &IfMatch,
        change: impl Fn(&User) -> Result<ProfileInput> + Send + Sync,
    ) -> Result<User> {
        let Self { db, sessions, credentials, mail_cap, templates, records: _ } = self;
        let (actor, session) = (caller.as_actor(), caller.session()?);
        let known = db.find(caller, async |tx| queries::find(tx, caller.user()).await).await?;
        let asked = change(&known)?;
        let moves = asked.email != Email::of_stored(&known.email);
        let renames =
            |before: &User, input: &ProfileInput| input.username.is_some() && input.username != before.username;
        let renames_known = renames(&known, &asked);
        let is_sensitive = asked.password.is_some() || moves;
        let checked = match is_sensitive {
            true => Some(credentials.check_current(actor, asked.current_password.as_ref()).await?),
            false => None,
        };
        if moves {
            // The limit applies even if the address is taken. Otherwise this would be a fast way to find out which
            // addresses users have.
            mail_cap.take_email_change(caller.tenant(), caller.user()).await?;
        }
        if renames_known {
            // The limit has the same reason: usernames are unique on the whole server.
            mail_cap.take_username_change(caller.tenant(), caller.user()).await?;
        }
        let new_hash = match &asked.password {
            Some(password) => {
                credentials.refuse_common("password", password)?;
                Some(credentials.hash(caller.claimant(), password).await?)
            }
            None => None,
        };
        let write = async |tx: &mut WriteTx| {
            let user = caller.authorize(queries::find_own_to_change(tx).await?, if_match)?;
            let input = change(&user)?;
            if is_sensitive != (input.password.is_some() || input.email != Email::of_stored(&user.email))
                || (renames(&user, &input) && !renames_known)
                || !queries::still_has(tx, checked.clone()).await?
            {
                return Err(Error::PreconditionFailed); // the user was changed after the checks
            }
            let (former, name, was_verified) = (user.email.clone(), user.name.clone(), user.email_verified);
            let saved: Audited<User> = queries::update_profile(tx, user, input, new_hash.clone()).await?;
            let has_moved = saved.get().email != former;
            let is_told = was_verified || !has_moved; // an address that was never verified may be a stranger's
            if has_moved {
                tx.enqueue(&SendVerification { user: caller.user() }).await?;
                if is_told {
                    tx.enqueue(&templates.address_changed(&former, &name)).await?;
                }
            }
            let epoch = match new_hash {
                Some(_) => {
                    if is_told {
                        tx.enqueue(&templates.password_changed(&former, &name, was_verified)).await?;
                    }
                    Some(tx.end_sessions(caller.user(), Some(session)).await?)
                }
                None => None,
            };
            Ok(saved.map(|user| (user, epoch)))
        };
        let (user, epoch) = match is_sensitive {
            true => sessions.fenced(caller.tenant(), db.write(caller, write)).await?,
            false => db.write(caller, write).await?,
        };
        if let Some(epoch) = epoch {
            sessions.keep(actor, session, epoch).await;
        }
        Ok(user)
    }
}
