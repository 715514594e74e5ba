//! Tenants in the database.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use crate::db::error::Constraint;
use crate::db::{Action, Audited, Changes, WriteTx};
use crate::error::Result;
use crate::schema::tenants;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use poem_openapi::Object;

#[derive(Debug, Clone, Object)]
pub struct NewTenant {
    pub slug: String,
    pub name: String,
    /// Whether anybody may join it as a viewer.
    pub open_registration: bool,
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
    let tenant = tx.tenant();
    tx.audit(Action::Create, tenant, changes).await
}
