//! The server's tenants in the database. Their table has no row-level security.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{
    NewTenantAccount, TenantAccount, TenantAccountFilter, TenantAccountInput, TenantAccountSort, TenantStandingInput,
};
use crate::api::list::{List, Page};
use crate::api::{Authorized, Locked, VerifiedCaller};
use crate::auth::Role;
use crate::auth::mails::EmailTemplates;
use crate::base::error::Result;
use crate::db::schema::tenants;
use crate::db::search::like;
use crate::db::sql::for_update;
use crate::db::types::{Instant, TenantId};
use crate::db::{Action, Any, Audited, Change, Changes, ReadTx, RunQueryDsl, WriteTx};
use crate::resources::invitations::InvitationInput;
use crate::resources::tenant::NewTenant;
use crate::resources::{invitations, tenant};
use crate::{narrowed, paged};
use chrono::Duration;
use diesel::prelude::*;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(id: TenantId) -> _ {
    tenants::table.filter(tenants::id.eq(id)).filter(tenants::deleted_at.is_null())
}

fn matching(tx: &ReadTx, list: &List<TenantAccountFilter>) -> tenants::BoxedQuery<'static, Any> {
    let TenantAccountFilter { is_suspended } = list.filter.clone();
    let search = list.q.as_deref().map(|text| tx.pattern(text));
    narrowed!(
        tenants::table.filter(tenants::deleted_at.is_null()).into_boxed(),
        is_suspended => tenants::is_suspended.eq(is_suspended),
        search => like(tenants::name, search.clone()).or(like(tenants::slug, search)),
    )
}

pub async fn list(tx: &mut ReadTx, list: &List<TenantAccountFilter>) -> Result<Page<TenantAccount>> {
    let columns = TenantAccount::as_select();
    let (rows, total) = paged!(tx, list, matching(tx, list), columns, (tenants::id, TenantId), {
        TenantAccountSort::Name => (tenants::name, String),
        TenantAccountSort::Slug => (tenants::slug, String),
        TenantAccountSort::CreatedAt => (tenants::created_at, Instant),
        TenantAccountSort::UpdatedAt => (tenants::updated_at, Instant),
    });
    Ok(list.page(rows, total))
}

pub async fn find(tx: &mut ReadTx, id: TenantId) -> Result<TenantAccount> {
    Ok(one(id).select(TenantAccount::as_select()).first(tx).await?)
}

/// The lease's tenant, for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx) -> Result<Locked<TenantAccount>> {
    let tenant = one(tx.tenant()).select(TenantAccount::as_select());
    Ok(Locked::new(for_update(tenant).get_result(tx).await?))
}

/// Makes the lease's tenant, and invites its owner.
pub async fn insert(
    tx: &mut WriteTx,
    input: TenantAccountInput,
    operator: VerifiedCaller,
    templates: &EmailTemplates,
    lifetime: Duration,
) -> Result<Audited<NewTenantAccount>> {
    let TenantAccountInput { slug, name, owner_email: email } = input;
    let _ = tenant::insert(tx, NewTenant { slug, name, open_registration: false }).await?; // the invitation's is last
    let owner = InvitationInput { email, role: Role::Owner };
    let invited = invitations::insert(tx, owner, operator, templates, lifetime).await?;
    let id = tx.tenant();
    let tenant = find(tx, id).await?;
    Ok(invited.map(|invitation| NewTenantAccount { tenant, invitation_token: invitation.token }))
}

pub async fn update(
    tx: &mut WriteTx,
    before: Authorized<TenantAccount>,
    input: TenantStandingInput,
) -> Result<Audited<TenantAccount>> {
    let after = TenantAccount { input, version: before.version + 1, updated_at: tx.now(), ..before.clone() };
    let change = (&after.input, tenants::version.eq(after.version), tenants::updated_at.eq(after.updated_at));
    let row = diesel::update(one(after.id)).set(change);
    // What the tenant's own people see of it stays as it is.
    let change = Change::of(Action::Update, after.id).telling(Changes::updated(&*before, &after));
    Ok(tx.changed(change, row).await?.with(after))
}
