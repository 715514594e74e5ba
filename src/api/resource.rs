//! The HTTP side of a resource: its address, its version, and its owner if it has one.
use crate::db::types::UserId;
use poem_openapi::types::{ToJSON, Type};
use serde::Serialize;
use uuid::Uuid;

/// A resource with an address and versions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no resource: it has no address and no version",
    label = "this must be a resource",
    note = "declare it in `types.rs`: `resource!({Self}, record, owner: created_by)`; it needs the members `id` and `version`"
)]
pub trait Resource: Type + ToJSON + Serialize {
    /// Whether the resource must not be stored, not even by the user's own browser, because it contains a token or an
    /// amount.
    const IS_CONFIDENTIAL: bool = false;
    fn id(&self) -> Uuid;
    fn version(&self) -> i64;

    /// The content of the `ETag`. It must differ if the same address shows different content.
    fn tag(&self) -> String {
        self.version().to_string()
    }

    /// The path of the resource.
    fn location(&self) -> String;
}

/// Implements [`Resource`] for a type with the members `id` and `version`. `owner` names the
/// member with the owner, if there is one, and methods that differ from the defaults come last. A record has the
/// address of its declaration: `resource!(Task, record, owner: created_by)`. For other types, the path of their list is
/// given: `resource!(Member, "/api/v1/users", { … })`.
#[macro_export]
macro_rules! resource {
    ($type:ty, record $(, owner: $owner:ident)? $(, { $($more:item)+ })?) => {
        $crate::resource!(@at |record| $crate::api::Record::href(record), $type $(, owner: $owner)? $(, { $($more)+ })?);
    };
    ($type:ty, $path:literal $(, owner: $owner:ident)? $(, { $($more:item)+ })?) => {
        $crate::resource!(
            @at |resource| format!(concat!($path, "/{}"), resource.id), $type $(, owner: $owner)? $(, { $($more)+ })?
        );
    };
    (@at |$resource:ident| $location:expr, $type:ty $(, owner: $owner:ident)? $(, { $($more:item)+ })?) => {
        impl $crate::api::Resource for $type {
            fn location(&self) -> String {
                let $resource = self;
                $location
            }
            fn id(&self) -> uuid::Uuid {
                self.id.0
            }
            fn version(&self) -> i64 {
                self.version
            }
            $($($more)+)?
        }
        $(impl $crate::api::Owned for $type {
            fn owner(&self) -> Option<$crate::db::types::UserId> {
                Some(self.$owner)
            }
        })?
    };
}

/// Implements [`Resource`] for a new resource together with a secret that is shown only once:
/// `shown_once!(NewApiKey, api_key)`.
#[macro_export]
macro_rules! shown_once {
    ($new:ty, $member:ident) => {
        impl $crate::api::Resource for $new {
            const IS_CONFIDENTIAL: bool = true;

            fn location(&self) -> String {
                self.$member.location()
            }
            fn id(&self) -> uuid::Uuid {
                self.$member.id()
            }
            fn version(&self) -> i64 {
                self.$member.version()
            }
            fn tag(&self) -> String {
                self.$member.tag()
            }
        }
    };
}

/// A record that may have an owner. Permissions with `if own` depend on the owner.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no owner",
    label = "name its owner where it is declared: `resource!(…, owner: …)`",
    note = "a change is allowed or refused by the owner: `resource!(Task, record, owner: created_by)` names the member",
    note = "permissions with `if own` are for the owner; where nobody owns it, implement `Owned` by hand, as `src/resources/tenant/types.rs` does"
)]
pub trait Owned {
    /// The owner. `None` if only the caller's role decides about changes.
    fn owner(&self) -> Option<UserId>;
}
