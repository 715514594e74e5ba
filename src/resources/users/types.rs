//! The types of users in the contract of the API.
use super::rules::Rank;
use crate::api::list::{Filter, List, Sort};
use crate::api::query::QueryParams;
use crate::api::scalars::{Email, Password};
use crate::api::{Input, Owned, Resource};
use crate::auth::Role;
use crate::auth::passwords::check_password;
use crate::base::error::{Detail, Error, Result};
use crate::db::Any;
pub use crate::db::roles::UserKind;
use crate::db::schema::users;
use crate::db::types::{Instant, TenantId, UserId};
use diesel::prelude::*;
use poem_openapi::registry::{MetaSchema, Registry};
use poem_openapi::types::ToJSON;
use poem_openapi::{Enum, Object};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A user as stored and as returned to clients. It never contains the hash of the password.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
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

impl User {
    pub fn rank(&self) -> Rank {
        Rank { role: self.role, is_superuser: self.is_superuser }
    }
}

crate::resource!(User, record, owner: id, {
    /// The tag contains the id, because `/auth/me` and `/users/me` return a different user to each caller.
    fn tag(&self) -> String {
        format!("{}.{}", self.id, self.version)
    }
});

crate::record! {
    User {
        id: UserId, kind: "user", table: users, href: "/api/v1/users/{id}",
        read_by: super::SeeAddresses, titles_read_by: super::Read,
        title: name,
        text: [name = High, username = High],
        held: [|tx, person| async { super::queries::find(tx, person.user()).await.map(|user| vec![user]) }],
    }
}

/// The data of a new person. The username must be normalised already.
#[derive(Clone)]
pub struct NewUser {
    pub email: Email,
    pub username: Option<String>,
    pub name: String,
    pub role: Role,
    pub password_hash: String,
    pub is_superuser: bool,
    pub email_verified: bool,
}

/// The members of a profile that users write about themselves.
#[derive(Debug, Clone, Object)]
pub struct ProfileInput {
    #[oai(validator(min_length = 1, max_length = 120))]
    pub name: String,
    #[oai(nullable, validator(min_length = 3, max_length = 50, pattern = "^[a-z0-9._-]+$"))]
    pub username: Option<String>,
    #[oai(validator(max_length = 254))]
    pub email: Email,
    /// The new password. If it is absent, the password stays as it is.
    #[oai(nullable, validator(min_length = 8, max_length = 72))]
    pub password: Option<Password>,
    /// Needed to change `email` or `password`.
    #[oai(nullable, validator(max_length = 200))]
    pub current_password: Option<Password>,
}

impl Input for ProfileInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("name", &self.name);
        if let Some(password) = &self.password {
            check_password(password, "password", problems);
        }
    }
}

impl From<&User> for ProfileInput {
    fn from(user: &User) -> Self {
        let User { name, username, email, .. } = user.clone();
        Self { name, username, email: Email::of_stored(&email), password: None, current_password: None }
    }
}

/// The members that admins write about other users.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct UserInput {
    #[oai(validator(min_length = 1, max_length = 120))]
    pub name: String,
    pub role: Role,
    pub is_active: bool,
    /// A limit for this user that is lower than the tenant's.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub requests_per_hour: Option<i32>,
}

impl Input for UserInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("name", &self.name);
    }
}

/// A user as other users see them. Members that only admins may see are null for everybody else.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Member {
    pub id: UserId,
    pub name: String,
    #[oai(nullable)]
    pub username: Option<String>,
    #[oai(nullable)]
    pub email: Option<String>,
    #[oai(nullable)]
    pub role: Option<String>,
    #[oai(nullable)]
    pub kind: Option<String>,
    #[oai(nullable)]
    pub is_active: Option<bool>,
    #[oai(nullable)]
    pub email_verified: Option<bool>,
    #[oai(nullable)]
    pub requests_per_hour: Option<i32>,
    #[oai(nullable)]
    pub created_at: Option<Instant>,
    #[oai(nullable)]
    pub updated_at: Option<Instant>,
    pub version: i64,
}

