//! Roles, and rights as types. Each slice lists its own with [`permissions!`](crate::permissions!); `operations.txt` and the tests that walk
//! every operation with every role are printed from their union.

pub use crate::db::roles::Role;

/// A right, as a type: made by [`permissions!`](crate::permissions!).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no permission",
    label = "callers are asked for a permission",
    note = "declare it in the slice's `mod.rs`: `permissions! {{ {Self}: Editor }}`"
)]
pub trait Permission: Send + Sync + 'static {
    /// [`PERMISSION`](crate::api::guard::PERMISSION), and the permission as `operations.txt` prints it.
    const NAME: &'static str;
    /// The least role that has it.
    const ROLE: Role;
    /// The least role that has it for what others made; none where nobody has.
    const FOR_OTHERS: Option<Role>;
    /// Whether it is the operators' alone, whatever their role.
    const IS_FOR_OPERATORS: bool = false;
    /// Whether only people who have signed in have it: API keys never have it, whatever their role.
    const IS_FOR_PEOPLE: bool = false;
}

/// A permission that is not just to read: only its caller can open a write lease.
pub trait MayWrite {}

/// A permission of the server's operators, whose caller can go on in any tenant.
pub trait ForOperators {}

/// The permissions of a slice: `permissions! { Read(read): Viewer, Delete: Editor if own else Admin }`. One with `(read)`
/// opens no write lease; one with `(people)` is refused to API keys: whatever gives rights that outlive the key, and whatever is
/// about a person's own account, asks for such a one. With `else Nobody`, nobody has it for what others made. `operators! { Manage }`
/// is for the operators of the server.
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

/// Permissions of the server's operators, which no role has, and no API key.
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
