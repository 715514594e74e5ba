//! The types of a tenant in the contract of the API.
use crate::api::query::{QueryParams, members_of, part};
use crate::api::{Input, Owned};
use crate::base::error::Detail;
use crate::db::Any;
use crate::db::schema::tenants;
use crate::db::types::{Instant, TenantId, UserId};
use diesel::prelude::*;
use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, Registry};
use serde::Serialize;
use serde_json::{Map, Value};

/// The members of a tenant that its owners write.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable, AsChangeset)]
#[diesel(table_name = tenants, check_for_backend(Any))]
pub struct TenantInput {
    #[oai(validator(min_length = 1, max_length = 120))]
    pub name: String,
    /// The name of an IANA time zone.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub timezone: String,
    /// The ISO 4217 code.
    #[oai(validator(min_length = 3, max_length = 3, pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// Whether anybody may join the tenant as a viewer.
    pub open_registration: bool,
}

impl TenantInput {
    /// Whether this change opens the tenant for registration.
    pub fn opens(&self, before: &Self) -> bool {
        self.open_registration && !before.open_registration
    }
}

impl Input for TenantInput {
    fn check(&self, problems: &mut Detail) {
        problems.one_line("name", &self.name);
        if self.timezone.parse::<chrono_tz::Tz>().is_err() {
            problems.add("timezone", "is not an IANA time zone, such as Europe/Berlin");
        }
        problems.currency("currency", &self.currency);
    }
}

/// A tenant as stored and as returned to clients.
#[derive(Debug, Clone, Object, Serialize, Queryable, Selectable)]
#[diesel(table_name = tenants, check_for_backend(Any))]
pub struct Tenant {
    pub id: TenantId,
    pub slug: String,
    #[oai(flatten)]
    #[serde(flatten)]
    #[diesel(embed)]
    pub input: TenantInput,
    pub version: i64,
    pub created_at: Instant,
    pub updated_at: Instant,
}

impl Tenant {
    /// A new tenant with the initial settings.
    pub fn new(id: TenantId, new: NewTenant, now: Instant) -> Self {
        let NewTenant { slug, name, open_registration } = new;
        let input = TenantInput { name, timezone: "UTC".to_owned(), currency: "USD".to_owned(), open_registration };
        Self { id, slug, input, version: 1, created_at: now, updated_at: now }
    }
}

crate::resource!(Tenant, record, {
    /// The tag contains the id, because callers of different tenants get different answers under the same URL.
    fn tag(&self) -> String {
        format!("{}.{}", self.id, self.version)
    }
});

crate::record! {
    Tenant {
        id: TenantId, kind: "tenant", table: tenants, href: "/api/v1/tenant", read_by: super::Read,
        title: name in input,
    }
}

/// A tenant has no owner among its users: the role of the caller decides.
impl Owned for Tenant {
    fn owner(&self) -> Option<UserId> {
        None
    }
}

/// The data of a new tenant.
#[derive(Debug, Clone, Object, Serialize)]
pub struct NewTenant {
    pub slug: String,
    pub name: String,
    /// Whether anybody may join the tenant as a viewer.
    pub open_registration: bool,
}

/// The confirmation that a deletion needs.
#[derive(Debug, Object)]
pub struct Confirmation {
    /// The slug of the tenant that is to be deleted.
    #[oai(validator(max_length = 50))]
    pub confirm: String,
}

impl QueryParams for Confirmation {
    fn describe(registry: &mut Registry) -> MetaSchema {
        let properties = members_of::<Self>(registry);
        MetaSchema { properties, required: vec!["confirm"], ..MetaSchema::new("object") }
    }
    fn parse(members: Map<String, Value>) -> crate::base::error::Result<Self> {
        part(&members)
    }
}