impl From<Account> for Member {
    /// Fills in all members, as admins see them.
    fn from(Account { user, requests_per_hour }: Account) -> Self {
        let User {
            id,
            email,
            username,
            name,
            role,
            kind,
            is_active,
            email_verified,
            created_at,
            updated_at,
            version,
            ..
        } = user;
        let word = |json: Option<Value>| json?.as_str().map(str::to_owned);
        Self {
            id,
            name,
            username,
            email: Some(email),
            role: word(role.to_json()),
            kind: word(kind.to_json()),
            is_active: Some(is_active),
            email_verified: Some(email_verified),
            requests_per_hour,
            created_at: Some(created_at),
            updated_at: Some(updated_at),
            version,
        }
    }
}

impl Member {
    /// Removes the members that a caller with this role may not see.
    pub fn redact_for(self, role: Role) -> Self {
        if role >= Role::Admin {
            return self;
        }
        let Self { id, name, username, version, .. } = self;
        Self {
            id,
            name,
            username,
            email: None,
            role: None,
            kind: None,
            is_active: None,
            email_verified: None,
            requests_per_hour: None,
            created_at: None,
            updated_at: None,
            version,
        }
    }
}

/// A user as stored, with the settings that only admins change.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Any))]
pub struct Account {
    #[diesel(embed)]
    pub user: User,
    pub requests_per_hour: Option<i32>,
}

impl Account {
    pub fn as_input(&self) -> UserInput {
        let User { name, role, is_active, .. } = self.user.clone();
        UserInput { name, role, is_active, requests_per_hour: self.requests_per_hour }
    }
}

impl Resource for Account {
    fn id(&self) -> Uuid {
        self.user.id.0
    }
    fn version(&self) -> i64 {
        self.user.version
    }
    fn tag(&self) -> String {
        Member::from(self.clone()).tag()
    }
    fn location(&self) -> String {
        self.user.location()
    }
}

impl Owned for Account {
    fn owner(&self) -> Option<UserId> {
        Some(self.user.id)
    }
}

crate::resource!(Member, "/api/v1/users", {
    /// The tag depends on what is visible, because admins get a different answer under the same URL.
    fn tag(&self) -> String {
        format!("{}{}", self.version, if self.role.is_some() { ".all" } else { "" })
    }
});

/// The filters of a list of users. All of them are about members that only admins may see.
#[derive(Debug, Clone, Object)]
pub struct UserFilter {
    pub role: Option<Role>,
    pub is_active: Option<bool>,
    pub kind: Option<UserKind>,
}

#[derive(Debug, Default, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub enum UserSort {
    Name,
    #[default]
    CreatedAt,
    UpdatedAt,
}

impl Filter for UserFilter {
    type Item = Member;
    type Column = UserSort;
}

/// The parameters of a list of users, and whether the request named an order.
pub struct UserList {
    list: List<UserFilter>,
    is_ordered: bool,
}

impl UserList {
    /// The parameters as far as a caller with this role may use them. 403 if a filter or an order, and with it a
    /// cursor, would reveal members that the answer hides.
    pub fn redact_for(self, role: Role) -> Result<List<UserFilter>> {
        let Self { mut list, is_ordered } = self;
        if role >= Role::Admin {
            return Ok(list);
        }
        let UserFilter { role, is_active, kind } = &list.filter;
        let is_by_name = matches!(list.sort.by, UserSort::Name);
        if role.is_some() || is_active.is_some() || kind.is_some() || (is_ordered && !is_by_name) {
            return Err(Error::Forbidden);
        }
        if !is_ordered {
            list.sort = Sort { by: UserSort::Name, descending: false };
        }
        Ok(list)
    }
}

impl QueryParams for UserList {
    fn describe(registry: &mut Registry) -> MetaSchema {
        List::<UserFilter>::describe(registry)
    }
    fn parse(members: Map<String, Value>) -> Result<Self> {
        Ok(Self { is_ordered: members.contains_key("sort"), list: List::parse(members)? })
    }
}
