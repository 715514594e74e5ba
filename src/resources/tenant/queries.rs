//! Tenants in the database. Their table has no row-level security: every query names the lease's tenant.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{NewTenant, Tenant, TenantInput};
use crate::api::{Authorized, Locked, VerifiedCaller};
use crate::base::error::{Detail, Error, Result};
use crate::db::error::Constraint;
use crate::db::removal::RemoveTenant;
use crate::db::schema::{idempotency_keys, invitations, logins, tenants};
use crate::db::sql::{for_share, for_update};
use crate::db::types::{Day, Instant, TenantId};
use crate::db::{Action, Audited, Changes, ReadTx, WriteTx};
use crate::resources::users;
use chrono_tz::{ParseError, Tz};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[diesel::dsl::auto_type(no_type_alias)]
fn own(tenant: TenantId) -> _ {
    tenants::table.filter(tenants::id.eq(tenant)).filter(tenants::deleted_at.is_null())
}

/// The caller's own: where it is gone, it was deleted since they were let in.
pub async fn find(tx: &mut ReadTx) -> Result<Tenant> {
    let tenant = own(tx.tenant()).select(Tenant::as_select()).first(tx.conn()).await.optional()?;
    tenant.ok_or(Error::InvalidToken)
}

/// What it is called.
pub async fn name(tx: &mut ReadTx) -> Result<String> {
    Ok(own(tx.tenant()).select(tenants::name).first(tx.conn()).await?)
}

/// When it was made.
pub async fn founded(tx: &mut ReadTx) -> Result<Instant> {
    let founded = own(tx.tenant()).select(tenants::created_at).first(tx.conn()).await.optional()?;
    founded.ok_or(Error::InvalidToken)
}

/// The currency that was given, or the one that the tenant calculates in.
pub async fn currency_or_own(tx: &mut ReadTx, given: Option<String>) -> Result<String> {
    match given {
        Some(currency) => Ok(currency),
        None => Ok(own(tx.tenant()).select(tenants::currency).first(tx.conn()).await?),
    }
}

/// What day it is there.
pub async fn today(tx: &mut ReadTx) -> Result<Day> {
    let zone = timezone(tx).await?;
    Ok(Day(tx.now().0.with_timezone(&zone).date_naive()))
}

/// The time zone whose days are the tenant's.
pub async fn timezone(tx: &mut ReadTx) -> Result<Tz> {
    let name: String = own(tx.tenant()).select(tenants::timezone).first(tx.conn()).await?;
    name.parse().map_err(|error: ParseError| Error::Internal(error.into()))
}

/// The tenant as it is now, for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx) -> Result<Locked<Tenant>> {
    let tenant = own(tx.tenant()).select(Tenant::as_select());
    let tenant = for_update(tenant).get_result(tx.conn()).await.optional()?;
    Ok(Locked::new(tenant.ok_or(Error::InvalidToken)?))
}

/// Whether people may register with the tenant.
pub struct RegistrationPolicy {
    /// Anybody may, as a viewer.
    pub is_open: bool,
    /// Nobody may at all.
    pub is_suspended: bool,
}

/// Whether people may register with the tenant, which stays as it is until this transaction is over; none where the tenant is
/// gone. The tenant is locked before any row of it, as its removal does, so that no two wait for each other.
pub async fn lock_shared(tx: &mut WriteTx) -> Result<Option<RegistrationPolicy>> {
    let policy = own(tx.tenant()).select((tenants::open_registration, tenants::is_suspended));
    let policy: Option<(bool, bool)> = for_share(policy).get_result(tx.conn()).await.optional()?;
    Ok(policy.map(|(is_open, is_suspended)| RegistrationPolicy { is_open, is_suspended }))
}

/// Makes the lease's tenant, with the settings that a new one has. A taken slug is a conflict on `tenant_id`, which is
/// what registration calls it.
pub async fn insert(tx: &mut WriteTx, tenant: NewTenant) -> Result<Audited<()>> {
    let changes = Changes::created(&tenant);
    let NewTenant { slug, name, open_registration } = tenant;
    let row = (
        tenants::id.eq(tx.tenant()),
        tenants::slug.eq(slug),
        tenants::name.eq(name),
        tenants::timezone.eq("UTC"),
        tenants::currency.eq("USD"),
        tenants::open_registration.eq(open_registration),
        tenants::version.eq(1),
        tenants::created_at.eq(tx.now()),
        tenants::updated_at.eq(tx.now()),
    );
    diesel::insert_into(tenants::table).values(row).execute(tx.conn()).await.taken("tenant_id")?;
    tx.prepare_data_keys().await?;
    let tenant = tx.tenant();
    tx.audit(Action::Create, tenant, changes).await
}

/// Only somebody with a verified address opens it for registration, as `opened_by` proves.
pub async fn update(
    tx: &mut WriteTx,
    before: Authorized<Tenant>,
    input: TenantInput,
    opened_by: Option<VerifiedCaller>,
) -> Result<Audited<Tenant>> {
    if input.opens(&before.input) && opened_by.is_none() {
        return Err(Error::UnverifiedCaller);
    }
    let after = Tenant { input, version: before.version + 1, updated_at: tx.now(), ..before.clone() };
    let change = (&after.input, tenants::version.eq(after.version), tenants::updated_at.eq(after.updated_at));
    diesel::update(own(after.id)).set(change).execute(tx.conn()).await?;
    Ok(tx.audit(Action::Update, after.id, Changes::updated(&*before, &after)).await?.with(after))
}

/// From now on nobody of it is served or can sign in, and its slug and names are free. The rows go in the background.
pub async fn delete(tx: &mut WriteTx) -> Result<Audited<()>> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let locked = for_update(own(tenant).select(tenants::id)).get_result(tx.conn()).await.optional()?;
    let _: TenantId = locked.ok_or(Error::InvalidToken)?; // nobody comes in meanwhile
    if users::has_operators(tx).await? {
        let message = "names a tenant that operators of the server belong to"; // its owners have no power over operators
        return Err(Error::Conflict(Detail::of("confirm", message)));
    }
    diesel::delete(logins::table.filter(logins::tenant_id.eq(tenant))).execute(tx.conn()).await?;
    diesel::delete(invitations::table.filter(invitations::tenant_id.eq(tenant))).execute(tx.conn()).await?;
    let gone = (
        tenants::slug.eq(format!("deleted.{}", tenant.0.simple())), // no slug that people can ask for has a dot
        tenants::open_registration.eq(false),
        tenants::deleted_at.eq(now),
        tenants::updated_at.eq(now),
    );
    tx.destroy_data_keys().await?;
    // Stored answers may hold amounts, and are encrypted under another key.
    diesel::delete(idempotency_keys::table.filter(idempotency_keys::tenant_id.eq(tenant))).execute(tx.conn()).await?;
    diesel::update(own(tenant)).set(gone).execute(tx.conn()).await?;
    tx.enqueue(&RemoveTenant {}).await?;
    tx.audit(Action::Delete, tenant, Changes::none()).await
}
