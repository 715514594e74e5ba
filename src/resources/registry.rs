//! The macros of the registry, which the lists in `resources/mod.rs` are given to.
//!
//! Each kind of record is declared beside its types, by `record!`. The list of kinds determines the personal export,
//! the seed, the rotation of keys, references, the roles that read audit entries, and what the tests expect. A change
//! of a record that is not in it does not compile, because its id is not `Registered`.

macro_rules! records {
    ($($name:ident: $($path:ident)::+),+ $(,)?) => {
        /// The type of each record, by the name of its kind.
        pub mod of {
            $(pub type $name = super::$($path)::+;)+
        }

        /// All kinds of records.
        pub const RECORDS: crate::api::record::Records =
            crate::api::record::Records::new(&[$(crate::api::record::Kind::of::<of::$name>()),+]);

        $(impl crate::db::registered::Registered for <of::$name as crate::api::Record>::Id {
            const TOKEN: crate::db::registered::Token = crate::db::registered::Token::of_the_registry();
        })+

        /// Gives the names of all kinds to a macro.
        macro_rules! for_all_records {
            ($macro:ident) => {
                $macro! { $($name),+ }
            };
        }
        use for_all_records;
    };
}
pub(super) use records;

macro_rules! apis {
    ($($list:tt)+) => {
        /// Gives all APIs to a macro, each with the parts of the server that it takes.
        macro_rules! for_all_apis {
            ($macro:ident) => {
                $macro! { $($list)+ }
            };
        }
        pub(crate) use for_all_apis;
    };
}
pub(super) use apis;

#[cfg(test)]
mod tests;
