//! Users in the database, and their names in the sign-in directory.
#![expect(clippy::disallowed_methods, reason = "queries run SQL")]
use super::rules::{AllowedChange, Rank, ends_sessions, loses_owner};
use super::types::{Account, Member, NewUser, ProfileInput, User, UserFilter, UserInput, UserKind, UserSort};
use crate::api::list::{List, Page};
use crate::api::scalars::Email;
use crate::api::{Authorized, Locked};
use crate::auth::Role;
use crate::auth::sessions::RevokeSessions;
use crate::base::addresses::searched_form;
use crate::base::error::{Detail, Error, Result};
use crate::db::one_time_tokens::Purpose;
use crate::db::schema::{idempotency_keys, logins, sessions, users};
use crate::db::search::like;
use crate::db::sql::{for_update, text_or};
use crate::db::types::{Instant, TenantId, UserId};
use crate::db::{
    Action, Any, Audited, Change, Changes, Principal, ReadTx, RunQueryDsl, Statement, Statements, WriteTx,
    one_time_tokens,
};
use crate::{narrowed, paged};
use diesel::prelude::*;

#[diesel::dsl::auto_type(no_type_alias)]
fn all(tenant: TenantId) -> _ {
    users::table.filter(users::tenant_id.eq(tenant)).filter(users::deleted_at.is_null())
}

#[diesel::dsl::auto_type(no_type_alias)]
fn one(tenant: TenantId, id: UserId) -> _ {
    users::table.filter(users::tenant_id.eq(tenant)).filter(users::id.eq(id)).filter(users::deleted_at.is_null())
}

/// The users that match the filters and the search of a list, not yet sorted.
fn matching(tx: &ReadTx, list: &List<UserFilter>, with_email: bool) -> users::BoxedQuery<'static, Any> {
    let UserFilter { role, is_active, kind } = list.filter.clone();
    let search = list.q.as_deref().map(|text| tx.pattern(text));
    let in_ascii = tx.pattern(&list.q.as_deref().map(searched_form).unwrap_or_default());
    let (by_name, by_email) = if with_email { (None, search) } else { (search, None) };
    narrowed!(
        all(tx.tenant()).into_boxed(),
        role => users::role.eq(role),
        is_active => users::is_active.eq(is_active),
        kind => users::kind.eq(kind),
        by_name => like(users::name, by_name.clone()).or(like(text_or(users::username, ""), by_name)),
        by_email => like(users::name, by_email.clone())
            .or(like(text_or(users::username, ""), by_email.clone()))
            .or(like(users::email, by_email))
            .or(like(users::email, in_ascii)),
    )
}

/// Lists users with all members that admins see. `with_email` says whether the search also looks at e-mail addresses.
pub async fn list(tx: &mut ReadTx, list: &List<UserFilter>, with_email: bool) -> Result<Page<Member>> {
    let columns = Account::as_select();
    let (rows, total): (Vec<Account>, _) = paged!(tx, list, matching(tx, list, with_email), columns, (users::id, UserId), {
        UserSort::Name => (users::name, String),
        UserSort::CreatedAt => (users::created_at, Instant),
        UserSort::UpdatedAt => (users::updated_at, Instant),
    });
    Ok(list.page(rows.into_iter().map(Member::from).collect(), total))
}

pub async fn find_account(tx: &mut ReadTx, id: UserId) -> Result<Account> {
    Ok(one(tx.tenant(), id).select(Account::as_select()).first(tx).await?)
}

/// The user, locked for a change in this transaction, and the current rank of the actor. The owners are locked first
/// and then both users, each time in the order of their ids, so that two users who change each other wait and don't
/// deadlock. `InvalidToken` if the actor was disabled or removed while waiting.
pub async fn find_to_change(tx: &mut WriteTx, id: UserId) -> Result<(Rank, Locked<Account>)> {
    lock_owners(tx).await?;
    let actor = tx.actor();
    let both = all(tx.tenant()).filter(users::id.eq_any([actor, id])).order(users::id).select(users::id);
    let _: Vec<UserId> = for_update(both).get_results(tx).await?;
    let Principal { role, is_superuser, .. } = tx.principal_of(actor).await?.ok_or(Error::InvalidToken)?;
    Ok((Rank { role, is_superuser }, Locked::new(find_account(tx, id).await?)))
}

