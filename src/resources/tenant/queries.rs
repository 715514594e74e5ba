//! Tenants in the database. Their table has no row-level security, so every query filters by the tenant of the
//! transaction.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::removal::RemoveTenant;
use super::types::{NewTenant, Tenant, TenantInput};
use crate::api::{Authorized, Locked, VerifiedCaller};
use crate::base::error::{Error, Result};
use crate::db::schema::{idempotency_keys, tenants};
use crate::db::sql::{for_share, for_update};
use crate::db::types::{Day, Instant, TenantId};
use crate::db::{Action, Audited, Change, Changes, ReadTx, RunQueryDsl, Statement, Statements, WriteTx};
use chrono_tz::{ParseError, Tz};
use diesel::prelude::*;

#[diesel::dsl::auto_type(no_type_alias)]
fn own(tenant: TenantId) -> _ {
    tenants::table.filter(tenants::id.eq(tenant)).filter(tenants::deleted_at.is_null())
}

/// The caller's own tenant. `InvalidToken` if it was deleted after the request was authenticated.
pub async fn find(tx: &mut ReadTx) -> Result<Tenant> {
    let tenant = own(tx.tenant()).select(Tenant::as_select()).first(tx).await.optional()?;
    tenant.ok_or(Error::InvalidToken)
}

/// The tenant's name.
pub async fn name(tx: &mut ReadTx) -> Result<String> {
    Ok(own(tx.tenant()).select(tenants::name).first(tx).await?)
}

/// The time at which the tenant was created.
pub async fn founded(tx: &mut ReadTx) -> Result<Instant> {
    let founded = own(tx.tenant()).select(tenants::created_at).first(tx).await.optional()?;
    founded.ok_or(Error::InvalidToken)
}

/// The given currency, or the tenant's own if none is given.
pub async fn currency_or_own(tx: &mut ReadTx, given: Option<String>) -> Result<String> {
    match given {
        Some(currency) => Ok(currency),
        None => Ok(own(tx.tenant()).select(tenants::currency).first(tx).await?),
    }
}

/// The current date in the tenant's time zone.
pub async fn today(tx: &mut ReadTx) -> Result<Day> {
    let zone = timezone(tx).await?;
    Ok(Day(tx.now().0.with_timezone(&zone).date_naive()))
}

/// The tenant's time zone.
pub async fn timezone(tx: &mut ReadTx) -> Result<Tz> {
    let name: String = own(tx.tenant()).select(tenants::timezone).first(tx).await?;
    name.parse().map_err(|error: ParseError| Error::Internal(error.into()))
}

/// The tenant, locked for a change in this transaction.
pub async fn find_to_change(tx: &mut WriteTx) -> Result<Locked<Tenant>> {
    let tenant = own(tx.tenant()).select(Tenant::as_select());
    let tenant = for_update(tenant).get_result(tx).await.optional()?;
    Ok(Locked::new(tenant.ok_or(Error::InvalidToken)?))
}

/// Whether people may register with the tenant.
pub struct RegistrationPolicy {
    /// Anybody may register, as a viewer.
    pub is_open: bool,
    /// Nobody may register, not even with an invitation.
    pub is_suspended: bool,
}

/// Whether people may register with the tenant. `None` if the tenant was deleted. The tenant's row stays locked, so
/// that the answer stays true until this transaction ends. The tenant is locked before any other row that belongs to
/// it. Its removal locks in the same order, so that there is no deadlock.
pub async fn lock_shared(tx: &mut WriteTx) -> Result<Option<RegistrationPolicy>> {
    let policy = own(tx.tenant()).select((tenants::open_registration, tenants::is_suspended));
    let policy: Option<(bool, bool)> = for_share(policy).get_result(tx).await.optional()?;
    Ok(policy.map(|(is_open, is_suspended)| RegistrationPolicy { is_open, is_suspended }))
}

/// Inserts the tenant of the transaction, with the settings of a new tenant. A taken slug is a conflict on `tenant_id`,
/// which is the name of the slug in registration.
pub async fn insert(tx: &mut WriteTx, new: NewTenant) -> Result<Audited<()>> {
    let changes = Changes::created(&new);
    let tenant = Tenant::new(tx.tenant(), new, tx.now());
    let row = (
        tenants::id.eq(tenant.id),
        tenants::slug.eq(&tenant.slug),
        tenants::name.eq(&tenant.input.name),
        tenants::timezone.eq(&tenant.input.timezone),
        tenants::currency.eq(&tenant.input.currency),
        tenants::open_registration.eq(tenant.input.open_registration),
        tenants::version.eq(tenant.version),
        tenants::created_at.eq(tenant.created_at),
        tenants::updated_at.eq(tenant.updated_at),
    );
    let row = Statement::of(diesel::insert_into(tenants::table).values(row)).taken("tenant_id");
    let audited = tx.changed(Change::created(tenant.id, &tenant).telling(changes), row).await?;
    tx.prepare_data_keys().await?;
    tx.begin_to_count_bytes().await?;
    Ok(audited)
}

/// Changes the tenant. Only a caller with a verified address may open it for registration, as `opened_by` proves.
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
    let row = diesel::update(own(after.id)).set(change);
    Ok(tx.changed(Change::updated(after.id, &*before, &after), row).await?.with(after))
}

/// Deletes the tenant. Its users get no more answers and can't sign in, and its slug and their names are free again. A
/// background job deletes the rows.
pub async fn delete(tx: &mut WriteTx) -> Result<Audited<()>> {
    let (tenant, now) = (tx.tenant(), tx.now());
    let locked = for_update(own(tenant).select(tenants::id)).get_result(tx).await.optional()?;
    let _: TenantId = locked.ok_or(Error::InvalidToken)?; // nobody registers meanwhile
    let gone = (
        tenants::slug.eq(format!("deleted.{}", tenant.0.simple())), // a slug that users choose can't have a dot
        tenants::open_registration.eq(false),
        tenants::deleted_at.eq(now),
        tenants::updated_at.eq(now),
    );
    // Stored answers may contain amounts. They are encrypted with another key, so destroying the data keys is not
    // enough.
    let answers = idempotency_keys::table.filter(idempotency_keys::tenant_id.eq(tenant));
    let rows = Statements::default().and(diesel::delete(answers)).and(diesel::update(own(tenant)).set(gone));
    let audited = tx.changed(Change::of(Action::Delete, tenant), rows).await?;
    tx.destroy_data_keys().await?;
    tx.enqueue(&RemoveTenant {}).await?;
    Ok(audited)
}
