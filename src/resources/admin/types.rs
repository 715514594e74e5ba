//! Tenants as operators see them.
use crate::api::list::Filter;
use crate::api::scalars::Email;
use crate::api::{Input, Owned};
use crate::base::error::Detail;
use crate::db::Any;
use crate::db::schema::tenants;
use crate::db::types::{Instant, TenantId, UserId};
use diesel::prelude::*;
use poem_openapi::{Enum, Object};
use serde::Serialize;

#[derive(Debug, Clone, Object)]
pub struct TenantAccountInput {
    #[oai(validator(min_length = 3, max_length = 50, pattern = "^[a-z0-9-]+$"))]
    pub slug: String,
    #[oai(validator(min_length = 1, max_length = 120))]
    pub name: String,
    /// The address that is invited to own it.
    #[oai(validator(max_length = 254))]
    pub owner_email: Email,
}

impl Input for TenantAccountInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("name", &self.name);
    }
}

/// What an operator says about a tenant.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, AsChangeset)]
#[diesel(table_name = tenants, check_for_backend(Any), treat_none_as_null = true)]
pub struct TenantStandingInput {
    pub is_suspended: bool,
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub user_requests_per_hour: Option<i32>,
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub api_key_requests_per_hour: Option<i32>,
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub user_writes_per_minute: Option<i32>,
}

impl Input for TenantStandingInput {}

/// A tenant, as answered and as stored.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = tenants, check_for_backend(Any))]
pub struct TenantAccount {
    pub id: TenantId,
    pub slug: String,
    pub name: String,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub input: TenantStandingInput,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

crate::resource!(TenantAccount, "/api/v1/admin/tenants");

/// Every operator may change every tenant.
impl Owned for TenantAccount {
    fn owner(&self) -> Option<UserId> {
        None
    }
}

/// A new tenant, and the invitation of its owner.
#[derive(Debug, Clone, Object, Serialize)]
pub struct NewTenantAccount {
    #[oai(flatten)]
    #[serde(flatten)]
    pub tenant: TenantAccount,
    /// For the owner's registration; shown once, and mailed.
    pub invitation_token: String,
}

crate::shown_once!(NewTenantAccount, tenant);

#[derive(Debug, Clone, Object)]
pub struct TenantAccountFilter {
    pub is_suspended: Option<bool>,
}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum TenantAccountSort {
    Name,
    Slug,
    #[default]
    CreatedAt,
    UpdatedAt,
}

impl Filter for TenantAccountFilter {
    type Item = TenantAccount;
    type Column = TenantAccountSort;
}
