//! Invitations in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::may_invite;
use super::types::{Invitation, InvitationFilter, InvitationId, InvitationInput, NewInvitation, Stored};
use crate::api::VerifiedCaller;
use crate::api::list::{Batch, List, Page, PlainSort};
use crate::api::scalars::Email;
use crate::auth::Role;
use crate::auth::mails::EmailTemplates;
use crate::base::error::{Detail, Error, Result};
use crate::base::opaque::{OpaqueToken, TokenKind};
use crate::db::deadline::InTime;
use crate::db::schema::{invitations, users};
use crate::db::sql::for_update;
use crate::db::types::{Instant, TenantId, UserId};
use crate::db::{Action, Any, Audited, Change, ReadTx, RunQueryDsl, Statement, WriteTx};
use crate::resources::tenant;
use crate::resources::tenant::RegistrationPolicy;
use crate::{batch, paged};
use chrono::Duration;
use diesel::prelude::*;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: InvitationId) -> _ {
    invitations::table.filter(invitations::tenant_id.eq(tenant)).filter(invitations::id.eq(id))
}

/// The invitations that can still be accepted, not yet sorted.
fn open(tenant: TenantId, now: Instant) -> invitations::BoxedQuery<'static, Any> {
    let is_open = invitations::expires_at.gt(now);
    invitations::table.filter(invitations::tenant_id.eq(tenant)).filter(is_open).into_boxed()
}

pub async fn list(tx: &mut ReadTx, list: &List<InvitationFilter>) -> Result<Page<Invitation>> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let columns = Stored::as_select();
    let (rows, total): (Vec<Stored>, _) = paged!(tx, list, open(tenant, now).filter(InTime), columns, (invitations::id, InvitationId), {
        PlainSort::CreatedAt => (invitations::created_at, Instant),
    });
    Ok(list.page(rows.into_iter().map(Invitation::from).collect(), total))
}

/// The next open invitations that a person made, in the order of their ids.
pub async fn made_by(tx: &mut ReadTx, user: UserId, next: Batch) -> Result<Vec<Invitation>> {
    let rows = open(tx.tenant(), tx.now());
    let rows = batch!(rows, invitations::invited_by.eq(user), next, (invitations::id, InvitationId));
    let rows: Vec<Stored> = rows.select(Stored::as_select()).load(tx).await?;
    Ok(rows.into_iter().map(Invitation::from).collect())
}

pub async fn find(tx: &mut ReadTx, id: InvitationId) -> Result<Invitation> {
    let row = one(tx.tenant(), id).filter(invitations::expires_at.gt(tx.now()));
    let row: Stored = row.select(Stored::as_select()).first(tx).await?;
    Ok(row.into())
}

/// Fails with 409 if the address belongs to a user of the tenant, or is invited already.
pub async fn must_be_new(tx: &mut ReadTx, email: &Email) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let members = users::tenant_id.eq(tenant).and(users::email.eq_any(email.stored_forms()));
    let members = users::table.filter(members);
    if members.count().get_result::<i64>(tx).await? > 0 {
        return Err(Error::Conflict(Detail::of("email", "already belongs to a user of the tenant")));
    }
    let invited = open(tenant, now).filter(invitations::email.eq_any(email.stored_forms()));
    if invited.count().get_result::<i64>(tx).await? > 0 {
        return Err(Error::Conflict(Detail::of("email", "is taken")));
    }
    Ok(())
}

/// Makes an invitation and enqueues the mail with its token.
pub async fn insert(
    tx: &mut WriteTx,
    input: InvitationInput,
    inviter: VerifiedCaller,
    templates: &EmailTemplates,
    lifetime: Duration,
) -> Result<Audited<NewInvitation>> {
    let InvitationInput { email, role } = input;
    let (tenant, now) = (tx.tenant(), tx.now());
    let invited_by = inviter.user();
    must_be_new(tx, &email).await?;
    let expired = invitations::email.eq(&email).and(invitations::expires_at.le(now));
    let expired = invitations::table.filter(invitations::tenant_id.eq(tenant)).filter(expired);
    tx.execute_unaudited("it had expired", diesel::delete(expired)).await?;

    let token = OpaqueToken::new(TokenKind::Invitation, tenant.0, tx.env().uuid(), tx.env());
    let expires_at = Instant::from(now.0 + lifetime);
    let (id, address) = (token.id.into(), email.to_string());
    let invitation: Invitation = Stored { id, email: address, role, invited_by, created_at: now, expires_at }.into();
    let row = (
        invitations::tenant_id.eq(tenant),
        invitations::id.eq(invitation.id),
        invitations::email.eq(&email),
        invitations::role.eq(role),
        invitations::token_hash.eq(token.hash()),
        invitations::invited_by.eq(invited_by),
        invitations::created_at.eq(now),
        invitations::expires_at.eq(expires_at),
    );
    let row = Statement::of(diesel::insert_into(invitations::table).values(row)).taken("email");
    let audited = tx.changed(Change::created(invitation.id, &invitation), row).await?;
    let company = tenant::name(tx).await?;
    tx.enqueue(&templates.invitation(&invitation.email, &company, &token.print())).await?;
    Ok(audited.with(NewInvitation { invitation, token: token.print() }))
}

