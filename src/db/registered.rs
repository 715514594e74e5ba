//! Which ids belong to a kind of record that the registry knows.
use super::audit::Subject;

/// An id of a kind that the registry (`resources::records`) names. What follows a change is decided by kind, so that a change to
/// a record of a kind that is not registered must not compile: whatever takes changes asks for this trait.
///
/// ```
/// use bizcenter::db::{Registered, types::TaskId};
///
/// fn change<Id: Registered>(_: Id) {}
/// change(TaskId::from(uuid::Uuid::nil()));
/// ```
///
/// Tokens that were mailed are no records:
///
/// ```compile_fail,E0277
/// use bizcenter::db::{Registered, types::TokenId};
///
/// fn change<Id: Registered>(_: Id) {}
/// change(TokenId::from(uuid::Uuid::nil()));
/// ```
///
/// Only the macro of the registry implements it; a test reads the sources for other implementations.
#[diagnostic::on_unimplemented(
    message = "records with the id `{Self}` are not registered",
    label = "name its record in `records!`, src/resources/records.rs",
    note = "declare the record with `record!` beside its types first: see CONTRIBUTING.md"
)]
pub trait Registered: Subject {
    #[doc(hidden)]
    const TOKEN: Token;
}

/// What an implementation of [`Registered`] has to show.
#[derive(Debug, Clone, Copy)]
pub struct Token(());

impl Token {
    #[doc(hidden)]
    pub const fn of_the_registry() -> Self {
        Self(())
    }
}
