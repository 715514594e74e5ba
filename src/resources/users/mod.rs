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

crate::tag!(Users);

crate::permissions! {
    /// To read one's own profile and the names of other users.
    Read(read): Viewer,
    /// Decides whether a reader sees the e-mail addresses, roles and states of other users.
    SeeAddresses(read): Admin,
    /// To change one's own profile.
    Own(people): Viewer,
    /// To change and remove other users, but never those above oneself.
    Manage: Admin,
    /// To change what other users may do.
    GiveRights(people): Admin,
}