/// Deletes the logins of all users of a tenant that is about to be deleted, so that their names are free again. Fails
/// with 409 if one of the users is an operator of the server.
pub async fn release_names(tx: &mut WriteTx) -> Result<()> {
    let operators = all(tx.tenant()).filter(users::is_superuser.eq(true));
    if operators.count().get_result::<i64>(tx).await? > 0 {
        let message = "names a tenant that operators of the server belong to"; // owners have no power over operators
        return Err(Error::Conflict(Detail::of("confirm", message)));
    }
    let names = diesel::delete(logins::table.filter(logins::tenant_id.eq(tx.tenant())));
    tx.execute_unaudited("the tenant's row tells of it", names).await?;
    Ok(())
}

/// Fails with 422 on `member` if there is no user with the given id.
pub async fn must_exist(tx: &mut WriteTx, member: &str, id: Option<UserId>) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    let found: Option<UserId> = one(tx.tenant(), id).select(users::id).first(tx).await.optional()?;
    found.map(|_| ()).ok_or_else(|| Error::unprocessable(member, "does not exist"))
}

/// Fails with 422 on `member` if there is no user with the given id, or if the user is disabled.
pub async fn must_be_active(tx: &mut WriteTx, member: &str, id: Option<UserId>) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    let is_active: Option<bool> = one(tx.tenant(), id).select(users::is_active).first(tx).await.optional()?;
    match is_active {
        Some(true) => Ok(()),
        Some(false) => Err(Error::unprocessable(member, "is disabled")),
        None => Err(Error::unprocessable(member, "does not exist")),
    }
}

/// The active users with these usernames, in the order of their ids. Usernames of other tenants are not found.
pub async fn named(tx: &mut ReadTx, usernames: Vec<String>) -> Result<Vec<UserId>> {
    let names = logins::table.filter(logins::tenant_id.eq(tx.tenant())).filter(logins::name.eq_any(usernames));
    let active = all(tx.tenant()).filter(users::is_active.eq(true));
    let named = active.filter(users::id.eq_any(names.select(logins::user_id)));
    Ok(named.order(users::id).select(users::id).load(tx).await?)
}

/// The e-mail address that a person has verified, in each form in which it may be stored. Empty if the person has not
/// verified the address.
pub async fn verified_forms(tx: &mut ReadTx, id: UserId) -> Result<Vec<String>> {
    let verified = users::email_verified.eq(true).and(users::kind.eq(UserKind::Person));
    let address = one(tx.tenant(), id).filter(verified).select(users::email);
    let address: Option<String> = address.first(tx).await.optional()?;
    Ok(address.map_or_else(Vec::new, |address| Email::of_stored(&address).stored_forms()))
}

/// The person of the tenant with this e-mail address. Only for callers who may [see addresses](super::SeeAddresses).
pub async fn with_email(tx: &mut ReadTx, email: &Email) -> Result<Option<UserId>> {
    let person =
        all(tx.tenant()).filter(users::email.eq_any(email.stored_forms())).filter(users::kind.eq(UserKind::Person));
    Ok(person.select(users::id).first(tx).await.optional()?)
}

/// The actor's own row, locked for a change in this transaction. `InvalidToken` if the actor was disabled or removed.
pub async fn find_own_to_change(tx: &mut WriteTx) -> Result<Locked<User>> {
    let user = one(tx.tenant(), tx.actor()).filter(users::is_active.eq(true)).select(User::as_select());
    let user = for_update(user).get_result(tx).await.optional()?;
    Ok(Locked::new(user.ok_or(Error::InvalidToken)?))
}

/// The caller's own row. `InvalidToken` if the user was removed after the request was authenticated.
pub async fn find(tx: &mut ReadTx, id: UserId) -> Result<User> {
    let user = one(tx.tenant(), id).select(User::as_select()).first(tx).await.optional()?;
    user.ok_or(Error::InvalidToken)
}

