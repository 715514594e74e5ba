//! All operations. A new resource needs a line in `apis!`.
use super::Parts;
use crate::api::Guarded;
use crate::api::guard;
use crate::api::guard::OperationLine;
use poem_openapi::OpenApiService;

/// Makes the type of all APIs and its value from one list. Each line has an API of `resources` and its members, which
/// are filled with the parts of the same names. The APIs are nested pairs, because the tuples of poem-openapi have at
/// most sixteen members.
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
apis! {
    server::ServerApi { readiness, env, access_tokens, environment, started_at },
    auth::AuthApi { db, credentials, tokens, registration, templates },
    users::UsersApi { db, sessions, credentials, mail_cap, templates, records },
    tenant::TenantApi { db, sessions, verification },
    invitations::InvitationsApi { db, verification, mail_cap, templates, invitation_lifetime },
    api_keys::ApiKeysApi { db, sessions, verification },
    admin::AdminApi { db, sessions, templates, invitation_lifetime },
    audit_logs::AuditApi { db },
    items::ItemsApi { db, cache },
    tasks::TasksApi { db },
    contracts::ContractsApi { db },
    contracts::history::HistoryApi { db },
    tasks::comments::TaskCommentsApi { db },
    meetings::MeetingsApi { db },
    meetings::attendees::AttendeesApi { db },
    meetings::action_items::ActionItemsApi { db },
    meetings::calendar::CalendarApi { db },
    meetings::calendar::FeedApi { db },
}

/// Every operation behind its guard.
pub fn service(parts: &Parts) -> OpenApiService<Guarded<Api>, ()> {
    OpenApiService::new(Guarded(api(parts)), "BizCenter", env!("CARGO_PKG_VERSION")).server("/")
}

/// The OpenAPI document that is derived from the code. Checks compare it with `openapi/`.
pub fn derived_document(parts: &Parts) -> String {
    service(parts).spec()
}

/// The id, method, path and permission of every operation.
pub fn operations() -> Vec<OperationLine> {
    guard::operations::<Api>()
}
