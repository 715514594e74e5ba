//! Looks up users by their sign-in name, and tenants by their slug, before the tenant of a request is known. Nothing
//! else is visible to these queries: on PostgreSQL no tenant is set, and row-level security hides all other rows. This
//! module also adds and removes sign-in names.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::error::Constraint;
use super::types::{TenantId, UserId};
use super::{Db, Email, Execute, Origin, ReadTx, RunQueryDsl, System, WriteTx};
use crate::base::addresses::stored_forms;
use crate::base::error::{Detail, Error, Result};
use crate::db::schema::{logins, tenants};
use diesel::prelude::*;

impl Db {
    /// The user with this sign-in name, which must be in its canonical form. An address that was stored before there
    /// was a canonical form is found, too.
    pub async fn find_login(&self, name: &str, origin: &Origin) -> Result<Option<(TenantId, UserId)>> {
        let rows = logins::table.filter(logins::name.eq_any(stored_forms(name)));
        let rows = rows.select((logins::name, logins::tenant_id, logins::user_id));
        let load = async |tx: &mut ReadTx| Ok(rows.load::<(String, TenantId, UserId)>(tx).await?);
        let rows = self.read(&System::asked_by(origin), load).await?;
        let found = rows.into_iter().max_by_key(|(found, ..)| found == name);
        Ok(found.map(|(_, tenant, user)| (tenant, user)))
    }

    /// The tenant with this slug, and whether it is open for registration.
    pub async fn find_tenant(&self, slug: &str, origin: &Origin) -> Result<Option<(TenantId, bool)>> {
        let row = tenants::table.filter(tenants::slug.eq(slug.to_owned()));
        let is_open =
            tenants::open_registration.and(tenants::is_suspended.eq(false)).and(tenants::deleted_at.is_null());
        let row = row.select((tenants::id, is_open));
        self.find(&System::asked_by(origin), async |tx: &mut ReadTx| Ok(row.first(tx).await.optional()?)).await
    }
}

impl WriteTx {
    /// Lets a user sign in by this username. Fails with 409 if it is taken.
    pub async fn add_username(&mut self, user: UserId, username: String) -> Result<()> {
        self.add_login(user, username).await.taken("username")?;
        Ok(())
    }

    /// Lets a user sign in by this address. Fails with 409 if it is taken, in whichever form it is stored.
    pub async fn add_email(&mut self, user: UserId, email: &Email) -> Result<()> {
        let mut others = email.stored_forms();
        others.retain(|form| form != email.as_str());
        if !others.is_empty() {
            let others = logins::table.filter(logins::name.eq_any(others)).count();
            if others.get_result::<i64>(self).await? > 0 {
                return Err(Error::Conflict(Detail::of("email", "is taken")));
            }
        }
        self.add_login(user, email.to_string()).await.taken("email")?;
        Ok(())
    }

    async fn add_login(&mut self, user: UserId, name: String) -> QueryResult<usize> {
        let row = (logins::name.eq(name), logins::tenant_id.eq(self.tenant()), logins::user_id.eq(user));
        diesel::insert_into(logins::table).values(row).execute(self).await
    }

    /// Removes a sign-in name, which must be given in its stored form.
    pub async fn remove_login(&mut self, name: &str) -> Result<()> {
        let row = logins::table.filter(logins::tenant_id.eq(self.tenant()).and(logins::name.eq(name.to_owned())));
        diesel::delete(row).execute(self).await?;
        Ok(())
    }
}