/// Inserts a person, who can sign in.
pub async fn insert(tx: &mut WriteTx, id: UserId, new: NewUser) -> Result<Audited<User>> {
    let NewUser { email, username, name, role, password_hash, is_superuser, email_verified } = new;
    let user = User {
        id,
        email: email.to_string(),
        username,
        name,
        role,
        kind: UserKind::Person,
        is_active: true,
        is_superuser,
        email_verified,
        tenant_id: tx.tenant(),
        created_at: tx.now(),
        updated_at: tx.now(),
        version: 1,
    };
    let audited = tx.changed(Change::created(id, &user), row(&user, Some(password_hash))).await?;
    tx.add_email(id, &email).await?;
    if let Some(username) = user.username.clone() {
        tx.add_username(id, username).await?;
    }
    Ok(audited.with(user))
}

/// Inserts a service account, as which an API key acts.
pub async fn insert_service(tx: &mut WriteTx, id: UserId, name: String, role: Role) -> Result<Audited<User>> {
    let user = User {
        id,
        email: format!("{id}@service.invalid"), // RFC 2606 reserves this domain: no mail can reach it
        username: None,
        name,
        role,
        kind: UserKind::Service,
        is_active: true,
        is_superuser: false,
        email_verified: false,
        tenant_id: tx.tenant(),
        created_at: tx.now(),
        updated_at: tx.now(),
        version: 1,
    };
    Ok(tx.changed(Change::created(id, &user), row(&user, None)).await?.with(user))
}

/// The row of a new user.
fn row(user: &User, password_hash: Option<String>) -> Statement<'_> {
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
        // A new user has a verified address only if an operator created the user.
        users::first_verified_at.eq(user.email_verified.then_some(user.created_at)),
        users::version.eq(user.version),
        users::created_at.eq(user.created_at),
        users::updated_at.eq(user.updated_at),
    );
    Statement::of(diesel::insert_into(users::table).values(row))
}

/// Replaces the actor's e-mail address by its canonical form, if it was stored before there was such a form.
/// `PreconditionFailed` if it is canonical already. Tokens that were mailed to the address stay valid.
pub async fn renew_email(tx: &mut WriteTx) -> Result<Audited<User>> {
    let (tenant, id, now) = (tx.tenant(), tx.actor(), tx.now());
    let _: UserId = for_update(one(tenant, id).select(users::id)).get_result(tx).await?;
    let before = find(tx, id).await?;
    let email = Email::of_stored(&before.email);
    if email.as_str() == before.email {
        return Err(Error::PreconditionFailed); // another sign-in has replaced it already
    }
    let after = User { email: email.to_string(), updated_at: now, version: before.version + 1, ..before.clone() };
    tx.remove_login(&before.email).await?;
    tx.add_email(id, &email).await?;
    tx.readdress_tokens(id, &before.email, &after.email).await?;
    let change =
        (users::email.eq(&after.email), users::version.eq(after.version), users::updated_at.eq(after.updated_at));
    let row = diesel::update(one(tenant, id)).set(change);
    Ok(tx.changed(Change::updated(id, &before, &after), row).await?.with(after))
}

/// Changes the actor's password. `PreconditionFailed` if the password that was checked is no longer the current one.
/// The caller ends the sessions.
pub async fn set_password(tx: &mut WriteTx, checked: String, new: String) -> Result<Audited<User>> {
    let (tenant, id, now) = (tx.tenant(), tx.actor(), tx.now());
    let user = one(tenant, id).filter(users::password_hash.eq(checked));
    // The user's row is locked before the rows that refer to it. Other changes lock in the same order, so that there is
    // no deadlock.
    let locked = for_update(user.select(users::id)).get_result(tx).await.optional()?;
    let _: UserId = locked.ok_or(Error::PreconditionFailed)?;
    let change = (users::password_hash.eq(new), users::version.eq(users::version + 1), users::updated_at.eq(now));
    let row = diesel::update(one(tenant, id)).set(change);
    let audited = tx.changed(Change::of(Action::PasswordChange, id), row).await?;
    tx.void_tokens(id, &[Purpose::PasswordReset]).await?;
    Ok(audited.with(find(tx, id).await?))
}

/// Sets the actor's password by a token that was mailed to `email`. Fails if `email` is no longer the actor's address.
/// Returns the user as before the change. The actor's row must be locked already. The caller ends the sessions.
pub async fn replace_password(tx: &mut WriteTx, new: String, email: &str) -> Result<Audited<User>> {
    let (id, now) = (tx.actor(), tx.now());
    let user = find(tx, id).await?;
    if user.email != email {
        return Err(one_time_tokens::invalid()); // access to a former mailbox is not enough
    }
    let change = (users::password_hash.eq(new), users::version.eq(users::version + 1), users::updated_at.eq(now));
    let row = diesel::update(one(tx.tenant(), id)).set(change);
    let audited = tx.changed(Change::of(Action::PasswordReset, id), row).await?;
    tx.void_tokens(id, &[Purpose::PasswordReset]).await?;
    Ok(audited.with(user))
}