pub async fn delete(tx: &mut WriteTx, id: InvitationId, by: Role) -> Result<Audited<()>> {
    // The second of two parallel requests waits here, and then finds nothing.
    let _: InvitationId = for_update(one(tx.tenant(), id).select(invitations::id)).get_result(tx).await?;
    let invitation = find(tx, id).await?;
    if !may_invite(by, invitation.role) {
        return Err(Error::Forbidden);
    }
    let row = diesel::delete(one(tx.tenant(), id));
    tx.changed(Change::deleted(id, &invitation), row).await
}

/// Deletes all invitations that these users have made.
pub async fn withdraw_all(tx: &mut WriteTx, inviters: &[UserId]) -> Result<()> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let theirs = invitations::tenant_id.eq(tenant).and(invitations::invited_by.eq_any(inviters.to_vec()));
    let locked = for_update(invitations::table.filter(theirs.clone()).order(invitations::id).select(invitations::id));
    // With the rows locked, an invitation is either accepted or withdrawn, but never both.
    let _: Vec<InvitationId> = locked.get_results(tx).await?;
    let open: Vec<Stored> = open(tenant, now).filter(theirs.clone()).select(Stored::as_select()).load(tx).await?;
    for invitation in open.into_iter().map(Invitation::from) {
        let row = diesel::delete(one(tenant, invitation.id));
        // The audit row of the proof comes last.
        let _ = tx.changed(Change::deleted(invitation.id, &invitation), row).await?;
    }
    tx.execute_unaudited("the others had expired", diesel::delete(invitations::table.filter(theirs))).await?;
    Ok(())
}

/// Deletes all invitations to a tenant that is about to be deleted.
pub async fn delete_all(tx: &mut WriteTx) -> Result<()> {
    let rows = diesel::delete(invitations::table.filter(invitations::tenant_id.eq(tx.tenant())));
    tx.execute_unaudited("the tenant's row tells of it", rows).await?;
    Ok(())
}

/// The error for a token that is not valid. It is the same for all reasons.
pub fn invalid() -> Error {
    Error::unprocessable("invitation_token", "is not valid for this address, was used, or has expired")
}

/// Accepts an invitation: deletes it and returns its role. The inviter must still have the right to make it. The token
/// proves no address, because the inviter has seen the token too.
pub async fn accept(tx: &mut WriteTx, token: &OpaqueToken, email: &Email) -> Result<Role> {
    type Row = (Vec<u8>, String, Role, Option<UserId>);
    let (tenant, id) = (tx.tenant(), InvitationId::from(token.id));
    match tenant::lock_shared(tx).await? {
        Some(RegistrationPolicy { is_suspended: false, .. }) => {}
        _ => return Err(invalid()),
    }
    // The second of two parallel requests waits here.
    let locked = for_update(one(tenant, id).select(invitations::id)).get_result(tx).await.optional()?;
    let _: InvitationId = locked.ok_or_else(invalid)?;
    let row = one(tenant, id).filter(invitations::expires_at.gt(tx.now())).select((
        invitations::token_hash,
        invitations::email,
        invitations::role,
        invitations::invited_by,
    ));
    let row: Option<Row> = row.first(tx).await.optional()?;
    let row = row.filter(|(hash, invited, ..)| token.fits(hash) && Email::of_stored(invited) == *email);
    let (_, _, role, invited_by) = row.ok_or_else(invalid)?;
    if let Some(inviter) = invited_by {
        let inviter = tx.principal_of(inviter).await?;
        if !inviter.is_some_and(|inviter| may_invite(inviter.role, role)) {
            return Err(invalid());
        }
    }
    let row = Statement::of(diesel::delete(one(tenant, id))).if_none(invalid()); // another request accepted it first
    let _ = tx.changed(Change::of(Action::Delete, id), row).await?; // the audit row of the new user comes last
    Ok(role)
}
