//! What is looked up before a tenant is known: the user who has a name, and the tenant that has a slug. Nothing else is
//! in reach here: on PostgreSQL no tenant is set, and row-level security hides all the rest. And how names get in and out.
#![expect(clippy::disallowed_methods, reason = "`db` runs SQL")]
use super::error::Constraint;
use super::types::{TenantId, UserId};
use super::{Db, Email, Execute, Origin, ReadTx, RunQueryDsl, System, WriteTx};
use crate::base::addresses::stored_forms;
use crate::base::error::{Detail, Error, Result};
use crate::db::schema::{logins, tenants};
use diesel::prelude::*;

impl Db {
    /// The user who has this name; `name` is in its canonical form. Addresses from before there was one are found by it too.
    pub async fn find_login(&self, name: &str, origin: &Origin) -> Result<Option<(TenantId, UserId)>> {
        let rows = logins::table.filter(logins::name.eq_any(stored_forms(name)));
        let rows = rows.select((logins::name, logins::tenant_id, logins::user_id));
        let load = async |tx: &mut ReadTx| Ok(rows.load::<(String, TenantId, UserId)>(tx).await?);
        let rows = self.read(&System::asked_by(origin), load).await?;
        let found = rows.into_iter().max_by_key(|(found, ..)| found == name);
        Ok(found.map(|(_, tenant, user)| (tenant, user)))
    }

    /// The tenant with this slug, and whether anybody may join it.
    pub async fn find_tenant(&self, slug: &str, origin: &Origin) -> Result<Option<(TenantId, bool)>> {
        let row = tenants::table.filter(tenants::slug.eq(slug.to_owned()));
        let is_open =
            tenants::open_registration.and(tenants::is_suspended.eq(false)).and(tenants::deleted_at.is_null());
        let row = row.select((tenants::id, is_open));
        self.read(&System::asked_by(origin), async |tx: &mut ReadTx| Ok(row.first(tx).await.optional()?)).await
    }
}

impl WriteTx {
    /// Lets a user sign in by this username: 409 where it is taken.
    pub async fn add_username(&mut self, user: UserId, username: String) -> Result<()> {
        self.add_login(user, username).await.taken("username")?;
        Ok(())
    }

    /// The same by this address: 409 where it is somebody's, in whichever form that is stored.
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

    /// The user does not sign in by this name any more; it is as it is stored.
    pub async fn remove_login(&mut self, name: &str) -> Result<()> {
        let row = logins::table.filter(logins::tenant_id.eq(self.tenant()).and(logins::name.eq(name.to_owned())));
        diesel::delete(row).execute(self).await?;
        Ok(())
    }
}
