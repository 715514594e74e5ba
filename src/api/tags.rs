//! The groups in which the contract shows its operations.
use poem_openapi::Tags;

/// One tag for each area of the API, in the order of the contract.
#[derive(Tags)]
#[oai(rename_all = "kebab-case")]
pub enum Tag {
    Auth,
    Users,
    Tenant,
    Invitations,
    ApiKeys,
    Admin,
    Audit,
    Server,
    Items,
    Tasks,
    Contracts,
    Meetings,
}
