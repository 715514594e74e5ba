//! The server's tenants in the database. Their table has no row-level security.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{
    NewTenantAccount, Stored, TenantAccount, TenantAccountFilter, TenantAccountInput, TenantAccountSort,
    TenantStandingInput,
};
use crate::auth::{Granted, Locked, Role};
use crate::db::sql::{contains, for_update, like};
use crate::db::types::{Instant, TenantId};
use crate::db::{Action, Any, Audited, Changes, ReadTx, WriteTx};
use crate::error::{Error, Result};
use crate::list::{List, Page};
use crate::resources::auth::Letters;
use crate::resources::invitations::{self, InvitationInput};
use crate::resources::tenant::{self, NewTenant};
use crate::schema::tenants;
use crate::{narrowed, paged};
use chrono::Duration;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(id: TenantId) -> _ {
    tenants::table.filter(tenants::id.eq(id)).filter(tenants::deleted_at.is_null())
}

fn matching(list: &List<TenantAccountFilter>) -> tenants::BoxedQuery<'static, Any> {
    let TenantAccountFilter { is_suspended } = list.filter.clone();
    let search = list.q.as_deref().map(contains);
    narrowed!(
        tenants::table.filter(tenants::deleted_at.is_null()).into_boxed(),
        is_suspended => tenants::is_suspended.eq(is_suspended),
        search => like(tenants::name, search.clone()).or(like(tenants::slug, search)),
    )
}

pub async fn list(tx: &mut ReadTx, list: &List<TenantAccountFilter>) -> Result<Page<TenantAccount>> {
    let columns = Stored::as_select();
    let (rows, total): (Vec<Stored>, _) = paged!(tx, list, matching(list), columns, (tenants::id, TenantId), {
        TenantAccountSort::Name => (tenants::name, String),
        TenantAccountSort::Slug => (tenants::slug, String),
        TenantAccountSort::CreatedAt => (tenants::created_at, Instant),
        TenantAccountSort::UpdatedAt => (tenants::updated_at, Instant),
    });
    Ok(list.page(rows.into_iter().map(TenantAccount::from).collect(), total))
}

pub async fn find(tx: &mut ReadTx, id: TenantId) -> Result<TenantAccount> {
    let row: Stored = one(id).select(Stored::as_select()).first(tx.conn()).await?;
    Ok(row.into())
}

/// The lease's tenant, for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx) -> Result<Locked<TenantAccount>> {
    let row = one(tx.tenant()).select(Stored::as_select());
    let row: Stored = for_update(row).get_result(tx.conn()).await?;
    Ok(Locked::new(row.into()))
}

/// Makes the lease's tenant, and invites its owner.
pub async fn insert(
    tx: &mut WriteTx,
    input: TenantAccountInput,
    letters: &Letters,
    lifetime: Duration,
) -> Result<Audited<NewTenantAccount>> {
    let TenantAccountInput { slug, name, owner_email: email } = input;
    let _ = tenant::insert(tx, NewTenant { slug, name, open_registration: false }).await?; // the invitation's is last
    let owner = InvitationInput { email, role: Role::Owner };
    let invited = invitations::insert(tx, owner, None, letters, lifetime).await?;
    let id = tx.tenant();
    let tenant = find(tx, id).await?;
    Ok(invited.map(|invitation| NewTenantAccount { tenant, invitation_token: invitation.token }))
}

pub async fn update(
    tx: &mut WriteTx,
    before: Granted<TenantAccount>,
    input: TenantStandingInput,
) -> Result<Audited<TenantAccount>> {
    let number =
        |limit: Option<i64>| limit.map(i32::try_from).transpose().map_err(|error| Error::Internal(error.into()));
    let TenantStandingInput { is_suspended, user_requests_per_hour, api_key_requests_per_hour, user_writes_per_minute } =
        input.clone();
    let change = (
        tenants::is_suspended.eq(is_suspended),
        tenants::user_requests_per_hour.eq(number(user_requests_per_hour)?),
        tenants::api_key_requests_per_hour.eq(number(api_key_requests_per_hour)?),
        tenants::user_writes_per_minute.eq(number(user_writes_per_minute)?),
        tenants::version.eq(before.version + 1),
        tenants::updated_at.eq(tx.now()),
    );
    diesel::update(one(before.id)).set(change).execute(tx.conn()).await?;
    let after = find(tx, before.id).await?;
    let changes = Changes::updated(&before.as_input(), &input);
    Ok(tx.audit(Action::Update, after.id, changes).await?.with(after))
}
