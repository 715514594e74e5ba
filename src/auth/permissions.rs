//! Roles, and permissions as types. Each slice declares its own with [`permissions!`](crate::permissions!).
//! `operations.txt` and the tests that call every operation with every role are derived from all of them.

pub use crate::db::roles::Role;

/// A permission as a type. [`permissions!`](crate::permissions!) and [`operators!`](crate::operators!) declare them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no permission",
    label = "callers are asked for a permission",
    note = "declare it in the slice's `mod.rs`: `permissions! {{ {Self}: Editor }}`"
)]
pub trait Permission: Send + Sync + 'static {
    /// [`PERMISSION`](crate::api::guard::PERMISSION), and the permission as `operations.txt` prints it.
    const NAME: &'static str;
    /// The lowest role that has the permission.
    const ROLE: Role;
    /// The lowest role that has the permission for records of others. `None` if no role has.
    const FOR_OTHERS: Option<Role>;
    /// Whether only operators have the permission, whatever their role.
    const IS_FOR_OPERATORS: bool = false;
    /// Whether only people who have signed in have the permission. API keys never have it, whatever their role.
    const IS_FOR_PEOPLE: bool = false;
}

/// A permission to change something. Only a caller with such a permission can open a write lease.
pub trait MayWrite {}

/// A permission of the server's operators. Its caller may act in any tenant.
pub trait ForOperators {}

/// Declares the permissions of a slice: `permissions! { Read(read): Viewer, Delete: Editor if own else Admin }`.
///
/// - `(read)`: the permission can't open a write lease.
/// - `(people)`: the permission is refused to API keys. It is for operations that give rights which outlive the key,
///   and for those on a person's own account.
/// - `else Nobody`: no role has the permission for records of others.
///
/// Permissions of the server's operators are declared with [`operators!`](crate::operators!).
#[macro_export]
macro_rules! permissions {
    ($($(#[$attribute:meta])* $name:ident $(($($access:ident),+))?: $role:ident $(if own else $others:ident)?),+ $(,)?) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl $crate::auth::Permission for $name {
            const NAME: &'static str = concat!(
                "permission:", module_path!(), "::", stringify!($name), " ", stringify!($role) $(, "/", stringify!($others))?
                $($(, $crate::permissions!(@mark $access))+)?
            );
            const ROLE: $crate::auth::Role = $crate::auth::Role::$role;
            const FOR_OTHERS: Option<$crate::auth::Role> = $crate::permissions!(@others $role $($others)?);
            const IS_FOR_PEOPLE: bool = $crate::permissions!(@people $($($access)+)?);
        }
        $crate::permissions!(@write $name $($($access)+)?);
    )+};
    (@others $role:ident Nobody) => { None };
    (@others $role:ident $others:ident) => { Some($crate::auth::Role::$others) };
    (@others $role:ident) => { Some($crate::auth::Role::$role) };
    (@mark read) => { "" };
    (@mark people) => { " people" };
    (@people people) => { true };
    (@people read people) => { true };
    (@people $(read)?) => { false };
    (@write $name:ident read $(people)?) => {};
    (@write $name:ident $(people)?) => { impl $crate::auth::MayWrite for $name {} };
}

/// Declares permissions of the server's operators: `operators! { Manage }`. No role and no API key has them.
#[macro_export]
macro_rules! operators {
    ($($(#[$attribute:meta])* $name:ident $(($access:ident))?),+ $(,)?) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl $crate::auth::Permission for $name {
            const NAME: &'static str = concat!("permission:", module_path!(), "::", stringify!($name), " Operator people");
            const ROLE: $crate::auth::Role = $crate::auth::Role::Viewer;
            const FOR_OTHERS: Option<$crate::auth::Role> = Some($crate::auth::Role::Viewer);
            const IS_FOR_OPERATORS: bool = true;
            const IS_FOR_PEOPLE: bool = true;
        }
        impl $crate::auth::permissions::ForOperators for $name {}
        $crate::permissions!(@write $name $($access)?);
    )+};
}
