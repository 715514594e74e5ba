//! What a resource is to HTTP: an address, a version, and perhaps an owner.
use crate::db::types::UserId;
use poem_openapi::types::{ToJSON, Type};
use uuid::Uuid;

/// What has an address and versions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no resource: it has no address and no version",
    label = "this must be a resource",
    note = "declare it in `types.rs`: `resource!({Self}, record, owner: created_by)`; it needs the members `id` and `version`"
)]
pub trait Resource: Type + ToJSON {
    /// Whether nobody may keep it, not even their own browser: a token or an amount is in it.
    const IS_CONFIDENTIAL: bool = false;
    fn id(&self) -> Uuid;
    fn version(&self) -> i64;

    /// What its `ETag` is made of: it differs where the same address shows different things.
    fn tag(&self) -> String {
        self.version().to_string()
    }

    /// Where it can be read.
    fn location(&self) -> String;
}

/// What has its id and its version in members of these names, its owner in the one that is named, if it has one; what is
/// unlike the others comes last. A record has the address that it declares: `resource!(Task, record, owner: created_by)`. Anything
/// else has the path of its list: `resource!(Member, "/api/v1/users", { … })`.
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

/// A new resource is the resource with a secret beside it, which is shown once: `shown_once!(NewApiKey, api_key)`.
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

/// A record that may be somebody's own: permissions with `if own` ask for it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no owner",
    label = "name its owner where it is declared: `resource!(…, owner: …)`",
    note = "a change is allowed or refused by the owner: `resource!(Task, record, owner: created_by)` names the member",
    note = "permissions with `if own` are for the owner; where nobody owns it, implement `Owned` by hand, as `src/resources/tenant/types.rs` does"
)]
pub trait Owned {
    /// `None` where the role of the caller alone decides about changes.
    fn owner(&self) -> Option<UserId>;
}
