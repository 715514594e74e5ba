//! All operations.
use super::Parts;
use crate::api::Guarded;
use crate::api::guard;
use crate::api::guard::OperationLine;
use crate::resources::for_all_apis;
use poem_openapi::OpenApiService;

/// Makes the type of all APIs and its value from the list in `resources`. The APIs are nested pairs, because the tuples
/// of poem-openapi have at most sixteen members.
macro_rules! apis {
    ($($($api:ident)::+ { $($member:ident),+ },)+) => {
        /// All operations.
        pub type Api = apis!(@type $($($api)::+,)+);

        fn api(parts: &Parts) -> Api {
            apis!(@value parts $($($api)::+ { $($member),+ })+)
        }
    };
    (@type) => { () };
    (@type $($api:ident)::+, $($rest:tt)*) => { (crate::resources::$($api)::+, apis!(@type $($rest)*)) };
    (@value $parts:ident) => { () };
    (@value $parts:ident $($api:ident)::+ { $($member:ident),+ } $($rest:tt)*) => {
        (crate::resources::$($api)::+ { $($member: $parts.$member.clone()),+ }, apis!(@value $parts $($rest)*))
    };
}
for_all_apis!(apis);

/// Every operation behind its guard.
pub fn guarded(parts: &Parts) -> Guarded<Api> {
    Guarded(api(parts))
}

/// The OpenAPI document that is derived from the code. Checks compare it with `openapi/`.
pub fn derived_document(parts: &Parts) -> String {
    OpenApiService::new(guarded(parts), "BizCenter", env!("CARGO_PKG_VERSION")).server("/").spec()
}

/// The id, method, path and permission of every operation.
pub fn operations() -> Vec<OperationLine> {
    guard::operations::<Api>()
}
