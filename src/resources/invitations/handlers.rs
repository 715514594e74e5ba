//! Invitations over HTTP.
use super::Tag;
use super::types::{Invitation, InvitationFilter, InvitationId, InvitationInput, NewInvitation};
use super::{Read, Withdraw, Write, may_invite, queries};
use crate::api::list::List;
use crate::api::{
    Also, Caller, Created, Deleted, Found, IdempotencyKey, IfNoneMatch, Json, Listed, Query, Verification,
};
use crate::auth::mail_cap::{InvitationMail, MailCap};
use crate::auth::mails::EmailTemplates;
use crate::base::error::{Error, Result};
use crate::db::{Db, ReadTx, Scope, WriteScope, WriteTx};
use crate::resources::tenant;
use chrono::Duration;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct InvitationsApi {
    pub db: Db,
    pub verification: Verification,
    pub mail_cap: MailCap,
    pub templates: EmailTemplates,
    pub invitation_lifetime: Duration,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Invitations")]
impl InvitationsApi {
    /// List invitations
    #[oai(path = "/invitations", method = "get", operation_id = "invitation_list")]
    async fn list(
        &self,
        caller: Caller<Read>,
        Query(list): Query<List<InvitationFilter>>,
    ) -> Result<Listed<Invitation>> {
        Ok(Listed(list.read(&self.db, &caller, async |tx| queries::list(tx, &list).await).await?))
    }

    /// Invite a person
    #[oai(path = "/invitations", method = "post", operation_id = "invitation_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<InvitationInput>,
    ) -> Result<Created<NewInvitation>, Also<409>> {
        if !may_invite(caller.role(), input.role) {
            return Err(Error::Forbidden.into());
        }
        let key = idempotency_key.of(&input)?;
        let email = input.email.clone();
        let look = async |tx: &mut ReadTx| {
            self.verification.check(tx, &caller).await?;
            Ok((tenant::founded(tx).await?, queries::must_be_new(tx, &email).await))
        };
        let looked = self.db.read(&caller, look).await;
        let (founded, is_new) = self.verification.remind(&caller, looked).await?;
        // A repeated request sends no mail. Its stored answer is looked for after the check for a conflict: if the
        // first request has ended only in between, the repeat gets the answer and no conflict.
        if let Some(first) = self.db.find_answer(&caller, key.as_ref()).await? {
            return Ok(Created(first));
        }
        is_new?; // a conflict sends no mail either
        // The mail counts against its limit before the invitation is made, because an invitation without its mail is of
        // no use.
        let from = caller.as_actor().origin().ip;
        let mail = InvitationMail { tenant: caller.tenant(), founded, from, to: email.as_str() };
        let charged = self.mail_cap.take_invitation(mail).await?;
        let (templates, lifetime) = (self.templates.clone(), self.invitation_lifetime);
        let invite = async |tx: &mut WriteTx| {
            let inviter = self.verification.check(tx, &caller).await?;
            queries::insert(tx, input, inviter, &templates, lifetime).await
        };
        let made = self.db.write_once(&caller, key, invite).await;
        let is_mailed = made.as_ref().is_ok_and(|made| !made.replayed);
        if !is_mailed {
            charged.give_back().await;
        }
        Ok(Created(made?))
    }

    /// Get an invitation
    #[oai(path = "/invitations/:invitation_id", method = "get", operation_id = "invitation_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(invitation_id): Path<InvitationId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Invitation>> {
        let invitation = self.db.find(&caller, async |tx| queries::find(tx, invitation_id).await).await?;
        Ok(Found(invitation, if_none_match))
    }

    /// Withdraw an invitation
    #[oai(path = "/invitations/:invitation_id", method = "delete", operation_id = "invitation_delete")]
    async fn delete(&self, caller: Caller<Withdraw>, Path(invitation_id): Path<InvitationId>) -> Result<Deleted> {
        self.db
            .write(&caller, async |tx: &mut WriteTx| queries::delete(tx, invitation_id, caller.role()).await)
            .await?;
        Ok(Deleted)
    }
}
