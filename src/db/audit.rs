//! The audit log. Every change writes a row to it, in the change's own transaction.
use super::change::{Change, Statement};
use super::lease::SendAsyncFn;
use super::scope::System;
use super::types::{AnyId, AuditId, TenantId};
use super::{Db, WriteTx};
use crate::base::error::Result;
use crate::db::schema::audit_logs;
use diesel::ExpressionMethods;
use poem_openapi::types::ToJSON;
use serde_json::{Map, Value, json};
use uuid::Uuid;

crate::text_enum! {
    /// What happened.
    pub enum AuditAction {
        Create = "create",
        Update = "update",
        Delete = "delete",
        SignIn = "sign_in",
        SignInFailed = "sign_in_failed",
        /// The password was right, but the user is disabled, the tenant is suspended, or the address is not verified.
        SignInRefused = "sign_in_refused",
        SignOut = "sign_out",
        /// An old refresh token was used again. The session is ended, because the token may have been stolen.
        TokenReuse = "token_reuse",
        PasswordChange = "password_change",
        PasswordReset = "password_reset",
        EmailVerify = "email_verify",
        /// The tenant's data keys were wrapped by another master key, or replaced by new ones.
        KeyRotate = "key_rotate",
        /// A demo tenant was filled with invented records. This one row covers all of these records.
        Seed = "seed",
    }
}

/// The subject of an audit row: an id that knows its kind.
#[diagnostic::on_unimplemented(
    message = "the audit log has no kind for `{Self}`",
    label = "only an id with a kind can be audited",
    note = "declare the record that has such ids with `record!`, beside its types: see src/api/record.rs"
)]
pub trait Subject {
    const KIND: &'static str;
    /// Confidential members. Audit rows record that they changed, but not their values, because the audit log is not
    /// encrypted.
    const CONFIDENTIAL: &'static [&'static str];
    fn uuid(&self) -> Uuid;
}

/// The result of a change that has its audit row. [`WriteTx::changed`] makes one, and [`super::Db::write`] commits
/// nothing else.
#[must_use]
#[derive(Debug)]
pub struct Audited<R>(pub(super) R);

impl<T> Audited<T> {
    /// For internal work of `db` that nobody would look for in the audit log. Each use has a comment that says why
    /// there is no row.
    pub(super) fn without_row(result: T) -> Self {
        Self(result)
    }

    pub fn with<R>(self, result: R) -> Audited<R> {
        Audited(result)
    }

    /// The same change, with a result that is made from the present one.
    pub fn map<R>(self, more: impl FnOnce(T) -> R) -> Audited<R> {
        Audited(more(self.0))
    }

    pub fn get(&self) -> &T {
        &self.0
    }
}

/// The changes that an audit row records: member → `[before, after]`, for the members that differ.
pub struct Changes(Map<String, Value>);

/// Names the members alone: their values may be confidential until the audit row is printed.
impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Changes {
    pub fn none() -> Self {
        Self(Map::new())
    }

    pub fn created(after: &impl ToJSON) -> Self {
        Self::between(Value::Null, after.to_json().unwrap_or_default())
    }

    pub fn updated<T: ToJSON>(before: &T, after: &T) -> Self {
        Self::between(before.to_json().unwrap_or_default(), after.to_json().unwrap_or_default())
    }

    pub fn deleted(before: &impl ToJSON) -> Self {
        Self::between(before.to_json().unwrap_or_default(), Value::Null)
    }

    /// Adds how many other records were deleted together with this one.
    pub fn and_gone(mut self, what: &str, count: usize) -> Self {
        if count > 0 {
            self.0.insert(what.to_owned(), json!([count, null]));
        }
        self
    }

    /// The JSON for the audit row. The values of these confidential members are hidden.
    fn to_json(&self, confidential: &[&str]) -> String {
        Value::Object(Self(self.0.clone()).without_values_of(confidential).0).to_string()
    }

    fn between(before: Value, after: Value) -> Self {
        let told_by_the_row = |name: &str| matches!(name, "version" | "updated_at");
        let members = [&before, &after].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
        let mut changes = Map::new();
        for name in members.filter(|name| !told_by_the_row(name)) {
            let (old, new) = (&before[name], &after[name]); // null if there is none
            if old != new && !changes.contains_key(name) {
                changes.insert(name.clone(), Value::Array(vec![old.clone(), new.clone()]));
            }
        }
        Self(changes)
    }

    /// Replaces the values of these members with `***`.
    fn without_values_of(mut self, confidential: &[&str]) -> Self {
        let hide = |value: Option<&Value>| value.filter(|value| !value.is_null()).map(|_| "***");
        for (name, pair) in &mut self.0 {
            if confidential.contains(&name.as_str()) {
                *pair = json!([hide(pair.get(0)), hide(pair.get(1))]);
            }
        }
        self
    }
}