/// The result of a proof that the actor receives the mail of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// No address of the account was verified before.
    FirstOfAccount,
    /// Another address of the account was verified before, and this newer one was not.
    FirstOfAddress,
    /// The address was verified already, or is no longer the account's.
    Repeated,
}

/// Stores that the actor has proved to own this address. The actor's row must be locked already. The caller writes the
/// audit row.
pub async fn verify_email(tx: &mut WriteTx, email: &str) -> Result<Proof> {
    let (tenant, id, now) = (tx.tenant(), tx.actor(), tx.now());
    let unproved = users::email.eq(email.to_owned()).and(users::email_verified.eq(false));
    let first: Option<Option<Instant>> =
        one(tenant, id).filter(unproved.clone()).select(users::first_verified_at).first(tx).await.optional()?;
    let Some(first) = first else { return Ok(Proof::Repeated) };
    let change = (
        users::email_verified.eq(true),
        users::first_verified_at.eq(first.unwrap_or(now)),
        users::version.eq(users::version + 1),
        users::updated_at.eq(now),
    );
    let row = diesel::update(one(tenant, id).filter(unproved)).set(change);
    tx.execute_unaudited("the caller writes the row, once what follows from the proof is done", row).await?;
    Ok(if first.is_none() { Proof::FirstOfAccount } else { Proof::FirstOfAddress })
}

/// Whether the password that was checked is still the actor's. True if no password was checked.
pub async fn still_has(tx: &mut WriteTx, checked: Option<String>) -> Result<bool> {
    let Some(checked) = checked else { return Ok(true) };
    let user = one(tx.tenant(), tx.actor()).filter(users::password_hash.eq(checked));
    let found: Option<UserId> = user.select(users::id).first(tx).await.optional()?;
    Ok(found.is_some())
}

/// Changes the actor's own profile. A new address is not verified.
pub async fn update_profile(
    tx: &mut WriteTx,
    before: Authorized<User>,
    input: ProfileInput,
    new_hash: Option<String>,
) -> Result<Audited<User>> {
    let ProfileInput { name, username, email, password: _, current_password: _ } = input;
    let moved_to = Some(email).filter(|email| *email != Email::of_stored(&before.email));
    let after = User {
        email_verified: before.email_verified && moved_to.is_none(),
        email: moved_to.as_ref().map_or_else(|| before.email.clone(), Email::to_string),
        name,
        username,
        updated_at: tx.now(),
        version: before.version + 1,
        ..before.clone()
    };
    if let Some(hash) = new_hash {
        let row = diesel::update(one(tx.tenant(), after.id)).set(users::password_hash.eq(hash));
        let _ = tx.changed(Change::of(Action::PasswordChange, after.id), row).await?; // the profile's audit row follows
        tx.void_tokens(after.id, &[Purpose::PasswordReset]).await?;
    }
    if let Some(email) = &moved_to {
        tx.void_tokens(after.id, &Purpose::ALL).await?;
        tx.remove_login(&before.email).await?;
        tx.add_email(after.id, email).await?;
    }
    if after.username != before.username {
        if let Some(former) = &before.username {
            tx.remove_login(former).await?;
        }
        if let Some(username) = after.username.clone() {
            tx.add_username(after.id, username).await?;
        }
    }
    let change = (
        users::name.eq(&after.name),
        users::username.eq(&after.username),
        users::email.eq(&after.email),
        users::email_verified.eq(after.email_verified),
        users::version.eq(after.version),
        users::updated_at.eq(after.updated_at),
    );
    let row = diesel::update(one(tx.tenant(), after.id)).set(change);
    Ok(tx.changed(Change::updated(after.id, &*before, &after), row).await?.with(after))
}

