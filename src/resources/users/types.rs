//! Users as the contract has them.
use crate::auth::Role;
use crate::db::Any;
use crate::db::types::{Instant, TenantId, UserId};
use crate::http::Resource;
use crate::schema::users;
use diesel::prelude::*;
use poem_openapi::Object;
use uuid::Uuid;

crate::text_enum! {
    pub enum UserKind {
        Person = "person",
        /// Acts for an API key and can't sign in.
        Service = "service",
    }
}

/// A user, as answered and as stored; the password's hash is never part of it.
#[derive(Debug, Clone, Object, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Any))]
pub struct User {
    pub id: UserId,
    pub email: String,
    #[oai(nullable)]
    pub username: Option<String>,
    pub name: String,
    pub role: Role,
    pub kind: UserKind,
    pub is_active: bool,
    pub is_superuser: bool,
    pub email_verified: bool,
    pub tenant_id: TenantId,
    pub created_at: Instant,
    pub updated_at: Instant,
    pub version: i64,
}

impl Resource for User {
    const PATH: &'static str = "/api/v1/users";

    fn id(&self) -> Uuid {
        self.id.0
    }
    fn version(&self) -> i64 {
        self.version
    }
    /// `/auth/me` is a different user for each caller.
    fn tag(&self) -> String {
        format!("{}.{}", self.id, self.version)
    }
    /// Users have no address of their own yet; whoever registers finds themselves here.
    fn location(&self) -> String {
        "/api/v1/auth/me".to_owned()
    }
}

/// What is needed to make a person. E-mail and username are normalised.
#[derive(Clone)]
pub struct NewUser {
    pub email: String,
    pub username: Option<String>,
    pub name: String,
    pub role: Role,
    pub password_hash: String,
    pub is_superuser: bool,
}