impl Db {
    /// As [`Db::write`], for invented records that an [`AuditAction::Seed`] row covers. A row for each record would
    /// flood the log with changes that nobody made.
    pub async fn write_seeded<F>(&self, tenant: TenantId, work: F) -> Result<()>
    where
        for<'tx> F: AsyncFnOnce(&'tx mut WriteTx) -> Result<()> + SendAsyncFn<&'tx mut WriteTx, Result<()>, Fut: Send>,
    {
        let mut tx = self.begin_write(&System::of(tenant)).await?;
        let result = work(&mut tx).await;
        tx.end(result).await
    }
}

impl WriteTx {
    /// The audit row of a change.
    pub(super) fn audit_row(&self, change: &Change<'_>) -> Statement<'static> {
        let row = (
            audit_logs::tenant_id.eq(self.tenant()),
            audit_logs::id.eq(self.new_id::<AuditId>()),
            audit_logs::at.eq(self.now()),
            audit_logs::actor_id.eq(self.author().stored()),
            audit_logs::action.eq(change.action()),
            audit_logs::subject_kind.eq(change.kind()),
            audit_logs::subject_id.eq(AnyId::from(change.id())),
            audit_logs::changes.eq(change.changes.to_json(change.confidential())),
            audit_logs::ip.eq(self.origin().ip.map(|ip| ip.to_string())),
            audit_logs::request_id.eq(self.origin().request_id.clone()),
        );
        Statement::of(diesel::insert_into(audit_logs::table).values(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_that_differ_are_kept() {
        let before = json!({"title": "a", "status": "todo", "version": 1, "updated_at": "x"});
        let after = json!({"title": "b", "status": "todo", "version": 2, "updated_at": "y"});
        assert_eq!(Value::Object(Changes::between(before, after).0), json!({"title": ["a", "b"]}));
        let made = Changes::between(Value::Null, json!({"title": "a", "description": null}));
        assert_eq!(Value::Object(made.0), json!({"title": [null, "a"]}));
        let deleted = |count| Changes::deleted(&"a".to_owned()).and_gone("comments", count);
        assert_eq!(
            (Value::Object(deleted(0).0), Value::Object(deleted(2).0)),
            (json!({}), json!({"comments": [2, null]}))
        );
    }

    #[test]
    fn what_is_confidential_is_hidden() {
        let change =
            |before, after| Value::Object(Changes::between(before, after).without_values_of(&["amount", "secret"]).0);
        let (some, other, none) = (json!({"amount": "1.00"}), json!({"amount": "2.00"}), json!({"amount": null}));
        assert_eq!(change(some.clone(), other), json!({"amount": ["***", "***"]}));
        assert_eq!(change(none, some.clone()), json!({"amount": [null, "***"]}));
        assert_eq!(change(some.clone(), some.clone()), json!({}));
        assert_eq!(change(some, Value::Null), json!({"amount": ["***", null]}));
        assert_eq!(change(Value::Null, json!({"amounts": "1"})), json!({"amounts": [null, "1"]}));
    }
}