/// Changes another user, as an admin does.
pub async fn update(tx: &mut WriteTx, before: Authorized<Account>, change: AllowedChange) -> Result<Audited<Member>> {
    let (was, input) = (before.as_input(), change.into_input());
    if before.user.kind == UserKind::Person && loses_owner(&was, Some(&input)) {
        keep_an_owner(tx, before.user.id).await?;
    }
    let UserInput { name, role, is_active, requests_per_hour } = input.clone();
    let user =
        User { name, role, is_active, updated_at: tx.now(), version: before.user.version + 1, ..before.user.clone() };
    let change = (
        users::name.eq(&user.name),
        users::role.eq(user.role),
        users::is_active.eq(user.is_active),
        users::requests_per_hour.eq(requests_per_hour),
        users::version.eq(user.version),
        users::updated_at.eq(user.updated_at),
    );
    let row = diesel::update(one(tx.tenant(), user.id)).set(change);
    let change = Change::updated(user.id, &before.user, &user).telling(Changes::updated(&was, &input));
    let audited = tx.changed(change, row).await?;
    if ends_sessions(&was, &input) {
        tx.end_sessions(user.id, None).await?;
    }
    Ok(audited.with(Account { user, requests_per_hour }.into()))
}

/// Removes a user. Records that the user made stay, but nothing identifies the user any more. The user's row stays
/// without personal data, because other rows refer to it.
pub async fn delete(tx: &mut WriteTx, account: Authorized<Account>) -> Result<Audited<()>> {
    let (tenant, now, id) = (tx.tenant(), tx.now(), account.user.id);
    if account.user.kind == UserKind::Person && loses_owner(&account.as_input(), None) {
        keep_an_owner(tx, id).await?;
    }
    let logins_of = logins::tenant_id.eq(tenant).and(logins::user_id.eq(id));
    let sessions_of = sessions::tenant_id.eq(tenant).and(sessions::user_id.eq(id));
    let answers_of = idempotency_keys::tenant_id.eq(tenant).and(idempotency_keys::user_id.eq(id));
    tx.void_tokens(id, &Purpose::ALL).await?;
    tx.end_sessions(id, None).await?;
    tx.enqueue(&RevokeSessions { user: id }).await?;
    let nobody = (
        users::email.eq(format!("{id}@removed.invalid")),
        users::username.eq(None::<String>),
        users::name.eq("Removed user"),
        users::password_hash.eq(None::<String>),
        users::is_active.eq(false),
        users::is_superuser.eq(false),
        users::email_verified.eq(false),
        users::deleted_at.eq(now),
        users::updated_at.eq(now),
        users::version.eq(users::version + 1),
    );
    let rows = Statements::default()
        .and(diesel::delete(logins::table.filter(logins_of)))
        .and(diesel::delete(sessions::table.filter(sessions_of)))
        .and(diesel::delete(idempotency_keys::table.filter(answers_of)))
        .and(diesel::update(one(tenant, id)).set(nobody));
    // The audit row says that the user was removed, and does not repeat the user's data.
    tx.changed(Change::deleted(id, &account.user).telling(Changes::none()), rows).await
}

/// Removes a service account. Its name stays, because it is not the name of a person.
pub async fn retire(tx: &mut WriteTx, id: UserId) -> Result<()> {
    let now = tx.now();
    let gone = (
        users::is_active.eq(false),
        users::deleted_at.eq(now),
        users::updated_at.eq(now),
        users::version.eq(users::version + 1),
    );
    tx.execute_unaudited("the row of its API key tells of it", diesel::update(one(tx.tenant(), id)).set(gone)).await?;
    tx.remove_all_terms(id.0);
    Ok(())
}

/// The people who own the tenant and are active. Their rows stay locked, so that two owners can't leave at the same
/// time.
async fn lock_owners(tx: &mut WriteTx) -> Result<Vec<UserId>> {
    let owners = all(tx.tenant()).filter(users::role.eq(Role::Owner)).filter(users::is_active.eq(true));
    let owners = owners.filter(users::kind.eq(UserKind::Person)).order(users::id).select(users::id);
    Ok(for_update(owners).get_results(tx).await?)
}

/// Fails with 409 if no other active person owns the tenant.
async fn keep_an_owner(tx: &mut WriteTx, leaving: UserId) -> Result<()> {
    let owners = lock_owners(tx).await?;
    match owners.iter().any(|owner| *owner != leaving) {
        true => Ok(()),
        false => Err(Error::Conflict(Detail::of("role", "the tenant must keep at least one owner"))),
    }
}
