//! Users in the database, and their names in the sign-in directory.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::types::{NewUser, User, UserKind};
use crate::db::error::Constraint;
use crate::db::types::{TenantId, UserId};
use crate::db::{Action, Audited, Changes, ReadTx, WriteTx};
use crate::error::{Error, Result};
use crate::schema::{logins, users};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: UserId) -> _ {
    users::table.filter(users::tenant_id.eq(tenant)).filter(users::id.eq(id))
}

pub async fn find(tx: &mut ReadTx, id: UserId) -> Result<User> {
    Ok(one(tx.tenant(), id).select(User::as_select()).first(tx.conn()).await?)
}

/// A user and the hash of their password; none for a service account.
pub struct Credentials {
    pub user: User,
    pub password_hash: Option<String>,
}

pub async fn credentials(tx: &mut ReadTx, id: UserId) -> Result<Option<Credentials>> {
    let row = one(tx.tenant(), id).select((User::as_select(), users::password_hash));
    let row: Option<(User, Option<String>)> = row.first(tx.conn()).await.optional()?;
    Ok(row.map(|(user, password_hash)| Credentials { user, password_hash }))
}

pub async fn insert(tx: &mut WriteTx, id: UserId, new: NewUser) -> Result<Audited<User>> {
    let NewUser { email, username, name, role, password_hash, is_superuser } = new;
    let user = User {
        id,
        email,
        username,
        name,
        role,
        kind: UserKind::Person,
        is_active: true,
        is_superuser,
        email_verified: false,
        tenant_id: tx.tenant(),
        created_at: tx.now(),
        updated_at: tx.now(),
        version: 1,
    };
    let row = (
        users::tenant_id.eq(user.tenant_id),
        users::id.eq(user.id),
        users::email.eq(&user.email),
        users::username.eq(&user.username),
        users::name.eq(&user.name),
        users::role.eq(user.role),
        users::kind.eq(user.kind),
        users::password_hash.eq(password_hash),
        users::is_active.eq(user.is_active),
        users::is_superuser.eq(user.is_superuser),
        users::email_verified.eq(user.email_verified),
        users::version.eq(user.version),
        users::created_at.eq(user.created_at),
        users::updated_at.eq(user.updated_at),
    );
    diesel::insert_into(users::table).values(row).execute(tx.conn()).await?;
    add_login(tx, id, user.email.clone()).await.taken("email")?;
    if let Some(username) = user.username.clone() {
        add_login(tx, id, username).await.taken("username")?;
    }
    let audited = tx.audit(Action::Create, user.id, Changes::created(&user)).await?;
    Ok(audited.with(user))
}

async fn add_login(tx: &mut WriteTx, user: UserId, name: String) -> QueryResult<usize> {
    let row = (logins::name.eq(name), logins::tenant_id.eq(tx.tenant()), logins::user_id.eq(user));
    diesel::insert_into(logins::table).values(row).execute(tx.conn()).await
}

/// Changes the actor's password, if it still is the one that was checked.
pub async fn set_password(tx: &mut WriteTx, checked: String, new: String) -> Result<Audited<()>> {
    let (tenant, id, now) = (tx.tenant(), tx.actor(), tx.now());
    let user = one(tenant, id).filter(users::password_hash.eq(checked));
    let change = (users::password_hash.eq(new), users::version.eq(users::version + 1), users::updated_at.eq(now));
    match diesel::update(user).set(change).execute(tx.conn()).await? {
        0 => Err(Error::PreconditionFailed),
        _ => tx.audit(Action::PasswordChange, id, Changes::none()).await,
    }
}
