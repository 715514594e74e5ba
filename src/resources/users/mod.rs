//! Users: the people of a tenant, and the service accounts of its API keys.
mod export;
mod handlers;
mod queries;
mod rules;
mod types;

pub use handlers::UsersApi;
pub use queries::{
    Proof, find, insert, insert_service, must_be_active, must_exist, named, release_names, renew_email,
    replace_password, retire, set_password, still_has, verified_forms, verify_email, with_email,
};
pub use types::{NewUser, User, UserKind};

crate::permissions! {
    /// One's own profile, and the names of the others.
    Read(read): Viewer,
    /// Decides what a reader is shown of others: addresses, roles, states.
    SeeAddresses(read): Admin,
    /// To change one's own profile.
    Own(people): Viewer,
    /// To change and remove others, never above oneself.
    Manage: Admin,
    /// To change what others may do.
    GiveRights(people): Admin,
}
