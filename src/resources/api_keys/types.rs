//! The types of API keys in the contract of the API.
use super::Read;
use crate::api::Input;
use crate::auth::Role;
use crate::base::error::Detail;
use crate::base::opaque::key_prefix;
use crate::db::Any;
use crate::db::schema::api_keys;
use crate::db::types::{ApiKeyId, Instant, UserId};
use diesel::prelude::*;
use poem_openapi::Object;
use serde::Serialize;

#[derive(Debug, Clone, Object)]
pub struct ApiKeyInput {
    #[oai(validator(min_length = 1, max_length = 120))]
    pub name: String,
    pub role: Role,
    #[oai(nullable)]
    pub expires_at: Option<Instant>,
}

impl Input for ApiKeyInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("name", &self.name);
    }
}

/// An API key as stored.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = api_keys, check_for_backend(Any))]
pub struct Stored {
    pub id: ApiKeyId,
    pub name: String,
    pub role: Role,
    pub user_id: UserId,
    pub created_by: UserId,
    pub created_at: Instant,
    pub expires_at: Option<Instant>,
    pub last_used_at: Option<Instant>,
}

/// An API key as it is returned to clients.
#[derive(Debug, Clone, Object, Serialize)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub role: Role,
    pub prefix: String,
    pub user_id: UserId,
    pub created_by: UserId,
    /// Whether the key is accepted.
    pub is_active: bool,
    pub created_at: Instant,
    #[oai(nullable)]
    pub expires_at: Option<Instant>,
    #[oai(nullable)]
    pub last_used_at: Option<Instant>,
    pub version: i64,
}

impl From<(Stored, bool)> for ApiKey {
    fn from((stored, is_active): (Stored, bool)) -> Self {
        let Stored { id, name, role, user_id, created_by, created_at, expires_at, last_used_at } = stored;
        let prefix = key_prefix(id.0).trim_end_matches('_').to_owned();
        let version = 1; // it never changes
        Self { id, name, role, prefix, user_id, created_by, is_active, created_at, expires_at, last_used_at, version }
    }
}

crate::resource!(ApiKey, record, {
    /// The tag contains the last use and the state, because both change without a new version.
    fn tag(&self) -> String {
        let used = self.last_used_at.map_or(0, |time| time.0.timestamp_micros());
        format!("{}.{used}.{}", self.version, u8::from(self.is_active))
    }
});

crate::record! {
    ApiKey {
        id: ApiKeyId, kind: "api_key", table: api_keys, href: "/api/v1/api-keys/{id}", read_by: Read,
        title: name,
        people: [created_by = Owner],
        held: [if Read |tx, person, next| super::queries::made_by(tx, person.user(), next)],
    }
}

/// A key with its secret, which is shown once.
#[derive(Debug, Clone, Object, Serialize)]
pub struct NewApiKey {
    #[oai(flatten)]
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// The key itself, which is shown only once.
    pub key: String,
}

crate::shown_once!(NewApiKey, api_key);
crate::plain_list!(ApiKeyFilter of ApiKey);
