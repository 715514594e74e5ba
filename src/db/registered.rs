//! Marks the ids of records of the kinds that are in the registry.
use super::audit::Subject;

/// The id of a record of a kind that is in the registry (`resources`). What follows from a change depends on
/// the kind of the record. Everything that makes changes requires this trait, so that a change to a record of an
/// unregistered kind does not compile.
///
/// ```
/// use bizcenter::db::{Registered, types::UserId};
///
/// fn change<Id: Registered>(_: Id) {}
/// change(UserId::from(uuid::Uuid::nil()));
/// ```
///
/// Mailed tokens are not records:
///
/// ```compile_fail,E0277
/// use bizcenter::db::{Registered, types::TokenId};
///
/// fn change<Id: Registered>(_: Id) {}
/// change(TokenId::from(uuid::Uuid::nil()));
/// ```
///
/// Only the macro of the registry implements this trait. A test searches the sources for other implementations.
#[diagnostic::on_unimplemented(
    message = "records with the id `{Self}` are not registered",
    label = "name its record in `records!`, src/resources/mod.rs",
    note = "declare the record with `record!` beside its types first: see CONTRIBUTING.md"
)]
pub trait Registered: Subject {
    #[doc(hidden)]
    const TOKEN: Token;
}

/// The value that an implementation of [`Registered`] must give. The registry's macro makes it.
#[derive(Debug, Clone, Copy)]
pub struct Token(());

impl Token {
    #[doc(hidden)]
    pub const fn of_the_registry() -> Self {
        Self(())
    }
}
